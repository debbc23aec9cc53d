"""What the notifier may say of an incident besides its numbers: asked of ClickHouse, and never waited for long.

People must hear of an incident whether or not ClickHouse answers, so nothing here raises and everything has an end:

    within CONTEXT_S_MAX       told, as far as it could be
    away, or too slow          None; for AWAY_MS nobody asks again, so that not each message of a storm waits for it
    AT_ONCE_MAX in flight      the others wait, within their time: questions of people come first
"""

import asyncio
import threading
from collections.abc import Callable

import structlog

from flowgauge.console.clickhouse import open_store
from flowgauge.schemas.incident_context import IncidentContext, context_lines, run_link
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.clickhouse.incident_context import Links, about_transition, incident_context
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.webhooks.message import incident_link
from flowgauge.transport.wall_clock import now_ms as wall_clock_ms

CONTEXT_S_MAX = 2.0  # a message waits for its context at most so long
AWAY_MS = 30_000  # ClickHouse that did not answer is left alone
AT_ONCE_MAX = 2

log_lines = structlog.get_logger("flowgauge.context")


class ContextTeller:
    """Tells the context of incidents. `store` gives ClickHouse: it may block and fail, and is asked in a thread."""

    def __init__(
        self,
        store: Callable[[], ClickHouseStore],
        links: Links,
        *,
        deadline_s: float = CONTEXT_S_MAX,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._store = store
        self._links = links
        self.deadline_s = deadline_s
        self._now_ms = now_ms
        self.turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._away_until_ms = 0

    async def context_of(self, transition: Transition) -> IncidentContext | None:
        """Return what stands around the incident of `transition`, None where nothing of it can be told now."""
        if self._now_ms() < self._away_until_ms:
            return None
        found, has_asked = None, False
        try:
            async with asyncio.timeout(self.deadline_s), self.turns:
                has_asked = True
                found = await self._asked(transition)
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  # whatever it is, people must hear of the incident
            log_lines.warning("context failed", incident_id=transition.incident_id, error=str(error))
        if found is None and has_asked:
            self._away_until_ms = self._now_ms() + AWAY_MS
        return found

    async def details(self, transition: Transition) -> tuple[str, ...]:
        """Return the same as plain lines for a message, () where nothing can be told now."""
        found = await self.context_of(transition)
        return () if found is None else tuple(context_lines(found))

    async def _asked(self, transition: Transition) -> IncidentContext | None:
        store = await asyncio.to_thread(self._store)
        about = about_transition(transition, self._now_ms())
        found = await incident_context(store, about, links=self._links, deadline_s=self.deadline_s * 0.9)
        is_empty = not (found.errors or found.lines or found.changes or found.related or found.runs)
        return None if found.untold and is_empty else found


class LateStore:
    """A ClickHouse server that is connected to when it is first asked, and again after it was away. Blocks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: ClickHouseStore | None = None

    def __call__(self) -> ClickHouseStore:
        """Return the store; raise BadEnvironment or InvalidSettings where there is none now."""
        with self._lock:
            if self._opened is None:
                self._opened = open_store(self._settings)
            return self._opened

    def close(self) -> None:
        """End the connections, if there are any."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()


def links_of(settings: Settings, public_url: str) -> Links:
    """Return where people look at runs and incidents, as the settings say; `public_url` is where the console is."""
    return Links(
        run_url=settings.run_url,
        incident=lambda incident_id: incident_link(incident_id, public_url) or "",
        run=lambda run: run_link(run, "", f"{public_url.rstrip('/')}/runs/{{run}}") if public_url else "",
    )
