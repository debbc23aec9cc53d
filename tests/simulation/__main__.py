"""Run simulated worlds; print JSON lines.

python -m tests.simulation SEED…                       worlds of full size: what each was like
python -m tests.simulation --seeds 10000               small worlds of every kind of rule, seeds 1 to 10000
python -m tests.simulation --seeds 1 --first 4711      one of them again
python -m tests.simulation --seconds 600 --first 1     as many as fit
python -m tests.simulation --seeds 200 --planted all   how many worlds it takes to find each planted bug

Exit code 1: a violation, whose seed and shortest trace are in the line; or a planted bug that was not found.
"""

import argparse
import sys

import msgspec
from tests.simulation.planting import PLANTED, planted
from tests.simulation.small_worlds import Report, Worlds, until
from tests.simulation.world import World


def main() -> int:
    """Read the flags and run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("full", nargs="*", type=int, metavar="SEED", help="worlds of full size")
    parser.add_argument("--seeds", type=int, default=0, help="how many small worlds")
    parser.add_argument("--seconds", type=int, default=0, help="small worlds for so long")
    parser.add_argument("--first", type=int, default=1, help="seed of the first small world")
    parser.add_argument("--planted", choices=[*PLANTED, "all"], default="", help="a bug to plant")
    asked = parser.parse_args()
    if not asked.seeds and not asked.seconds:
        for seed in asked.full or [1]:
            print(msgspec.json.encode(World(seed).run()).decode(), flush=True)
        return 0
    bugs = list(PLANTED) if asked.planted == "all" else [asked.planted]
    reports = [_run(asked.seeds, asked.seconds, first=asked.first, bug=bug) for bug in bugs]
    return int(any(bool(report.violations) != bool(report.planted) for report in reports))


def _run(seeds: int, seconds: int, *, first: int, bug: str) -> Report:
    with planted(bug):
        chosen = range(first, first + seeds) if seeds else until(seconds, first=first)
        report = Worlds().run(chosen, planted=bug)
    print(msgspec.json.encode(report).decode(), flush=True)
    return report


sys.exit(main())
