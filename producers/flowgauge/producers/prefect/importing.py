"""The import: what Prefect keeps of past runs, into the log as history. No rule sees it (ADR 26).

    each day:   POST /flow_runs/filter   in the order of their starts, 200 a page
                GET /flow_run_states/    each run's; with `task_runs` also its tasks and theirs
                POST /logs/filter        with `logs`
                                  ──► batches to the gateway, each answered before the next

One request at a time, and none before Retry-After is over. Nothing is kept of how far it came: ids are Prefect's, so an
import that is started again, from the beginning or where the last one said it was, changes no answer.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import msgspec

from flowgauge.producers.blocking_sender import BlockingSender
from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.prefect.api import PrefectApi
from flowgauge.producers.prefect.look_back import (
    ROWS_PAGE,
    Json,
    fields_of,
    flow_runs_between,
    logs_between,
    moment_us,
    time_at,
)
from flowgauge.producers.prefect.mapping import Unmappable, map_log, run_of_log
from flowgauge.producers.prefect.past_runs import About, as_history, flow_run_events, task_run_events
from flowgauge.producers.prefect.run_lookup import Rows, RunLookup
from flowgauge.producers.sender import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from flowgauge.schemas.errors import BadEnvironment, BadInput, ServerAway
from flowgauge.schemas.event import EVENT_BYTES_MAX, OCCURRED_PAST_MAX_MS

SLICE_US = 86_400_000_000  # a day of runs, then its logs: where an import that ended early goes on
PROBLEMS_MAX = 10
TASKS_MAX = 100_000  # of one run: a flow that made more is not told whole
OLDEST_MARGIN_US = 3_600_000_000  # what is older than an event may be by the time it arrives is not sent

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Imported:
    """What an import brought. `until_us`: of what started before that, all is there."""

    until_us: int
    runs: int = 0
    tasks: int = 0
    logs: int = 0
    events: int = 0
    refused: int = 0
    too_old: int = 0
    problems: list[str] = field(default_factory=list[str])  # the first ones of what was refused

    def refuse(self, reason: str, number: int = 1) -> None:
        """Count what does not become an event; of the first PROBLEMS_MAX it is kept why."""
        self.refused += number
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(reason)


@dataclass(frozen=True, slots=True)
class Past:
    """What to import: runs that started in [since_us, until_us), or were to; and what of them."""

    since_us: int
    until_us: int
    task_runs: bool = False
    logs: bool = False


class Import:
    """One import. `said` has what it brought so far, also when it ends early."""

    def __init__(self, api: PrefectApi, sender: BlockingSender, say: Callable[[Imported], object]) -> None:
        self._api = api
        self._sender = sender
        self._say = say
        self._flows, self._deployments = Rows(api, "flows"), Rows(api, "deployments")
        self._pools = Rows(api, "work_pools")
        self._lookup = RunLookup(api)
        self._batch: list[bytes] = []
        self._bytes = 0
        self._oldest_us = api.now_ms() * 1000 - OCCURRED_PAST_MAX_MS * 1000 + OLDEST_MARGIN_US
        self.said = Imported(0)

    def run(self, past: Past) -> Imported:
        """Import; return what was brought.

        Raises ServerAway, BadEnvironment and BadInput, where it cannot go on, with the time to go on from.
        """
        try:
            for since_us in range(past.since_us, past.until_us, SLICE_US):
                self.said.until_us = since_us
                part = replace(past, since_us=since_us, until_us=min(since_us + SLICE_US, past.until_us))
                self._runs(part)
                if past.logs:
                    self._logs(part)
        except (ServerAway, BadEnvironment, BadInput) as error:
            raise type(error)(f"{error}; go on with --since {time_at(self.said.until_us)}") from None
        self.said.until_us = past.until_us
        return self.said

    def _runs(self, past: Past) -> None:
        before: set[str] = set()
        for page in _pages(self._objects(flow_runs_between(self._api, past.since_us, past.until_us))):
            runs = [run for run in page if str(run.get("id")) not in before]
            before = {str(run.get("id")) for run in page}
            self._flows.learn(run.get("flow_id") for run in runs)
            self._deployments.learn(run.get("deployment_id") for run in runs)
            self._pools.learn(run.get("work_pool_id") for run in runs)
            for run in runs:
                self._run(run, past)
            self._flush()
            self._say(self.said)

    def _run(self, run: Json, past: Past) -> None:
        about = About(
            self._flows.find(run.get("flow_id")),
            self._deployments.find(run.get("deployment_id")),
            self._pools.find(run.get("work_pool_id")),
        )
        states = self._api.get("/flow_run_states/", list[Json], flow_run_id=str(run.get("id")))
        self._take(flow_run_events(run, states, about))
        self.said.runs += 1
        if past.task_runs:
            for task in self._tasks(run):
                of_task = self._api.get("/task_run_states/", list[Json], task_run_id=str(task.get("id")))
                self._take(task_run_events(task, of_task, run, about))
                self.said.tasks += 1

    def _tasks(self, run: Json) -> Iterator[Json]:
        for offset in range(0, TASKS_MAX, ROWS_PAGE):
            of_run = {"flow_runs": {"id": {"any_": [run.get("id")]}}, "sort": "EXPECTED_START_TIME_ASC"}
            page = self._api.post("/task_runs/filter", {**of_run, "limit": ROWS_PAGE, "offset": offset}, list[Json])
            yield from page
            if len(page) < ROWS_PAGE:
                return

    def _logs(self, past: Past) -> None:
        for page in _pages(self._objects(logs_between(self._api, past.since_us, past.until_us))):
            self._lookup.learn(run for each in page if (run := run_of_log(each)))
            self._take(self._log(each) for each in page)
            self._flush()
            self.said.logs += len(page)
            self._say(self.said)

    def _objects(self, rows: Iterable[bytes]) -> Iterator[Json]:
        for row in rows:
            if fields := fields_of(row):
                yield fields
            else:
                self.said.refuse("a row of Prefect's is no object")

    def _log(self, fields: Json) -> EventJson | Unmappable:
        mapped = map_log(fields, self._lookup.seen(run_of_log(fields)))
        return mapped if isinstance(mapped, Unmappable) else as_history(mapped)

    def _take(self, events: Iterable[EventJson | Unmappable]) -> None:
        for event in events:
            if isinstance(event, Unmappable):
                self.said.refuse(event.reason)
                continue
            if moment_us(event["occurred"], 0) < self._oldest_us:
                self.said.too_old += 1
                continue
            value = _encode(event)
            if len(value) > EVENT_BYTES_MAX:
                self.said.refuse(f"event {event['id']}: {len(value)} bytes, at most {EVENT_BYTES_MAX} are accepted")
                continue
            self._batch.append(value)
            self._bytes += len(value)
            if len(self._batch) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX:
                self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._bytes = self._batch, [], 0
        for settled in self._sender.send(batch):
            self.said.events += settled.accepted
            for reason in settled.refused.values():
                self.said.refuse(reason)
            if settled.unlisted:
                self.said.refuse("more than the answer lists", settled.unlisted)


def _pages(rows: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield rows by ROWS_PAGE, as they were read."""
    left = iter(rows)
    while page := list(islice(left, ROWS_PAGE)):
        yield page
