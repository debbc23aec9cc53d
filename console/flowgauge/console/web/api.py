"""The HTTP API: metrics, incidents, health, rules. JSON in and out; an error is `{"error": one sentence}`."""

from collections.abc import Awaitable, Callable, Collection

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from flowgauge.console.rule_folder import Applied
from flowgauge.console.web.act_operations import act_path
from flowgauge.console.web.acting import do
from flowgauge.console.web.action_switch import START, STOP, SWITCHES, actions_told, read_switch, switch_actions
from flowgauge.console.web.acts import ACT_BYTES_MAX, BODIES, Verb, person, read_doing
from flowgauge.console.web.answer_records import RuleFiles, RulesInForce, tenant_holding
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.api_operations import KNOWN
from flowgauge.console.web.channel_trials import CHANNELS, TRIAL, TRIAL_BYTES_MAX, ChannelTrials, read_trial
from flowgauge.console.web.deliveries import (
    COLUMNS,
    LAG,
    REPLAY_BYTES_MAX,
    NotDead,
    ReplayAll,
    ReplayOne,
    delivery_json,
    lane_of,
    outcome_of,
    read_replay,
    whole_json,
)
from flowgauge.console.web.delivery_keeping import replay_all, replay_one
from flowgauge.console.web.delivery_operations import DELIVERIES, DELIVERY, REPLAY_ALL, REPLAY_ONE
from flowgauge.console.web.guard import body_of, login_of
from flowgauge.console.web.incident_json import INCIDENT_COLUMNS, health_json
from flowgauge.console.web.json_answer import UNAUTHORIZED, json_answer, json_bytes, token_needed
from flowgauge.console.web.metric_operations import METRIC_ROUTE
from flowgauge.console.web.parameters import refuse_repeated, refuse_unknown, switch_of
from flowgauge.console.web.silence_keeping import add, expire, preview, silences
from flowgauge.console.web.silence_operations import PREVIEW, SILENCE, SILENCES
from flowgauge.console.web.silences import SILENCE_BYTES_MAX, read_asked
from flowgauge.console.web.turns import RETRY_AFTER_S, TooManyQuestions
from flowgauge.producers.gateway.door import content_type_of
from flowgauge.schemas.errors import BadInput, FlowgaugeError, InvalidRules, Transient
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silence_form import SilenceAsked
from flowgauge.sinks.clickhouse.tenant_rows import Page

RULES_BYTES_MAX = 8 * 1_048_576  # ten thousand rules fit
ID_CHARS_SHOWN = 64  # of an id that there is not

ApplyRules = Callable[[dict[str, str]], Awaitable[Applied]]
Ask = Callable[[Request, str], Awaitable[Response]]


def api_routes(answers: Answers, apply_rules: ApplyRules | None = None) -> list[BaseRoute]:
    """Return the routes that programs ask; without `apply_rules` they only read."""
    api = _Api(answers, apply_rules)
    asks = (
        ("GET", "/v1/incidents", api.incidents),
        ("GET", "/v1/incidents/{incident_id}", api.incident),
        ("GET", SILENCES, api.silences),
        ("POST", SILENCES, api.add_silence),
        ("POST", PREVIEW, api.preview_silence),
        ("DELETE", SILENCE, api.expire_silence),
        ("GET", SWITCHES, api.actions),
        ("POST", STOP, api.switching(are_stopped=True)),
        ("POST", START, api.switching(are_stopped=False)),
        ("GET", CHANNELS, api.channels),
        ("POST", TRIAL, api.try_channel),
        ("GET", DELIVERIES, api.deliveries),
        ("POST", REPLAY_ALL, api.replay_all),
        ("GET", DELIVERY, api.delivery),
        ("POST", REPLAY_ONE, api.replay_one),
        ("GET", "/v1/dlq", api.dlq),
        ("GET", "/v1/dlq/letters", api.letters),
        ("GET", "/v1/tenant", api.tenant),
        ("GET", "/v1/tenant/rows/{table}", api.tenant_rows),
        ("GET", "/v1/tenant/erase", api.erasable),
        ("POST", "/v1/tenant/erase", api.erase),
        ("GET", "/v1/history", api.history),
        ("GET", "/v1/health", api.health),
        ("GET", "/v1/rules", api.running_rules),
        ("POST", "/v1/rules", api.rules),
    )
    return [
        Route(METRIC_ROUTE, api.for_tenant(api.metric), methods=["GET"]),
        *(
            Route(act_path(verb), api.for_tenant(api.doing(verb), KNOWN["POST", act_path(verb)]), methods=["POST"])
            for verb in BODIES
        ),
        *(Route(path, api.for_tenant(ask, KNOWN[method, path]), methods=[method]) for method, path, ask in asks),
        Route("/healthz", api.healthz, methods=["GET"]),
    ]


