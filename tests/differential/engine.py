"""Prefect's own triggers engine in virtual time: a scenario a line in, its firings a line out.

Run in the environment of `.ci/peer prefect`. Real are matching, buckets, their database, causal order and what is
seen; the clock is the scenario's, and so is what calls the engine: an event when it arrives, and on a grid of 5 s what
its two loops do, Proactive triggers first. An automation is loaded at the grid's point before its first event, and
events come without lag, as docs/prefect-rules.md tells. Prefect is not in the environment that types are checked in:
so it is imported as Any.
"""

import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, cast
from uuid import UUID

TICK_MS = 5_000
SEEN_S = 30 * 60
LOG_WRITE = "prefect.log.write"

cachetools: Any = import_module("cachetools")
sqlalchemy: Any = import_module("sqlalchemy")
clock: Any = import_module("prefect.types._datetime")
database: Any = import_module("prefect.server.database")
automations: Any = import_module("prefect.server.events.models.automations")
ordering: Any = import_module("prefect.server.events.ordering")
schemas: Any = import_module("prefect.server.events.schemas.automations")
events: Any = import_module("prefect.server.events.schemas.events")
triggers: Any = import_module("prefect.server.events.triggers")

Json = dict[str, Any]


class Engine:
    """One server's engine. `now_ms` is all the time that it knows."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.fired: list[Json] = []
        self.db = database.provide_database_interface()
        self._next_sweep_ms: int | None = None
        self._offset_of_lag = triggers.get_events_clock_offset
        clock.now = lambda _zone="UTC": moment(self.now_ms)
        triggers.act = self._act

    async def prepare(self) -> None:
        """Make the tables."""
        await self.db.create_db()

    async def run(self, scenario: Json) -> list[Json]:
        """Return the firings of a scenario: automation, time, values of `for_each` in the order of labels, event."""
        await self._reset()
        self.now_ms = int(scenario["start_ms"])
        triggers.get_events_clock_offset = self._offset_of_lag if scenario.get("lag_counts") else no_lag
        waiting = await self._stored(scenario["automations"])
        if scenario.get("loads_at_start"):
            for each in waiting:
                triggers.load_automation(each)
            waiting = []
            await triggers.evaluate_proactive_triggers()
        for item in scenario["events"]:
            arrives_ms = int(item["arrives_ms"])
            await self._tick_until(arrives_ms)
            event = events.ReceivedEvent.model_validate({**item["event"], "received": moment(arrives_ms)})
            if event.event == LOG_WRITE:
                continue
            waiting = [each for each in waiting if not await self._loaded(each, event, arrives_ms)]
            self.now_ms = arrives_ms
            await self._consume(event)
            await self._note_next_sweep()
        await self._tick_until(int(scenario["until_ms"]))
        return self.fired

    async def _consume(self, event: Any) -> None:
        """Do what the consumer's handler does, which is no function that could be called; LOG_WRITE has gone before."""
        if not await ordering.get_triggers_causal_ordering().event_has_been_seen(event.id):
            with contextlib.suppress(ordering.EventArrivedEarly):  # its leader brings it
                await triggers.reactive_evaluation(event)

    async def _reset(self) -> None:
        self.fired = []
        self._next_sweep_ms = None
        await triggers.reset()
        order = ordering.get_triggers_causal_ordering()
        order.clear()
        order._seen_events = cachetools.TTLCache(10_000, SEEN_S, timer=lambda: self.now_ms / 1000)
        async with automations.automations_session(begin_transaction=True) as session:
            await session.execute(sqlalchemy.delete(self.db.AutomationBucket))
            await session.execute(sqlalchemy.delete(self.db.Automation))

    async def _stored(self, items: list[Json]) -> list[Any]:
        """Return the automations as the engine reads them from its database, none of them loaded yet."""
        async with automations.automations_session(begin_transaction=True) as session:
            for number, item in enumerate(items):
                await automations.create_automation(
                    session,
                    schemas.Automation.model_validate({"id": UUID(int=number + 1), **item, "actions": []}),
                )
        await triggers.reconcile_automations(force=True)
        found = list(triggers.automations_by_id.values())
        for each in found:
            triggers.forget_automation(each.id)
        return found

    async def _loaded(self, automation: Any, event: Any, arrives_ms: int) -> bool:
        """Load the automation if it looks at this event, its first, and do the run that a server would at once."""
        trigger = automation.trigger
        triggers.load_automation(automation)
        looks = trigger in triggers.find_interested_triggers(event)
        if not looks or not (trigger.starts_after(event.event) or trigger.expects(event.event)):
            triggers.forget_automation(automation.id)
            return False
        self.now_ms = arrives_ms // TICK_MS * TICK_MS
        await triggers.evaluate_proactive_triggers()
        return True

    async def _tick_until(self, until_ms: int) -> None:
        tick_ms = (self.now_ms // TICK_MS + 1) * TICK_MS
        while tick_ms <= until_ms:
            self.now_ms = tick_ms
            runs = triggers.next_proactive_runs.values()
            if any(run <= moment(tick_ms) for run in runs):
                await triggers.evaluate_proactive_triggers()
                await self._note_next_sweep()
            if self._next_sweep_ms is not None and self._next_sweep_ms <= tick_ms:  # before, it would find nothing
                await triggers.periodic_evaluation(moment(tick_ms))
                await self._note_next_sweep()
            tick_ms += TICK_MS

    async def _note_next_sweep(self) -> None:
        async with automations.automations_session() as session:
            first = (
                await session.execute(sqlalchemy.select(sqlalchemy.func.min(self.db.AutomationBucket.end)))
            ).scalar()
        self._next_sweep_ms = None if first is None else int(first.timestamp() * 1000) + 59_999

    async def _act(self, firing: Any) -> None:
        event = firing.triggering_event
        labels = cast("dict[str, str]", firing.triggering_labels)
        self.fired.append(
            {
                "name": firing.trigger.automation.name,
                "at_ms": self.now_ms,
                "key": [labels[label] for label in sorted(labels)],
                "event": str(event.id) if event else "",
            }
        )


async def no_lag() -> float:
    """Return that events come when they happen."""
    return 0.0


def moment(now_ms: int) -> datetime:
    """Return a time as Prefect's code takes it."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now_ms)


async def main() -> None:
    """Answer each scenario of standard input."""
    engine = Engine()
    await engine.prepare()
    print("ready", flush=True)
    while line := sys.stdin.readline():
        try:
            answer: object = await engine.run(json.loads(line))
        except Exception as error:  # noqa: BLE001  # told to the other side, which fails with it
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
