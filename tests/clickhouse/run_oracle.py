"""Runs as they went, the events that they told, and what is true of them, counted in plain Python from the events."""

import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

SINCE = datetime(2026, 11, 16, tzinfo=UTC)  # a Monday
UNTIL = SINCE + timedelta(days=7)
BEFORE = SINCE - timedelta(days=28)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
ENDS = ("completed", "failed", "crashed", "cancelled")
FINISHED = ("completed", "failed", "crashed")
RUNNING = ("running", "retrying", "cancelling")
# Of equal times the last of these counts.
ORDER = (
    "scheduled",
    "late",
    "pending",
    "running",
    "retrying",
    "paused",
    "cancelling",
    "failed",
    "crashed",
    "cancelled",
    "completed",
)

Event = dict[str, Any]


@dataclass
class Run:
    """What the events of one run say together."""

    run: str
    flow: str = ""
    deployment: str = ""
    work_pool: str = ""
    tags: set[str] = field(default_factory=set[str])
    state: str = ""
    seen_last: datetime = BEFORE
    scheduled_for: datetime | None = None
    late_seen: datetime | None = None
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    attempts: int = 0

    @property
    def due(self) -> datetime | None:
        """When it was to start, as far as that is known."""
        if self.scheduled_for is None and self.late_seen is not None:
            is_before = self.started is None or self.late_seen <= self.started
            return self.late_seen - timedelta(seconds=15) if is_before else None
        return self.scheduled_for

    @property
    def expected(self) -> datetime | None:
        """When it was to start, also where it is only known that it was not called late."""
        known = [at for at in (self.queued, self.started) if at is not None]
        return self.due or (min(known, default=None) if "auto-scheduled" in self.tags else None)

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return between(self.started, self.ended)

    @property
    def late_seconds(self) -> float | None:
        """How late it started."""
        return between(self.due, self.started)

    @property
    def wait_seconds(self) -> float | None:
        """How long it was ready and did not run."""
        if self.queued is None or self.started is None or self.queued > self.started:
            return None
        return max(0.0, (self.started - max(self.queued, self.due or self.queued)).total_seconds())

    def groups(self, per: str) -> list[str]:
        """Return where it counts when runs are grouped by `per`."""
        if per == "tag":
            return sorted(self.tags) or [""]
        return [getattr(self, per)] if per else [""]


def between(first: datetime | None, last: datetime | None) -> float | None:
    """Return the seconds from first to last, where both are known."""
    return None if first is None or last is None else (last - first).total_seconds()


def some_events(tenant: str, count: int) -> list[Event]:
    """Return all that `count` runs of five weeks told, run by run; not all of them start, end, or were scheduled."""
    chance = random.Random(11)
    told: list[Event] = []
    for n in range(count):
        begin = BEFORE if n % 2 else SINCE
        span_s = (28 if n % 2 else 7) * 86_400 - 20_000
        due = begin + timedelta(seconds=chance.randrange(10_000, span_s), microseconds=chance.randrange(10**6))
        told += _told(tenant, f"run-{n}", due, chance)
    return told


def _told(tenant: str, run: str, due: datetime, chance: random.Random) -> list[Event]:
    flow = chance.choice(["orders", "etl", "reports"])
    deployment = chance.choice(["prod", "staging", ""])
    tags = chance.sample(["auto-scheduled", "gpu", "nightly"], chance.randrange(4))
    related = [{"id": f"deployment.{deployment}", "role": "deployment", "name": deployment}] * bool(deployment)
    related += [{"id": f"prefect.tag.{tag}", "role": "tag"} for tag in tags]
    pool = {"id": "pool-1", "role": "work-pool", "name": chance.choice(["k8s", "local"])}
    told: list[Event] = []

    def tell(at: datetime, state: str, **more: object) -> None:
        told.append(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {run} {len(told)}")),
                "tenant": tenant,
                "occurred": at.isoformat(),
                "event": f"flow-run.{state}",
                "kind": "flow-run",
                "flow": flow,
                "run": run,
                "state": state,
                "resource": {"id": f"flow-run.{run}", "name": run},
                "related": related,
                **more,
            }
        )

    at = due + timedelta(seconds=chance.randrange(120), microseconds=chance.randrange(1, 10**6))
    names_time, is_late = chance.random() < 0.5, chance.random() < 0.3
    if names_time:
        tell(due - timedelta(seconds=30), "scheduled", scheduled_for=due.isoformat())
    if is_late:
        tell(due + timedelta(seconds=15), "late")
        at += timedelta(seconds=chance.randrange(900))
    if chance.random() < 0.1:
        if chance.random() < 0.3:
            tell(at, "cancelled")
        return told
    if chance.random() < 0.8:
        tell(at, "pending", related=[*related, pool])
        at += timedelta(seconds=chance.randrange(1, 90))
    tell(at, "running", related=[*related, pool])
    if chance.random() < 0.1:  # as before a retry
        at += timedelta(seconds=chance.randrange(1, 60))
        tell(at, "late")
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        at += timedelta(seconds=chance.randrange(1, 600))
        tell(at, "retrying")
        at += timedelta(seconds=chance.randrange(1, 60))
        tell(at, "running")
    if chance.random() < 0.9:
        factor = 3 if flow == "etl" and due >= SINCE else 1
        at += timedelta(seconds=factor * chance.randrange(1, 3_600), milliseconds=chance.randrange(1_000))
        weights = (5, 4, 1, 1) if flow == "orders" and due >= SINCE else (9, 1, 1, 1)
        tell(at, chance.choices(ENDS, weights)[0], payload={"message": f"{run} ended"})
    return told