class _Refused(FlowgaugeError):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class _Api:
    def __init__(self, answers: Answers, apply_rules: ApplyRules | None) -> None:
        self._answers = answers
        self._apply_rules = apply_rules

    def for_tenant(self, ask: Ask, known: Collection[str] | None = None) -> Callable[[Request], Awaitable[Response]]:
        """Return `ask` for whom the request's token lets in; what goes wrong is answered in one sentence.

        A parameter that is not `known` is refused; without `known`, `ask` looks at that itself.
        """

        async def answer(request: Request) -> Response:
            tenant = self._answers.tenant_of(request)
            if tenant is None:
                return json_answer({"error": token_needed(request.headers)}, 401, UNAUTHORIZED)
            try:
                refuse_repeated(request.query_params.multi_items())
                shown = self._answers.shown_to(tenant, request)
                if known is not None:
                    refuse_unknown(request.query_params, known)
                    _refuse_everyone(shown)
                return await ask(request, shown)
            except (_Refused, NotDead, BadInput, Transient) as error:
                return _refusal(error)

        return answer

    async def metric(self, request: Request, tenant: str) -> Response:
        return json_bytes(await self._answers.metric(request.path_params["name"], tenant, dict(request.query_params)))

    async def incidents(self, request: Request, tenant: str) -> Response:
        only_open = switch_of("open", request.query_params.get("open", ""))
        rows = await self._answers.incident_rows(tenant, request.query_params.get("limit", ""), only_open=only_open)
        unknown_since = self._answers.unknown_since()
        return json_answer({"columns": INCIDENT_COLUMNS, "rows": rows, "detection_unknown_since": unknown_since})

    async def incident(self, request: Request, tenant: str) -> Response:
        body = await self._answers.incident_body(tenant, request.path_params["incident_id"])
        if body is None:
            raise _no_incident(request, tenant)
        return json_answer(body)

    def doing(self, verb: Verb) -> Ask:
        """Return what answers an act of this verb."""

        async def done(request: Request, tenant: str) -> Response:
            body = await _json_body(request, ACT_BYTES_MAX, "an act is")
            doing = read_doing(verb, body, login_of(request.headers))
            handled = await do(self._answers, tenant, request.path_params["incident_id"], doing)
            if handled is None:
                raise _no_incident(request, tenant)
            return json_answer(handled)

        return done

    async def silences(self, request: Request, tenant: str) -> Response:
        with_expired = switch_of("expired", request.query_params.get("expired", ""))
        return json_answer(silences(self._answers, tenant, with_expired=with_expired))

    async def add_silence(self, request: Request, tenant: str) -> Response:
        body = await _json_body(request, SILENCE_BYTES_MAX, "a silence is")
        asked = self._may_ask(request, read_asked(body, login_of(request.headers)))
        return json_answer(await add(self._answers, tenant, asked))

    async def preview_silence(self, request: Request, tenant: str) -> Response:
        body = await _json_body(request, SILENCE_BYTES_MAX, "a silence is")
        asked = self._may_ask(request, read_asked(body, "", is_preview=True))
        return json_answer(await preview(self._answers, tenant, asked))

    async def expire_silence(self, request: Request, tenant: str) -> Response:
        silence_id = request.path_params["silence_id"]
        by = person(request.query_params.get("by", ""))
        is_operator = self._is_operator(request)
        ended = await expire(self._answers, tenant, silence_id, by=by, is_operator=is_operator)
        if ended is None:
            where = "`flowgauge silences list` shows them"
            raise _Refused(404, f"no silence of tenant {tenant} has the id {silence_id[:ID_CHARS_SHOWN]!r}: {where}")
        return json_answer(ended)

    def _may_ask(self, request: Request, asked: SilenceAsked) -> SilenceAsked:
        if asked.everyone and not self._is_operator(request):
            raise _Refused(403, "everyone: only the operator hides what is of all tenants: leave it out")
        return asked

    def _is_operator(self, request: Request) -> bool:
        asking = self._answers.tenant_of(request)
        return asking is not None and self._answers.is_operator(asking)

    async def actions(self, request: Request, tenant: str) -> Response:  # noqa: ARG002  # the tenant says it all
        return json_answer(actions_told(self._answers, tenant))

    def switching(self, *, are_stopped: bool) -> Ask:
        """Return what answers a stop of actions, or its end."""

        async def switched(request: Request, tenant: str) -> Response:
            asked = read_switch(await _json_body(request, ACT_BYTES_MAX, "a switch is"), login_of(request.headers))
            if asked.everyone and not self._is_operator(request):
                raise _Refused(403, "everyone: only the operator stops the actions of all tenants: leave it out")
            return json_answer(await switch_actions(self._answers, tenant, asked, are_stopped=are_stopped))

        return switched

    async def deliveries(self, request: Request, tenant: str) -> Response:
        asked = request.query_params
        found = await self._answers.deliveries(
            tenant,
            since=asked.get("since", ""),
            limit=asked.get("limit", ""),
            channel=lane_of(asked.get("channel", "")),
            outcome=outcome_of(asked.get("outcome", "")),
        )
        return json_answer({"columns": COLUMNS, "rows": [delivery_json(each) for each in found]})

    async def delivery(self, request: Request, tenant: str) -> Response:
        found = await self._answers.whole_delivery(tenant, request.path_params["delivery_id"])
        if found is None:
            raise _no_delivery(request, tenant)
        return json_answer(whole_json(*found))

    async def channels(self, request: Request, tenant: str) -> Response:  # noqa: ARG002  # the tenant says it all
        return json_answer(self._trials().told(tenant))

    async def try_channel(self, request: Request, tenant: str) -> Response:
        asked = read_trial(await _json_body(request, TRIAL_BYTES_MAX, "a trial is"))
        trials, name = self._trials(), request.path_params["name"]
        channel = trials.find(tenant, name)
        if channel is None:
            raise _Refused(404, f"no channel of tenant {tenant} is called {name[:ID_CHARS_SHOWN]!r}")
        if channel.tenant == ANY_TENANT and not self._is_operator(request):
            raise _Refused(403, "this channel is of all tenants: only the operator tries it")
        return json_answer(await trials.attempt(tenant, channel, asked))

    def _trials(self) -> ChannelTrials:
        if self._answers.channels is None:
            raise BadInput("channels are not told from here: ask `flowgauge channels` where `flowgauge notify` runs")
        return self._answers.channels

    async def replay_one(self, request: Request, tenant: str) -> Response:
        body = await _json_body(request, REPLAY_BYTES_MAX, "a replay is")
        asked = read_replay(ReplayOne, body, login_of(request.headers))
        told = await replay_one(self._answers, tenant, request.path_params["delivery_id"], asked)
        if told is None:
            raise _no_delivery(request, tenant)
        return json_answer(told)

    async def replay_all(self, request: Request, tenant: str) -> Response:
        body = await _json_body(request, REPLAY_BYTES_MAX, "a replay is")
        asked = read_replay(ReplayAll, body, login_of(request.headers))
        return json_answer(await replay_all(self._answers, tenant, asked))

    async def dlq(self, request: Request, tenant: str) -> Response:
        return json_bytes(await self._answers.dead_letters(tenant, dict(request.query_params)))

    async def letters(self, request: Request, tenant: str) -> Response:
        return json_bytes(await self._answers.whole_letters(tenant, dict(request.query_params)))

    async def health(self, request: Request, tenant: str) -> Response:  # noqa: ARG002  # the token says it all
        body = health_json(self._answers.health_of(tenant), self._answers.now_ms())
        if not self._answers.is_operator(tenant):
            del body["stored"]  # rows of all tenants
        return json_answer(body)

    async def tenant(self, request: Request, tenant: str) -> Response:
        return json_answer(tenant_holding(tenant, await self._answers.holding(tenant, dict(request.query_params))))

    async def tenant_rows(self, request: Request, tenant: str) -> Response:
        page = await self._answers.tenant_page(tenant, request.path_params["table"], dict(request.query_params))
        return json_answer(_page_json(page))

    async def history(self, request: Request, tenant: str) -> Response:
        page, clock_ms = await self._answers.history_page(tenant, dict(request.query_params))
        return json_answer({**_page_json(page), "clock": clock_ms})

    async def erasable(self, request: Request, tenant: str) -> Response:
        self._refuse_to_erase(request, tenant)
        return json_answer(tenant_holding(tenant, await self._answers.erasable(tenant)))

    async def erase(self, request: Request, tenant: str) -> Response:
        self._refuse_to_erase(request, tenant)
        return json_answer(tenant_holding(tenant, await self._answers.erase(tenant)))

    def _refuse_to_erase(self, request: Request, tenant: str) -> None:
        """Refuse whoever may not erase, and what does not name its tenant."""
        if not self._is_operator(request):
            raise _Refused(403, "erasing is for the operator: send a token of the tenant that `operator` names")
        if request.query_params.get("tenant", "") != tenant:
            raise BadInput("tenant: name whose rows are to be erased: ?tenant=NAME, and nothing else")

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002  # the same for all
        """Say that the process lives: what restarts it asks this, and a delay is no reason to restart."""
        return PlainTextResponse("ok\n")

    async def running_rules(self, request: Request, tenant: str) -> Response:
        is_whole = "tenant" not in request.query_params and self._answers.is_operator(tenant)
        after = request.query_params.get("after", "")
        return json_bytes(await self._answers.running_rules(tenant, after, is_whole=is_whole))

    async def rules(self, request: Request, tenant: str) -> Response:
        if self._apply_rules is None:
            raise _Refused(403, "this server takes its rules from its own folder (up --rules DIR)")
        if not self._answers.is_operator(tenant):
            raise _Refused(403, "rules may see every tenant: send a token of the tenant that `operator` names")
        applied = await self._apply_rules(_files(await _json_body(request, RULES_BYTES_MAX, "rules are")))
        in_force: RulesInForce = {"version": applied.version, "tenant": tenant, "warnings": applied.warnings}
        return json_answer(in_force)


