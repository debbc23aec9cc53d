"""`python -m benchmarks [NAME…] [--events N] [--quick]`: each path in a process of its own, one JSON line each."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import msgspec

from benchmarks.measure import LeftOut, Line

TIMEOUT_S = 180  # of one path; the longest takes about 30 s
QUICK_SHARE = 10


class Path(NamedTuple):
    """Where a path's benchmark is, and over how many events it runs."""

    place: str
    events: int


PATHS = {
    "matcher": Path("pure:bench_matcher", 200_000),
    "detector": Path("pure:bench_detector", 200_000),
    "sink": Path("sink:bench_sink", 100_000),
    "gateway": Path("http_paths:bench_gateway", 100_000),
    "gateway-socket": Path("prefect_socket:bench_gateway_socket", 50_000),
    "publisher": Path("http_paths:bench_publisher", 100_000),
    "publisher-spool": Path("http_paths:bench_publisher_spool", 100_000),
    "frozen-gateway": Path("frozen_gateway:bench_frozen_gateway", 3_000),
    "prefect-tee": Path("prefect_tee:bench_prefect_tee", 100_000),
    "kafka-publisher": Path("kafka_publisher:bench_kafka_publisher", 100_000),
    "replay": Path("replay:bench_replay", 1_000_000),
    "week": Path("replay:bench_week", 2_000_000),
    "whole": Path("whole:bench_whole", 100_000),
    "check": Path("pure:bench_check", 100_000),
    "canonical": Path("pure:bench_canonical", 100_000),
    "log": Path("local_log:bench_log", 200_000),
    "kafka-costs": Path("kafka_costs:bench_kafka_costs", 60_000),
    "many-rules": Path("many_rules:bench_many_rules", 50_000),
    "many-keys": Path("many_keys:bench_many_keys", 1_000_000),
    "waiting": Path("waiting:bench_waiting", 100_000),
    "storm": Path("storm:bench_storm", 10_000),
    "tell-latency": Path("tell_latency:bench_tell_latency", 100_000),
    "packing": Path("packing:bench_packing", 20_000),
    "kafka-append": Path("kafka:bench_append", 200_000),
    "kafka-gateway": Path("kafka:bench_kafka_gateway", 100_000),
    "kafka-matcher": Path("kafka:bench_kafka_matcher", 300_000),
    "kafka-detector": Path("kafka:bench_kafka_detector", 200_000),
    "kafka-sink": Path("kafka_sink:bench_kafka_sink", 100_000),
}
ON_REQUEST = {"kafka-costs"}  # needs a broker: FLOWGAUGE_TEST_KAFKA, or the jars that CI prepares


def main() -> int:
    """Run the paths that are named, else all; return 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(PATHS)}; all that need no broker when none is named"
    )
    parser.add_argument("--events", type=int, help="how many, instead of each path's own number")
    parser.add_argument("--quick", action="store_true", help="a tenth of the events: a look, not a measurement")
    parser.add_argument("--here", action="store_true", help="in this process, for profilers; one NAME only")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in PATHS]
    if unknown or (asked.here and len(asked.names) != 1):
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--here takes one NAME")
    failed = False
    for name in asked.names or [name for name in PATHS if name not in ON_REQUEST]:
        events = asked.events or PATHS[name].events // (QUICK_SHARE if asked.quick else 1)
        if asked.here:
            _print(name, events)
        else:
            failed |= not _apart(name, events)
    return int(failed)


def _print(name: str, events: int) -> None:
    try:
        print(msgspec.json.encode(_bench(name)(events)).decode(), flush=True)
    except LeftOut as why:
        print(f"{name}: left out: {why}", file=sys.stderr)


def _apart(name: str, events: int) -> bool:
    """Run one path in a process of its own, so that none warms or fills another's memory."""
    command = [sys.executable, "-m", "benchmarks", name, "--events", str(events), "--here"]
    try:
        return subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"{name}: not done after {TIMEOUT_S} s", file=sys.stderr)
        return False


def _bench(name: str) -> Callable[[int], Line]:
    module, _, function = PATHS[name].place.partition(":")
    found: Callable[[int], Line] = getattr(import_module(f"benchmarks.{module}"), function)
    return found


if __name__ == "__main__":
    sys.exit(main())
