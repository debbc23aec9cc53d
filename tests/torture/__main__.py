"""`python -m tests.torture --kills 300 --seed 1`: torture everything, print a timeline and a last line of counts.

With `--roles sink` only these run, beside gateway and pulse that feed them, and only they are hit.

Ends with 1 when anything was lost, doubled or wrong, with 3 when there is no Kafka to torture.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from _pytest.outcomes import Skipped
from tests.kafka_broker import mortal_broker
from tests.torture.checker import as_json
from tests.torture.faults import WEIGHTS, Kind, timeline
from tests.torture.figures import figures
from tests.torture.rig import running

TEAM = (
    "gateway-1", "gateway-2", "pulse-1", "match-1", "match-2", "detect-1", "detect-2", "sink-1", "sink-2", "notify-1",
    "notify-2",
)  # fmt: skip
FEEDING = ("gateway", "pulse")
OF_ALL = ("kill two", "rules")  # faults that take several roles


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="how many faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", choices=WEIGHTS, help="which faults")
    parser.add_argument("--roles", nargs="*", choices=sorted({_role(each) for each in TEAM}), help="torture only these")
    parser.add_argument("--folder", type=Path, help="keep logs and data here")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no fault after so long")
    asked = parser.parse_args()
    hit = [each for each in TEAM if not asked.roles or _role(each) in asked.roles]
    team = [each for each in TEAM if each in hit or _role(each) in FEEDING]
    kinds: list[Kind] = asked.kinds or [each for each in WEIGHTS if not asked.roles or each not in OF_ALL]
    signal.signal(signal.SIGTERM, _end)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="flowgauge-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            mortal_broker() as broker,
            running(broker, folder, "torture", team, seed=asked.seed) as rig,
        ):
            rig.torture(timeline(asked.seed, asked.kills, hit, kinds), for_s=60 * asked.minutes)
            rig.settle()
            found = figures(rig, asked.seed)
    except Skipped as skipped:
        print(skipped, file=sys.stderr)
        return 3
    print(as_json(found), flush=True)
    return 0 if rig.report.findings.are_none else 1


def _role(instance: str) -> str:
    return instance.partition("-")[0]


def _end(number: int, frame: object) -> NoReturn:
    """End in order: what was started ends too."""
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
