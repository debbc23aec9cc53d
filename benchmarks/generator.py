"""Events as busy teams make them: the same ones each time, in the order in which the log would get them.

    50 tenants × 8 flows, runs of 120 events    6 state changes of the run (5 %)
                                                60 task-run events (50 %), 54 log lines (45 %)

A run is scheduled, starts (in time or late), works through its tasks and ends. Some flows fail for hours,
a few starts are minutes late, events arrive up to seconds after they happened. Each event is a canonical record of
about 700 bytes, so that gateways and sinks take the way they take for our own senders.
"""

import heapq
import random
from collections.abc import Iterator
from typing import NamedTuple

from flowgauge.schemas.times import rfc3339

SEED = 20_261_123
START_MS = 1_795_000_000_000
TENANTS = 50
FLOWS_PER_TENANT = 8
TASKS = 15
TASK_STATES = ("scheduled", "pending", "running", "completed")
LOGS = 54
RUN_STATES = 6  # changes of a run's state
EVENTS_PER_RUN = RUN_STATES + TASKS * len(TASK_STATES) + LOGS
RUN_EVERY_MS = 10_000  # over all flows: at 120 events a run this is 12 events a second of event time
RUN_LASTS_MS = 600_000
HOUR_MS = 3_600_000
FAILING_FLOWS_EACH = 20  # every twentieth flow has six hours of failures a day
LATE_STARTS_EACH = 40
DELAY_MEAN_MS = 200.0  # from the worker to the log
PATHS = ("extract", "load", "transform", "publish", "notify")
MESSAGES = (
    "Fetched {} rows from the warehouse in 1.25 s, writing them to the staging area of this run now",
    "Attempt 1 of {}: the upstream service answered 200, the page of results has been stored for the next task",
    "Wrote part {} of the partitioned output; checksums agree with what the source announced before the run",
)


class Made(NamedTuple):
    """One generated event: when it reaches the log, the run it belongs to, its bytes."""

    append_ms: int
    run: str
    value: bytes


class _Planned(NamedTuple):
    """One event of a run that is to come: (occurred, what) before it is written out."""

    append_ms: int
    number: int
    occurred_ms: int
    kind: str
    state: str
    task: str


class _Run(NamedTuple):
    tenant: str
    flow: str
    run: str
    scheduled: str
    related: str


def made_events(
    count: int,
    *,
    start_ms: int = START_MS,
    run_every_ms: int = RUN_EVERY_MS,
    only_runs: bool = False,
    from_ms: int = 0,
    run_lasts_ms: int = RUN_LASTS_MS,
    seed: int = SEED,
    tenants: int = TENANTS,
) -> Iterator[Made]:
    """Yield `count` events in append order; equal arguments give equal bytes.

    `only_runs` leaves out task-run events and logs, `from_ms` what reaches the log before it. A run works for a
    half to the whole of `run_lasts_ms`. Runs of another `seed` are others. Flows are spread over so many `tenants`.
    """
    draw = random.Random(seed)
    waiting: list[tuple[_Planned, _Run]] = []
    begun_ms, number, made = start_ms, 0, 0
    while made < count:
        while not waiting or begun_ms <= waiting[0][0].append_ms:
            run = _new_run(draw, begun_ms, tenants)
            for planned in _plan(draw, number, begun_ms, run, only_runs=only_runs, run_lasts_ms=run_lasts_ms):
                heapq.heappush(waiting, (planned, run))
            number += 1
            begun_ms += run_every_ms
        planned, run = heapq.heappop(waiting)
        if planned.append_ms < from_ms:
            continue
        made += 1
        yield Made(planned.append_ms, run.run, _written(draw, planned, run))


def _new_run(draw: random.Random, begun_ms: int, tenants: int) -> _Run:
    place = draw.randrange(TENANTS * FLOWS_PER_TENANT)
    tenant, flow = f"team-{place // FLOWS_PER_TENANT % tenants:02d}", f"{PATHS[place % len(PATHS)]}-{place:03d}"
    run = _uuid(draw)
    pool = f"pool-{place % 4}"
    related = (
        f'[{{"id":"prefect.flow.{place:08x}-5fd4-4a11-9c1f-270d315304c5","role":"flow","name":"{flow}"}},'
        f'{{"id":"prefect.deployment.{place:08x}-93ab-4f02-b1a2-0d4e6f0c77aa","role":"deployment"}},'
        f'{{"id":"prefect.work-pool.{pool}","role":"work-pool","name":"{pool}"}},'
        f'{{"id":"prefect.tag.{"critical" if place % 5 == 0 else "daily"}","role":"tag"}}]'
    )
    return _Run(tenant, flow, run, _time(begun_ms + 60_000), related)


