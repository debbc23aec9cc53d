"""`python -m tests.equality --events 2000000`: one history, four ways, and what each made of it.

The last line is JSON: counts and a digest a way. Ends with 1 when two ways differ, with 3 when there is no Kafka.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec
from _pytest.outcomes import Skipped
from tests.equality.comparison import Said, differences, states
from tests.equality.histories import EXTRACTS, write_history
from tests.equality.ways import History, embedded, on_kafka, replayed
from tests.kafka_broker import running_broker

EVENTS = 2_000_000
REFERENCE = "replay"


class Report(msgspec.Struct):
    """What each way said, in short, and where one differs from the replay."""

    lines: int
    states: dict[str, int]  # of the replay: how often transitions led to each
    ways: dict[str, dict[str, object]]
    differences: dict[str, dict[str, object]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.equality", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="of the generated day")
    parser.add_argument(
        "--only-runs", action="store_true", help="without task runs and logs: a small day has incidents too"
    )
    parser.add_argument("--captures", type=Path, nargs="*", default=EXTRACTS, help="of a Prefect server, by their time")
    parser.add_argument("--folder", type=Path, help="keep the history and all data here")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="flowgauge-equality-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with running_broker() as bootstrap:
            history = write_history(folder, asked.events, asked.captures, only_runs=asked.only_runs)
            print(f"{history.lines} lines in {history.file}", flush=True)
            report = compare_all(history, folder, bootstrap)
    except Skipped as skipped:
        print(skipped, file=sys.stderr)
        return 3
    print(msgspec.json.encode(report).decode(), flush=True)
    return 1 if report.differences else 0


def compare_all(history: History, folder: Path, bootstrap: str) -> Report:
    """Send the history all ways."""
    ways: Mapping[str, Callable[[], Said]] = {
        REFERENCE: lambda: replayed(history),
        "embedded": lambda: embedded(history, folder / "embedded"),
        "kafka, 1 detector": lambda: on_kafka(history, folder / "one", bootstrap, matchers=1, detectors=1),
        "kafka, 3 detectors": lambda: on_kafka(history, folder / "three", bootstrap, matchers=2, detectors=3),
    }
    said: dict[str, Said] = {}
    for name, way in ways.items():
        said[name] = way()
        print(f"{name}: {len(said[name].lines)} transitions after {said[name].seconds:.1f} s", flush=True)
    differing = {name: differences(said[REFERENCE], each) for name, each in said.items()}
    return Report(
        history.lines,
        states(said[REFERENCE].lines),
        {name: each.summary() for name, each in said.items()},
        {name: each for name, each in differing.items() if each},
    )


def _end(number: int, frame: object) -> NoReturn:
    """End in order: what was started ends too."""
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
