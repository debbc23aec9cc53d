"""Make the extracts of this folder from full captures: `python tests/data/make_extracts.py CAPTURES_FOLDER`.

An extract is a thinner capture in the same form and order. Kept is what tells the story: every flow-run
state of every flow, every task failure, every log of a warning or worse and every log of a run that went
wrong. Thinned is what repeats: heartbeats (one in HEARTBEATS_KEPT_EVERY), task-run states and logs of runs
that went well, block types. The same captures make the same bytes.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HEARTBEATS_KEPT_EVERY = 4
WARNING = 30
HERE = Path(__file__).parent

# Of the runs that went well one in so many is kept with all its task runs and logs.
DETAILED_RUNS_EVERY = {"prefect-outage": 4, "prefect-late": 5}

Record = dict[str, Any]


def main(captures: Path) -> None:
    for name, every in DETAILED_RUNS_EVERY.items():
        capture = gzip.decompress((captures / f"{name}.jsonl.gz").read_bytes())
        records = [json.loads(line) for line in capture.splitlines()]
        lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in thin(records, every)]
        target = HERE / f"{name}-extract.jsonl.gz"
        # No name and no time in the gzip header: equal contents, equal bytes.
        with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
            packed.write(("\n".join(lines) + "\n").encode())
        print(f"{target.name}: {len(lines)} of {len(records)} lines, {target.stat().st_size} bytes")


def thin(records: list[Record], detailed_runs_every: int) -> Iterator[Record]:
    """Yield the records to keep, in order."""
    detailed = detailed_runs(records, detailed_runs_every)
    met: Counter[str] = Counter()
    for record in records:
        data = record["data"]
        name = data.get("event", "log.write")
        met[name] += 1
        if is_kept(name, met[name], data, run_of(data) in detailed):
            yield record


def is_kept(name: str, nth: int, data: Record, is_detailed: bool) -> bool:
    """Decide by name: `nth` is how many of that name have been met, this one included."""
    if name.startswith("prefect.block-type."):
        return nth == 1
    if name == "prefect.flow-run.heartbeat":
        return nth % HEARTBEATS_KEPT_EVERY == 1
    if name == "log.write":
        return is_detailed or data["level"] >= WARNING
    if name.startswith("prefect.task-run."):
        return nth == 1 or is_detailed or name.endswith(".Failed")
    return True


def detailed_runs(records: list[Record], every: int) -> set[str | None]:
    """Return the runs that are kept whole: those that went wrong, and one in `every` of the others."""
    wrong = {run_of(r["data"]) for r in records if is_wrong(r["data"].get("event", ""))}
    runs = dict.fromkeys(run for r in records if (run := run_of(r["data"])) and run not in wrong)
    return wrong | set(list(runs)[::every])


def is_wrong(event: str) -> bool:
    return event in ("prefect.flow-run.Failed", "prefect.flow-run.Crashed")


def run_of(data: Record) -> str | None:
    if "event" not in data:
        return data["flow_run_id"]  # type: ignore[no-any-return]  # JSON that Prefect has checked
    labels: Iterable[Record] = [data["resource"], *data["related"]]
    ids = (each["prefect.resource.id"] for each in labels)
    return next((i.removeprefix("prefect.flow-run.") for i in ids if i.startswith("prefect.flow-run.")), None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
