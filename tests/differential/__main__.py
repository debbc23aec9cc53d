"""`python -m tests.differential --scenarios 1000 --seed 1`: Prefect's engine against the `prefect` kind.

The last line is JSON: scenarios, firings, differences. Ends with 1 at a difference, which is told with its seed and
the shortest scenario that has one; with 3 when there is no Prefect (`.ci/peer prefect` makes it).
"""

import argparse
import sys
import time

import msgspec
from tests.differential.comparison import VENV, Difference, PrefectEngine, difference, firings_of, running_engine
from tests.differential.scenarios import Scenario, scenario, shortest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--scenarios", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first; each next one is one more")
    asked = parser.parse_args()
    if not (VENV / "bin" / "prefect").exists():
        print(f"{VENV} has no Prefect: run .ci/peer prefect", file=sys.stderr)
        return 3
    differing, firings, events, silent, start = 0, 0, 0, 0, time.monotonic()
    with running_engine() as engine:
        for seed in range(asked.seed, asked.seed + asked.scenarios):
            drawn = scenario(seed)
            count = len(firings_of(drawn))
            firings, events, silent = firings + count, events + len(drawn.events), silent + (count == 0)
            found = difference(engine, drawn)
            if found is not None:
                differing += 1
                print(told(engine, drawn, found), flush=True)
    figures = {"scenarios": asked.scenarios, "events": events, "firings": firings, "without_firing": silent}
    figures |= {"differences": differing, "seconds": round(time.monotonic() - start)}
    print(msgspec.json.encode(figures).decode())
    return 1 if differing else 0


def told(engine: PrefectEngine, drawn: Scenario, found: Difference) -> str:
    """Return a difference with its seed and the shortest scenario that has one."""
    small = shortest(drawn, lambda each: difference(engine, each) is not None)
    found = difference(engine, small) or found
    return "\n".join(
        [
            f"seed {drawn.seed}",
            *(msgspec.json.encode(each).decode() for each in small.automations),
            *(f"  {arrives_ms} {msgspec.json.encode(event).decode()}" for arrives_ms, event in small.events),
            *(f"  only Prefect   {firing}" for firing in found.only_prefect),
            *(f"  only flowgauge {firing}" for firing in found.only_flowgauge),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
