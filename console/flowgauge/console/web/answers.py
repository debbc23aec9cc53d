"""What the pages and the API ask: metrics, incidents and health, for one tenant at a time.

ClickHouse is the view: what it answers may be some seconds behind the log, and the health banner says how far.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from starlette.requests import Request

from flowgauge.console.web.acts import handling_words
from flowgauge.console.web.answer_records import ListedIncident, WholeIncident
from flowgauge.console.web.banner import banner
from flowgauge.console.web.channel_trials import ChannelTrials
from flowgauge.console.web.guard import authorization_of
from flowgauge.console.web.incident_json import incident_json, incident_view_json, unknown_since_json
from flowgauge.console.web.incident_views import IncidentPage, IncidentRow, incident_page, incident_row
from flowgauge.console.web.json_answer import table_json
from flowgauge.console.web.overview import Asked, Overview, overview
from flowgauge.console.web.parameters import AHEAD_MS, limit_of, looks_in, metric_query, moment_ms, page_place, whole_of
from flowgauge.console.web.remembered import Remembered
from flowgauge.console.web.rules_answer import rules_page
from flowgauge.console.web.run_views import RUN_LINES_MAX, RunPage, run_page
from flowgauge.console.web.turns import Turns
from flowgauge.processors.rule_plan import OpenIncidents
from flowgauge.processors.ruleset import RuleSet
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.controls_in_force import NOTHING_DONE, Handling
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.incident_context import IncidentContext
from flowgauge.schemas.setting_parts import QuestionSettings
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms
from flowgauge.sinks.clickhouse.dead_letters import dead_letters
from flowgauge.sinks.clickhouse.deliveries import (
    Dead,
    DeliveryRecord,
    ToldDelivery,
    dead_since,
    deliveries,
    delivery_named,
    delivery_records,
)
from flowgauge.sinks.clickhouse.event_history import HistoryAsked, history_clock_ms, history_page
from flowgauge.sinks.clickhouse.hidable import StoredIncident, hidable
from flowgauge.sinks.clickhouse.hints import hint
from flowgauge.sinks.clickhouse.incident_context import Links, about_incident, incident_context
from flowgauge.sinks.clickhouse.incidents import (
    Incident,
    IncidentView,
    flapping,
    incident,
    incident_named,
    incidents,
    open_by_rule,
    open_incidents,
)
from flowgauge.sinks.clickhouse.metric import SINCE_DEFAULT, MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer, takes_prices
from flowgauge.sinks.clickhouse.prices import NO_PRICES, PriceList
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenant_rows import Holding, Page, erase, page, readable, told
from flowgauge.sinks.clickhouse.whole_letters import Choice, place_in, places_in, whole_letters
from flowgauge.transport.control_book import ControlBook
from flowgauge.transport.health import Health
from flowgauge.transport.wall_clock import now_ms as wall_clock_ms

BOUNDS = QuestionSettings()
WEEK_MS = 7 * 86_400_000
HOUR_MS = 3_600_000
RECENT_MAX = 10  # incidents that closed, on the overview


class Answers:
    """Answers for the pages and the API."""

    def __init__(  # noqa: PLR0913  # what it goes by, each with its name
        self,
        store: ClickHouseStore,
        health: Health,
        tokens: TokenTable,
        *,
        rules: Callable[[], RuleSet] = RuleSet,
        operator: str = "",
        bounds: QuestionSettings = BOUNDS,
        prices: Callable[[str], PriceList] = lambda _tenant: NO_PRICES,
        run_url: str = "",
        controls: ControlBook | None = None,
        channels: ChannelTrials | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._rules = rules
        self._operator = operator
        self.turns = Turns(bounds)
        self._remembered = Remembered(parse_duration_ms(bounds.fresh), now_ms)
        self._prices = prices
        self._run_url = run_url  # the orchestrator's page of a run
        self.controls = controls
        self.channels = channels
        self.health = health
        self.now_ms = now_ms

    def is_operator(self, tenant: str) -> bool:
        """Tell whether `tenant` may see what is of all tenants together; without tokens everybody may."""
        return self._tokens.open or tenant == self._operator

    def health_of(self, tenant: str) -> Health:
        """Return the health of this process as `tenant` may see it."""
        return self.health.seen_by(tenant, is_operator=self.is_operator(tenant))

    def tenant_of(self, request: Request) -> str | None:
        """Return who asks, None for whom no token lets in."""
        return self._tokens.tenant_of(authorization_of(request.headers))

    def shown_to(self, tenant: str, request: Request) -> str:
        """Return whose data `tenant` asks for: its own, or of whom `?tenant=` names, if it may see everybody's.

        Raises BadInput where it may not.
        """
        asked = request.query_params.get("tenant", "")[:NAME_MAX] or tenant
        if asked != tenant and not self.is_operator(tenant):
            raise BadInput(f"tenant: this token is of tenant {tenant} and shows nothing of {asked!r}: leave it out")
        return asked

    async def metric(self, name: str, tenant: str, parameters: Mapping[str, str]) -> bytes:
        """Return the answer to a question as JSON, with a hint where it may be empty for another reason than thought.

        Raises BadInput for a question that cannot be asked, or whose answer is too large.
        """
        prices = self._prices(tenant) if takes_prices(name) else NO_PRICES
        asked = metric_query(name, tenant, parameters, self._remembered.moment(), prices)

        async def ask() -> bytes:
            async with self.turns.turn(tenant):
                table = await answer(self._store, name, asked)
                said = await hint(self._store, asked, table)
                return await asyncio.to_thread(table_json, table, hint=said, metric=name)

        return await self._remembered.answer(tenant, (name, asked), ask)

    async def dead_letters(self, tenant: str, parameters: Mapping[str, str]) -> bytes:
        """Return as JSON what of `tenant` could not be read; for the operator also what no tenant is known of."""
        since_ms = moment_ms("since", parameters.get("since") or SINCE_DEFAULT, self.now_ms())
        limit = limit_of(parameters.get("limit", ""))
        tenants = [tenant, ""] if self.is_operator(tenant) else [tenant]
        async with self.turns.turn(tenant):
            found = await dead_letters(self._store, tenants=tenants, since_ms=since_ms, limit=limit)
            return await asyncio.to_thread(table_json, found)

    async def whole_letters(self, tenant: str, parameters: Mapping[str, str]) -> bytes:
        """Return as JSON dead letters of `tenant` with all that is kept of them."""
        source = places_in(parameters["source"], "source") if parameters.get("source") else (-1, -1)
        letter = place_in(parameters["letter"], "letter") if parameters.get("letter") else (-1, -1)
        choice = Choice(
            tenant=tenant,
            since_ms=moment_ms("since", parameters.get("since") or SINCE_DEFAULT, self.now_ms()),
            limit=limit_of(parameters.get("limit", "")),
            reason=parameters.get("reason", ""),
            source_partition=source[0],
            source_offset=source[1],
            letter_partition=letter[0],
            letter_offset=letter[1],
        )
        async with self.turns.turn(tenant):
            return await asyncio.to_thread(table_json, await whole_letters(self._store, choice))

    async def overview(self, tenant: str) -> Overview:
        """Return what the overview says to `tenant`."""
        moment = self._remembered.moment()

        async def ask() -> Asked:
            async with self.turns.turn(tenant):
                return await self._asked(tenant, moment)

        asked = await self._remembered.answer(tenant, ("overview page", moment), ask)
        # What people did is known here and costs nothing: who did it sees it, whoever asked a moment before.
        asked = replace(asked, open=self._handled(asked.open), recent=self._handled(asked.recent))
        return overview(self.health_of(tenant), asked, self.now_ms(), rules=len(self._rules().rules))

    async def _asked(self, tenant: str, now: int) -> Asked:
        end_ms = now + AHEAD_MS
        minutes = await answer(
            self._store, "events", MetricQuery(tenant=tenant, since_ms=now - HOUR_MS, until_ms=end_ms)
        )
        heat = await answer(self._store, "heatmap", MetricQuery(tenant=tenant, since_ms=now - WEEK_MS, until_ms=end_ms))
        open_ = await open_incidents(self._store, tenant)
        newest = await incidents(self._store, tenant, RECENT_MAX + len(open_))
        closed = [item for item in newest if not item.is_open][:RECENT_MAX]
        flaps = await flapping(self._store, tenant, [*open_, *closed])
        return Asked(
            open=[incident_row(item, now, flaps.get(item.incident_id)) for item in open_],
            recent=[incident_row(item, now, flaps.get(item.incident_id)) for item in closed],
            minutes=[(parse_time_ms(str(row["minute"])), int(str(row["events"]))) for row in minutes.dicts()],
            heat=heat.dicts(),
        )

    def _handled(self, rows: Sequence[IncidentRow]) -> list[IncidentRow]:
        return [replace(row, handling=handling_words(self.handling(row))) for row in rows]

    async def incident_page(self, tenant: str, incident_id: str) -> IncidentPage | None:
        """Return what the page of an incident says, None when this tenant has none of that id."""
        found = await self._whole_incident(tenant, incident_id)
        now_ms, health = self.now_ms(), self.health_of(tenant)
        unknown = banner(health, now_ms) if health.unknown_since_ms(now_ms) else None
        if found is None:
            return None
        view, context = found
        return incident_page(view, now_ms, unknown, self.handling(view.incident), context=context)

    async def run_page(self, tenant: str, run: str) -> RunPage | None:
        """Return what the page of a run says, None when nothing was told of it."""
        asked = metric_query("timeline", tenant, {"run": run, "limit": str(RUN_LINES_MAX)}, self.now_ms())
        async with self.turns.turn(tenant):
            told = (await answer(self._store, "timeline", asked)).dicts()
        return run_page(run, told, self.now_ms()) if told else None

    async def incident_rows(self, tenant: str, limit: str, *, only_open: bool) -> list[ListedIncident]:
        """Return the newest incidents as rows for programs."""
        limit_of(limit)  # refused before it waits
        async with self.turns.turn(tenant):
            found = (
                await open_incidents(self._store, tenant)
                if only_open
                else await incidents(self._store, tenant, limit_of(limit))
            )[: limit_of(limit)]
            flaps = await flapping(self._store, tenant, found)
        return [incident_json(item, flaps.get(item.incident_id), self.handling(item)) for item in found]

    async def incident_body(self, tenant: str, incident_id: str) -> WholeIncident | None:
        """Return all of one incident for programs, None when this tenant has none of that id."""
        found = await self._whole_incident(tenant, incident_id)
        if found is None:
            return None
        view, context = found
        handling = self.handling(view.incident)
        return incident_view_json(view, self.now_ms(), self.unknown_since(), handling, context=context)

    async def _whole_incident(self, tenant: str, incident_id: str) -> tuple[IncidentView, IncidentContext] | None:
        async with self.turns.turn(tenant):
            found = await incident(self._store, tenant, incident_id, clock_ms=self._clock_ms())
            if found is None:
                return None
            about, links = about_incident(found.incident, self.now_ms()), Links(run_url=self._run_url)
            return found, await incident_context(self._store, about, runs=found.runs, links=links)

    async def incident_named(self, tenant: str, incident_id: str) -> Incident | None:
        """Return the incident of `tenant` whose id this is, or begins so, None where it has none."""
        async with self.turns.turn(tenant):
            return await incident_named(self._store, tenant, incident_id)

    def handling(self, of: Incident | IncidentRow) -> Handling:
        """Return what people did about an incident, as far as this process knows."""
        return self.controls.in_force.handling(of.tenant, of.incident_id) if self.controls else NOTHING_DONE

    async def hidable(self, tenant: str, since_ms: int) -> list[StoredIncident]:
        """Return what a silence looks at, of `tenant` or of ANY_TENANT: what is open, and what opened since."""
        async with self.turns.turn(tenant):
            return await hidable(self._store, tenant, since_ms=since_ms)

    async def deliveries(
        self, tenant: str, *, since: str, limit: str, channel: str = "", outcome: str = "", dead_first: bool = False
    ) -> list[ToldDelivery]:
        """Return deliveries as they stand. Raises BadInput for what cannot be asked."""
        since_ms = moment_ms("since", since or SINCE_DEFAULT, self.now_ms())
        most = limit_of(limit)
        async with self.turns.turn(tenant):
            return await deliveries(
                self._store,
                tenant,
                since_ms=since_ms,
                limit=most,
                channel=channel,
                outcome=outcome,
                dead_first=dead_first,
            )

    async def delivery_named(self, tenant: str, delivery_id: str) -> ToldDelivery | None:
        """Return the delivery of `tenant` whose id this is, or begins so, None where it has none."""
        async with self.turns.turn(tenant):
            return await delivery_named(self._store, tenant, delivery_id)

    async def whole_delivery(self, tenant: str, delivery_id: str) -> tuple[ToldDelivery, list[DeliveryRecord]] | None:
        """Return the same with all that was recorded of it."""
        async with self.turns.turn(tenant):
            found = await delivery_named(self._store, tenant, delivery_id)
            return (found, await delivery_records(self._store, tenant, found)) if found else None

    async def dead_deliveries(self, tenant: str, channel: str, since_ms: int) -> Dead:
        """Return what of `tenant` stands given up since: to `channel`, or "" to all that are no actions."""
        async with self.turns.turn(tenant):
            return await dead_since(self._store, tenant, channel=channel, since_ms=since_ms)

    async def running_rules(self, tenant: str, after: str, *, is_whole: bool) -> bytes:
        """Return as JSON a page of the rules in force that `tenant` sees, or of all where `is_whole`."""
        begins = whole_of("after", after or "0")
        counts: OpenIncidents | None = None
        if not begins:
            async with self.turns.turn(tenant):
                counts = await open_by_rule(self._store, ANY_TENANT if is_whole else tenant)
        return await asyncio.to_thread(rules_page, self._rules(), tenant, counts, is_whole=is_whole, after=begins)

    def unknown_since(self) -> str | None:
        """Return since when detection is unknown, None where it is not."""
        return unknown_since_json(self.health, self.now_ms())

    async def holding(self, tenant: str, parameters: Mapping[str, str]) -> Holding:
        """Return what of `tenant` can be read out, by table."""
        now_ms = self.now_ms()
        until_ms = moment_ms("until", parameters["until"], now_ms) if parameters.get("until") else now_ms
        async with self.turns.turn(tenant):
            return await readable(self._store, tenant, until_ms=until_ms)

    async def erasable(self, tenant: str) -> Holding:
        """Return what there is of `tenant`, by table."""
        async with self.turns.turn(tenant):
            return await told(self._store, tenant)

    async def tenant_page(self, tenant: str, table: str, parameters: Mapping[str, str]) -> Page:
        """Return the next rows of `tenant` in `table`, after the place that the page before told."""
        now_ms = self.now_ms()
        until_ms = moment_ms("until", parameters["until"], now_ms) if parameters.get("until") else now_ms
        after = page_place(parameters.get("after", ""))
        async with self.turns.turn(tenant):
            return await page(self._store, tenant, table, after, until_ms=until_ms)

    async def history_page(self, tenant: str, parameters: Mapping[str, str]) -> tuple[Page, int | None]:
        """Return the next stored events of `tenant` as lines for a replay, and up to when all are stored."""
        now_ms = self.now_ms()
        asked = HistoryAsked(
            tenant,
            since_ms=moment_ms("since", parameters.get("since") or SINCE_DEFAULT, now_ms),
            until_ms=moment_ms("until", parameters["until"], now_ms) if parameters.get("until") else now_ms,
            looks=looks_in(parameters.get("looks", "")),
        )
        after = page_place(parameters.get("after", ""))
        async with self.turns.turn(tenant):
            clock_ms = await history_clock_ms(self._store)
            return await history_page(self._store, asked, after), clock_ms

    async def erase(self, tenant: str) -> Holding:
        """Begin or go on to erase all of `tenant`, its controls in the log too; return what rows there still are."""
        if self.controls:
            await self.controls.erase(tenant)
        return await erase(self._store, tenant, self.now_ms())

    def _clock_ms(self) -> int:
        """Return until when detection has seen everything; now, where no detection runs in this process."""
        return self.health.clock_ms or self.now_ms()