def place(event: Event) -> tuple[datetime, int]:
    """Return by what the states of one run are in order."""
    return datetime.fromisoformat(event["occurred"]), ORDER.index(event["state"])


def fold(events: Iterable[Event]) -> list[Run]:
    """Return the runs that `events` tell of, whatever their order and however often each is told."""
    runs: dict[str, Run] = {}
    distinct = {event["id"]: event for event in events if event["kind"] == "flow-run"}
    for event in sorted(distinct.values(), key=place):
        run = runs.setdefault(event["run"], Run(event["run"]))
        at, state = datetime.fromisoformat(event["occurred"]), event["state"]
        run.flow, run.state, run.seen_last = event["flow"], state, at
        for thing in event["related"]:
            if thing["role"] == "tag":
                run.tags.add(thing["id"].removeprefix("prefect.tag."))
            else:
                setattr(run, thing["role"].replace("-", "_"), thing["name"])
        if "scheduled_for" in event:
            run.scheduled_for = datetime.fromisoformat(event["scheduled_for"])
        run.late_seen = run.late_seen or (at if state == "late" else None)
        run.queued = run.queued or (at if state in ("late", "pending") else None)
        run.started = run.started or (at if state == "running" else None)
        run.attempts += state == "running"
        run.ended = at if state in ENDS else None
    return list(runs.values())


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the inclusive quantile of `values`, None of none."""
    if not values:
        return None
    ordered, place = sorted(values), (len(values) - 1) * share
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def bucket_of(at: datetime, size: timedelta | None) -> datetime | None:
    """Return when the bucket of `at` begins."""
    return None if size is None else BEFORE + (at - BEFORE) // size * size


def grouped(
    runs: Iterable[Run],
    at: Callable[[Run], datetime | None],
    per: str,
    size: timedelta | None = None,
    *,
    since: datetime = SINCE,
    until: datetime = UNTIL,
) -> dict[tuple[datetime | None, str], list[Run]]:
    """Return the runs whose time `at` lies in [since, until), by bucket and group."""
    found: dict[tuple[datetime | None, str], list[Run]] = {}
    for run in runs:
        time = at(run)
        if time is not None and since <= time < until:
            for group in run.groups(per):
                found.setdefault((bucket_of(time, size), group), []).append(run)
    return found


def concurrency(runs: Iterable[Run], per: str, size: timedelta) -> dict[tuple[datetime | None, str], tuple[int, float]]:
    """Return the most and the mean number of runs at the same time, by bucket and group."""
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    for run in runs:
        if run.started is None or not SINCE - timedelta(days=7) <= run.started < UNTIL:
            continue
        end = run.ended or (UNTIL if run.state in RUNNING else run.seen_last)
        begin, end = max(run.started, SINCE), min(end, UNTIL)
        for group in run.groups(per):
            spans.setdefault(group, []).extend([(begin, end)] * (begin < end))
    starts = [SINCE + n * size for n in range((UNTIL - SINCE) // size)]
    found: dict[tuple[datetime | None, str], tuple[int, float]] = {}
    for group, ran in spans.items():
        if not ran:
            continue
        for start, stop in pairwise([*starts, UNTIL]):
            moments = [start, *(begin for begin, _ in ran if start <= begin < stop)]
            most = max(sum(begin <= moment < end for begin, end in ran) for moment in moments)
            overlap = sum((max(timedelta(0), min(end, stop) - max(begin, start)) for begin, end in ran), timedelta(0))
            found[start, group] = (most, overlap / (stop - start))
    return found
