"""`python -m benchmarks.peers [--events N]`: flowgauge and Bytewax on one job, one topic, in the same minute.

Prints a JSON object a line for each engine and keying: µs CPU per event, and how many crossings were right, missed and
wrong. Bytewax is installed into an environment of its own, in .cache/peers: that needs a package index.
"""

import argparse
import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.kafka_broker import running_broker

from benchmarks.measure import LeftOut, line_of
from benchmarks.peers.by_flowgauge import Spent
from benchmarks.peers.job import RUN_EVENTS, RUN_EVERY_MS, Crossing, JobEvent, job_events, right_crossings
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.schemas.control_records import Pulse, encode_record
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import BatchBuilder, Connection, Producer, new_producer
from flowgauge.transport.log import Outgoing
from flowgauge.transport.topic_admin import create_topics
from flowgauge.transport.topic_plan import TIMESTAMP, Sizes, wanted_topics
from flowgauge.transport.wall_clock import now_ms

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[1] / ".cache" / "peers" / "bytewax"
PACKAGES = ("bytewax[kafka]==0.21.1", "msgspec")
EVENTS_DEFAULT = 600_000
PARTITIONS = 4
ENGINE_S_MAX = 600
PANE_MS = 5_000  # ours: a 120th of the window
PEER_HOP_MS = 60_000
PEER_LATENESS_S = (60, 6_000)  # as ours, and more than any partition runs ahead of another
RULES = """
rules:
  - name: flows fail
    for_each: [flow]
    when: {failure_rate: {above: 20%, within: 10m, min_samples: 5}}
    allowed_lateness: 60s
"""
HOUR_MS = 3_600_000
KEYINGS: dict[str, Callable[[JobEvent], str]] = {"flow": lambda event: event.place, "run": lambda event: event.run}

_decode_spent = msgspec.json.Decoder(Spent).decode


def main() -> int:
    """Run the job keyed by flow and keyed by run with each engine; return 1 when something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS_DEFAULT)
    count: int = parser.parse_args().events
    try:
        peer = _peer_python()
        with running_broker() as bootstrap:
            _compare(bootstrap, peer, count)
    except (LeftOut, pytest.skip.Exception) as why:
        print(f"peers: LEFT OUT: {why}", file=sys.stderr)
        return 1
    return 0


def _peer_python() -> Path:
    """Return a Python that has the peer, after installing it where it is not yet."""
    python = ENVIRONMENT / "bin" / "python"
    if python.exists() and _is_done([python, "-c", "import bytewax"]):
        return python
    if _is_done([sys.executable, "-m", "venv", ENVIRONMENT]) and _is_done(
        [python, "-m", "pip", "install", "-q", *PACKAGES]
    ):
        return python
    raise LeftOut(f"cannot install {' '.join(PACKAGES)} into {ENVIRONMENT}: there is nothing to compare with")


def _is_done(command: Sequence[str | Path]) -> bool:
    return subprocess.run(command, check=False).returncode == 0


def _compare(bootstrap: str, peer: Path, count: int) -> None:
    start_ms = now_ms() - count * RUN_EVERY_MS // RUN_EVENTS - 2 * HOUR_MS
    events = job_events(count, start_ms)
    right_of_us, right_of_peer = right_crossings(events, PANE_MS), right_crossings(events, PEER_HOP_MS)
    for keyed, key_of in KEYINGS.items():
        connection = Connection(bootstrap=bootstrap, prefix=f"peers-{uuid.uuid4().hex[:8]}")
        asyncio.run(_fill(connection, events, key_of))
        ours: list[str | Path] = [sys.executable, "-m", "benchmarks.peers.by_flowgauge", bootstrap, connection.prefix]
        _tell(f"flowgauge, keyed by {keyed}", ours, len(events), right_of_us)
        for lateness_s in PEER_LATENESS_S:
            theirs: list[str | Path] = [
                peer,
                HERE / "by_bytewax.py",
                bootstrap,
                connection.names.topic(EVENTS),
                str(lateness_s),
            ]
            _tell(f"bytewax waiting {lateness_s} s, keyed by {keyed}", theirs, len(events), right_of_peer)


def _tell(name: str, command: Sequence[str | Path], events: int, right: set[Crossing]) -> None:
    """Run an engine and print what it spent and told."""
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=ENGINE_S_MAX, check=True)
    wall_seconds, spent = time.monotonic() - began, _decode_spent(done.stdout)
    told = set(spent.crossings)
    line = line_of(name, events, spent.cpu_seconds).noting(
        wall_seconds=wall_seconds,
        rss_mb=spent.rss_mb,
        right=len(told & right),
        of=len(right),
        wrong=len(told - right),
    )
    print(msgspec.json.encode(line).decode(), flush=True)


async def _fill(connection: Connection, events: Sequence[JobEvent], key_of: Callable[[JobEvent], str]) -> None:
    """Make the log; put in the rules, the events with the times they were made to come at, and an hour later a pulse.

    The pulse closes the last windows. Only it and the marker of the rules have headers, by which others know them.
    """
    topics = wanted_topics(connection.names, Sizes(partitions=PARTITIONS, replication=1))
    name = connection.names.topic(EVENTS)
    await create_topics(
        connection,
        [
            replace(topic, settings={**topic.settings, TIMESTAMP: "CreateTime"}) if topic.name == name else topic
            for topic in topics
        ],
    )
    log = await open_kafka_log(connection)
    begin_ms, end_ms = events[0].append_ms, events[-1].append_ms + HOUR_MS
    rules = RuleSet(parse_rules("peers.yaml", RULES).rules, 1)
    await publish_rules(log, rules, first_append_ms=dict.fromkeys(range(PARTITIONS), begin_ms))
    await _send(new_producer(connection), name, events, key_of)
    pulse = encode_record(Pulse(log_id=log.log_id, sent_ms=end_ms))
    await log.append(EVENTS, [Outgoing(at, "", pulse, RecordKind.PULSE, end_ms) for at in range(PARTITIONS)])
    await log.close()


async def _send(producer: Producer, topic: str, events: Sequence[JobEvent], key_of: Callable[[JobEvent], str]) -> None:
    await producer.start()
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    for event in events:
        key = key_of(event)
        at, record = events_partition(key, PARTITIONS), (event.append_ms, key.encode(), event.value)
        if not _add(batches[at], record):
            await producer.send_batch(batches[at], topic, partition=at)
            batches[at] = producer.create_batch()
            _add(batches[at], record)
    for at, batch in enumerate(batches):
        await producer.send_batch(batch, topic, partition=at)
    await producer.stop()


def _add(batch: BatchBuilder, record: tuple[int, bytes, bytes]) -> bool:
    timestamp, key, value = record
    return batch.append(timestamp=timestamp, key=key, value=value) is not None


if __name__ == "__main__":
    sys.exit(main())
