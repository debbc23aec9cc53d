"""The workers of the demo: three shop flows that publish what they do, and a database that goes away now and then.

They use the publisher as a user's own code would. Nothing is random: each demo tells the same story.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flowgauge.producers.publisher import Publisher
from flowgauge.producers.run_scope import RunScope

# Flow, seconds a run takes, and whether it needs the database.
FLOWS = (("shop-checkout", 0.6, True), ("shop-invoices", 0.9, False), ("shop-search-index", 1.3, False))
PAUSE_S = 0.5
FIRST_OUTAGE_AFTER_S = 4.0
OUTAGE_S = 20.0  # longer than the rule's window, so that it is seen whole
OUTAGE_EVERY_S = 180.0


@dataclass(slots=True)
class Database:
    """What the checkout needs."""

    is_away: bool = False

    def query(self, run: RunScope) -> None:
        """Answer, or fail as a database that is away does."""
        if self.is_away:
            run.log("ERROR", "connection to shop-db refused")
            raise ConnectionError("shop-db refused the connection")


async def run_workers(publisher: Publisher, say: Callable[[str], None]) -> None:
    """Work until cancelled."""
    database = Database()
    async with asyncio.TaskGroup() as group:
        for flow, run_s, needs_database in FLOWS:
            group.create_task(_work(publisher, flow, run_s, database if needs_database else Database()))
        group.create_task(_break(database, say))


async def _work(publisher: Publisher, flow: str, run_s: float, database: Database) -> None:
    while True:
        try:
            with publisher.run(flow, tags=("demo",)) as run:
                run.log("INFO", f"{flow} begins")
                await asyncio.sleep(run_s / 2)
                database.query(run)
                await asyncio.sleep(run_s / 2)
                run.log("INFO", f"{flow} is done")
        except ConnectionError:
            pass  # the publisher has told it; the next run tries again, as a scheduler would
        await asyncio.sleep(PAUSE_S)


async def _break(database: Database, say: Callable[[str], None]) -> None:
    await asyncio.sleep(FIRST_OUTAGE_AFTER_S)
    while True:
        say(f"outage    shop-db is away for {OUTAGE_S:.0f} s: runs of shop-checkout fail")
        database.is_away = True
        await asyncio.sleep(OUTAGE_S)
        database.is_away = False
        say(f"outage    shop-db is back; the next one comes in {OUTAGE_EVERY_S - OUTAGE_S:.0f} s")
        await asyncio.sleep(OUTAGE_EVERY_S - OUTAGE_S)