def _plan(
    draw: random.Random, number: int, begun_ms: int, run: _Run, *, only_runs: bool, run_lasts_ms: int
) -> Iterator[_Planned]:
    """Yield the run's events, each with its place in time."""
    due_ms = begun_ms + 60_000
    started_ms = due_ms + (400_000 if draw.randrange(LATE_STARTS_EACH) == 0 else draw.randrange(500, 5_000))
    ended_ms = started_ms + draw.randrange(run_lasts_ms // 2, run_lasts_ms)
    moments = [
        (begun_ms, "scheduled"),
        (due_ms, "pending"),
        (started_ms, "running"),
        (started_ms + 60_000, "retrying"),
        (started_ms + 61_000, "running"),
        (ended_ms, _end(draw, run, begun_ms)),
    ]
    for index, (moment_ms, state) in enumerate(moments):
        yield _at(draw, number, index, moment_ms, "flow-run", state, "")
    if only_runs:
        return
    span_ms = ended_ms - started_ms
    for task in range(TASKS):
        task_id = _uuid(draw)
        for index, state in enumerate(TASK_STATES):
            moment_ms = started_ms + span_ms * (task * len(TASK_STATES) + index) // (TASKS * len(TASK_STATES))
            yield _at(draw, number, 10 + task * 4 + index, moment_ms, "task-run", state, task_id)
    for line in range(LOGS):
        yield _at(draw, number, 100 + line, started_ms + span_ms * line // LOGS, "log", "", "")


def _end(draw: random.Random, run: _Run, begun_ms: int) -> str:
    place = int(run.flow[-3:])
    fails = place % FAILING_FLOWS_EACH == 0 and begun_ms // (6 * HOUR_MS) % 4 == place // FAILING_FLOWS_EACH % 4
    return "failed" if draw.random() < (0.7 if fails else 0.02) else "completed"


def _at(draw: random.Random, run: int, index: int, moment_ms: int, kind: str, state: str, task: str) -> _Planned:  # noqa: PLR0917
    delay_ms = int(draw.expovariate(1 / DELAY_MEAN_MS))
    return _Planned(moment_ms + delay_ms, run * 1_000 + index, moment_ms, kind, state, task)


def _written(draw: random.Random, planned: _Planned, run: _Run) -> bytes:
    """Return the event in the field order of canonical records."""
    head = f'{{"id":"{_uuid(draw)}","tenant":"{run.tenant}","occurred":"{_time(planned.occurred_ms)}",'
    names = f'"kind":"{planned.kind}","flow":"{run.flow}","run":"{run.run}"'
    related = f'"related":{run.related}'
    if planned.kind == "log":
        message = MESSAGES[planned.number % len(MESSAGES)].format(planned.number % 9_000)
        middle = f'"event":"log.write",{names},"resource":{{"id":"prefect.flow-run.{run.run}"}},{related}'
        tail = f'"payload":{{"level":20,"logger":"prefect.flow_runs","message":"{message}"}}}}'
    elif planned.kind == "task-run":
        middle = (
            f'"event":"prefect.task-run.{planned.state.capitalize()}",{names},"task":"{planned.task}",'
            f'"state":"{planned.state}","resource":{{"id":"prefect.task-run.{planned.task}","name":"step"}},{related}'
        )
        tail = '"payload":{"validated_state":{"message":"","type":"RUNNING"}}}'
    else:
        middle = (
            f'"event":"prefect.flow-run.{planned.state.capitalize()}",{names},"state":"{planned.state}",'
            f'"scheduled_for":"{run.scheduled}",'
            f'"resource":{{"id":"prefect.flow-run.{run.run}","name":"able-otter","env":"prod"}},{related}'
        )
        tail = '"payload":{"validated_state":{"message":"","type":"RUNNING"}}}'
    return f"{head}{middle},{tail}".encode()


def _uuid(draw: random.Random) -> str:
    text = f"{draw.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-8{text[17:20]}-{text[20:]}"


_seconds: dict[int, str] = {}


def _time(ms: int) -> str:
    """Return RFC 3339 with microseconds that are never zero, as msgspec writes it."""
    seconds, rest = divmod(ms, 1000)
    text = _seconds.get(seconds)
    if text is None:
        if len(_seconds) > 10_000:
            _seconds.clear()
        text = _seconds[seconds] = rfc3339(seconds * 1000)[:19]
    return f"{text}.{rest:03d}417Z"
