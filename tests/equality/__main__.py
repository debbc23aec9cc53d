"""`python -m tests.equality`: one history, each way there is, and what each made of it.

The last line is JSON: what transitions there were by state and by kind of rule, then counts, a digest and costs a way.
Ends with 1 when two ways differ or a kind of rule told nothing, with 3 when Kafka is asked for and there is none.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec
from _pytest.outcomes import Skipped
from tests.equality.backtests import backtest_of_clickhouse, backtest_of_file
from tests.equality.comparison import Said, differences, incidents_of, kinds, states
from tests.equality.histories import EXTRACTS, write_history
from tests.equality.ways import History, embedded, lived, on_kafka, replayed
from tests.equality.week import WEEK_H
from tests.kafka_broker import running_broker

from flowgauge.processors.kinds import KINDS
from flowgauge.processors.ruleset import load_rules

EVENTS, KILLS = 2_000_000, 12
Ways = Mapping[str, Callable[[], Said]]
REFERENCE, INCIDENTS = "replay", "backtest of the file"


class Report(msgspec.Struct):
    """What each way said, in short, and where one differs from the replay."""

    lines: int
    states: dict[str, int]  # of the replay: how often transitions led to each
    kinds: dict[str, int]  # of the replay: how many are of rules of each kind
    ways: dict[str, dict[str, object]]
    differences: dict[str, dict[str, object]]

    @property
    def silent(self) -> list[str]:
        """The kinds of rule that told nothing, so that nothing was compared of them."""
        return [kind for kind in KINDS if not self.kinds.get(kind)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.equality", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="of the generated hours")
    parser.add_argument("--hours", type=int, default=WEEK_H, help="the last of the week")
    parser.add_argument(
        "--only-runs", action="store_true", help="without task runs and logs: few events have incidents too"
    )
    parser.add_argument("--captures", type=Path, nargs="*", default=EXTRACTS, help="of a Prefect server, by their time")
    parser.add_argument("--kills", type=int, default=KILLS, help="of matcher and detector together")
    parser.add_argument("--kafka", action="store_true", help="over Kafka too, with one detector and with three")
    parser.add_argument("--folder", type=Path, help="keep the history and all data here")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="flowgauge-equality-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with running_broker() if asked.kafka else contextlib.nullcontext() as bootstrap:
            history = write_history(folder, asked.events, asked.captures, hours=asked.hours, only_runs=asked.only_runs)
            print(f"{history.lines} lines in {history.file}", flush=True)
            over_kafka: Ways = kafka_ways(history, folder, bootstrap) if bootstrap else {}
            report = compare_all(history, {**local_ways(history, folder, kills=asked.kills), **over_kafka})
    except Skipped as skipped:
        print(skipped, file=sys.stderr)
        return 3
    print(msgspec.json.encode(report).decode(), flush=True)
    return 1 if report.differences or report.silent else 0


def local_ways(history: History, folder: Path, *, kills: int = KILLS) -> Ways:
    """Return the ways that need no server, in the order in which they must go."""
    return {
        REFERENCE: lambda: replayed(history),
        INCIDENTS: lambda: backtest_of_file(history),
        "lived": lambda: lived(history, folder / "lived", kills=kills),
        "embedded": lambda: embedded(history, folder / "embedded"),
        "backtest of ClickHouse": lambda: backtest_of_clickhouse(history, folder / "embedded"),
    }


def kafka_ways(history: History, folder: Path, bootstrap: str) -> Ways:
    """Return the ways over Kafka."""
    return {
        "kafka, 1 detector": lambda: on_kafka(history, folder / "one", bootstrap, matchers=1, detectors=1),
        "kafka, 3 detectors": lambda: on_kafka(history, folder / "three", bootstrap, matchers=2, detectors=3),
    }


def compare_all(history: History, ways: Ways) -> Report:
    """Send the history all ways, the first of which is what the others are held to."""
    said: dict[str, Said] = {}
    for name, way in ways.items():
        said[name] = way()
        print(f"{name}: {msgspec.json.encode(said[name].summary()).decode()}", flush=True)
    expected = said[REFERENCE]
    incidents = Said(incidents_of(expected.lines), expected.seconds)
    differing = {name: differences(incidents if name == INCIDENTS else expected, each) for name, each in said.items()}
    return Report(
        history.lines,
        states(expected.lines),
        kinds(expected.lines, load_rules([history.rules]).rules),
        {name: each.summary() for name, each in said.items()},
        {name: each for name, each in differing.items() if each},
    )


def _end(number: int, frame: object) -> NoReturn:
    """End in order: what was started ends too."""
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