def _page_json(page: Page) -> dict[str, object]:
    place = None if page.next is None else msgspec.json.encode(page.next).decode()
    return {"rows": [msgspec.Raw(row) for row in page.rows], "next": place}


def _refuse_everyone(tenant: str) -> None:
    if tenant == ANY_TENANT:
        raise BadInput("tenant: only questions (metrics) are of all tenants together: name one")


def _refusal(error: FlowgaugeError) -> Response:
    match error:
        case _Refused():
            return json_answer({"error": str(error)}, error.status)
        case NotDead():
            return json_answer({"error": str(error)}, 409)
        case InvalidRules():
            return json_answer({"error": str(error), "problems": [str(each) for each in error.problems]}, 422)
        case BadInput():
            return json_answer({"error": str(error)}, 400)
        case TooManyQuestions():
            return json_answer({"error": str(error)}, 429, {"retry-after": str(RETRY_AFTER_S)})
        case _:
            return json_answer({"error": str(error)}, 503, {"retry-after": "1"})


async def _json_body(request: Request, bytes_max: int, what: str) -> bytes:
    if content_type_of(request) != "application/json":
        raise _Refused(415, "send application/json")
    body = await body_of(request, bytes_max)
    if body is None:
        raise _Refused(413, f"{what} at most {bytes_max} bytes")
    return body


def _no_incident(request: Request, tenant: str) -> _Refused:
    asked = request.path_params["incident_id"][:ID_CHARS_SHOWN]
    where = "`flowgauge incidents list` shows them, and the first 6 digits of one are enough"
    return _Refused(404, f"no incident of tenant {tenant} has the id {asked!r}: {where}")


def _no_delivery(request: Request, tenant: str) -> _Refused:
    asked = request.path_params["delivery_id"][:ID_CHARS_SHOWN]
    where = "`flowgauge deliveries list` shows them, and the first 6 digits of one are enough"
    return _Refused(404, f"no delivery of tenant {tenant} has the id {asked!r}: {where}. {LAG}")


def _files(body: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(body, type=RuleFiles).files
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f'expected {{"files": {{"NAME.yaml": "text"}}}}: {error}') from None
