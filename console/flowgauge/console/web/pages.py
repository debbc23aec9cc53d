"""The pages: overview, incident, run, silences and deliveries. Each asks, makes a view of the answers, and renders it.

Forms of an incident's page are read as the API reads its bodies, and lead back to the page, which shows what they did.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from flowgauge.console.web.acting import do
from flowgauge.console.web.acts import ACT_BYTES_MAX, BODIES, Verb, person, read_doing
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.deliveries import NotDead, ReplayAll, ReplayOne, ReplayTold, lane_of, outcome_of, read_replay
from flowgauge.console.web.delivery_keeping import replay_all, replay_one
from flowgauge.console.web.delivery_views import SHOWN_MAX, deliveries_page
from flowgauge.console.web.guard import SAFE_METHODS, body_of, login_of
from flowgauge.console.web.heat_map import STEP_WORDS
from flowgauge.console.web.json_answer import UNAUTHORIZED
from flowgauge.console.web.overview import Problem
from flowgauge.console.web.silence_keeping import add, expire, preview, silences
from flowgauge.console.web.silence_views import asked_in, silence_page
from flowgauge.console.web.silences import PreviewTold
from flowgauge.console.web.turns import RETRY_AFTER_S, TooManyQuestions
from flowgauge.console.web.words import moment
from flowgauge.producers.gateway.door import content_type_of
from flowgauge.schemas.control import PERSON_CHARS_MAX, TEXT_CHARS_MAX
from flowgauge.schemas.errors import BadInput, Transient

FORM = "application/x-www-form-urlencoded"
FIELDS_MAX = 16  # of a form; the one of silences has ten
HERE = Path(__file__).parent

Page = Callable[[Request, str], Awaitable[Response]]


def page_routes(answers: Answers) -> list[BaseRoute]:
    """Return the routes that people look at."""
    pages = _Pages(answers)
    return [
        Route("/", pages.for_tenant(pages.overview), methods=["GET"]),
        Route("/incidents/{incident_id}", pages.for_tenant(pages.incident), methods=["GET"]),
        Route("/runs/{run:path}", pages.for_tenant(pages.run), methods=["GET"]),
        *(
            Route(f"/incidents/{{incident_id}}/{verb}", pages.for_tenant(pages.doing(verb)), methods=["POST"])
            for verb in BODIES
        ),
        Route("/silences", pages.for_tenant(pages.silences), methods=["GET"]),
        Route("/silences", pages.for_tenant(pages.new_silence), methods=["POST"]),
        Route("/silences/{silence_id}/expire", pages.for_tenant(pages.expire_silence), methods=["POST"]),
        Route("/deliveries", pages.for_tenant(pages.deliveries), methods=["GET"]),
        Route("/deliveries/replay", pages.for_tenant(pages.replay_all), methods=["POST"]),
        Route("/deliveries/{delivery_id}/replay", pages.for_tenant(pages.replay_one), methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]


class _Pages:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def for_tenant(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return `page` for whom the request's token lets in."""

        async def answer(request: Request) -> Response:
            tenant = self._answers.tenant_of(request)
            if tenant is None:
                problem = Problem("A token is needed", "Log in with any name and your tenant's token as the password.")
                return self._render(request, "problem.html", problem, status=401, headers=UNAUTHORIZED)
            try:
                return await page(request, self._answers.shown_to(tenant, request))
            except BadInput as error:
                title = "Not yours to see" if request.method in SAFE_METHODS else "That cannot be done"
                return self._render(request, "problem.html", Problem(title, f"{error}."), status=400)
            except TooManyQuestions as error:
                problem = Problem("Too many questions at a time", f"{error}.")
                headers = {"retry-after": str(RETRY_AFTER_S)}
                return self._render(request, "problem.html", problem, tenant=tenant, status=429, headers=headers)
            except Transient as error:
                problem = Problem("ClickHouse cannot answer now", f"{error}. Detection and alerts go on without it.")
                return self._render(request, "problem.html", problem, tenant=tenant, status=503)

        return answer

    async def overview(self, request: Request, tenant: str) -> Response:
        view = await self._answers.overview(tenant)
        return self._render(request, "overview.html", view, tenant=tenant, page="overview")

    async def incident(self, request: Request, tenant: str) -> Response:
        view = await self._answers.incident_page(tenant, request.path_params["incident_id"])
        if view is None:
            return self._no_incident(request, tenant)
        return self._render(request, "incident.html", view, tenant=tenant, page="incident")

    async def run(self, request: Request, tenant: str) -> Response:
        view = await self._answers.run_page(tenant, request.path_params["run"])
        if view is None:
            problem = Problem("No such run", "Nothing was told of a run of this tenant with this id.")
            return self._render(request, "problem.html", problem, tenant=tenant, status=404)
        return self._render(request, "run.html", view, tenant=tenant, page="run")

    def doing(self, verb: Verb) -> Page:
        """Return what takes a form of this verb."""

        async def done(request: Request, tenant: str) -> Response:
            fields = await _fields(request)
            doing = read_doing(verb, fields, login_of(request.headers))
            handled = await do(self._answers, tenant, request.path_params["incident_id"], doing)
            if handled is None:
                return self._no_incident(request, tenant)
            place = f"/incidents/{handled['incident_id']}{self._query(request, tenant)}#acts"
            return RedirectResponse(place, status_code=303)

        return done

    async def silences(self, request: Request, tenant: str) -> Response:
        return self._silences(request, tenant, dict(request.query_params))

    async def new_silence(self, request: Request, tenant: str) -> Response:
        """Preview or add what the form asks for; what is wrong with it stands above the form, as it was filled in."""
        fields = await _fields(request)
        is_preview = fields.get("do") != "add"
        try:
            asked = asked_in(fields, login_of(request.headers), is_preview=is_preview)
            if is_preview:
                return self._silences(request, tenant, fields, found=await preview(self._answers, tenant, asked))
            await add(self._answers, tenant, asked)
        except BadInput as error:
            return self._silences(request, tenant, fields, problem=f"{error}.")
        return RedirectResponse(f"/silences{self._query(request, tenant)}", status_code=303)

    async def expire_silence(self, request: Request, tenant: str) -> Response:
        by = person((await _fields(request)).get("by", "") or login_of(request.headers))
        is_operator = self._is_operator(request)
        ended = await expire(self._answers, tenant, request.path_params["silence_id"], by=by, is_operator=is_operator)
        if ended is None:
            problem = Problem("No such silence", "No silence of this tenant has this id.")
            return self._render(request, "problem.html", problem, tenant=tenant, status=404)
        return RedirectResponse(f"/silences{self._query(request, tenant)}", status_code=303)

    async def deliveries(self, request: Request, tenant: str) -> Response:
        return await self._deliveries(request, tenant, dict(request.query_params))

    async def replay_one(self, request: Request, tenant: str) -> Response:
        """Have a delivery sent again, and show how those of its channel stand."""
        asked = read_replay(ReplayOne, await _fields(request), login_of(request.headers))
        try:
            told = await replay_one(self._answers, tenant, request.path_params["delivery_id"], asked)
        except NotDead as error:
            return await self._deliveries(request, tenant, {"by": asked.by}, problem=f"{error}.", status=409)
        if told is None:
            problem = Problem("No such delivery", "No delivery of this tenant has this id.")
            return self._render(request, "problem.html", problem, tenant=tenant, status=404)
        fields = {"channel": told["channel"] or "", "by": asked.by}
        return await self._deliveries(request, tenant, fields, told=told)

    async def replay_all(self, request: Request, tenant: str) -> Response:
        """Have all sent again that the form asks for; what is wrong with it stands above, as it was filled in."""
        fields = {name: value.strip() for name, value in (await _fields(request)).items()}
        try:
            asked = read_replay(ReplayAll, fields, login_of(request.headers))
            told = await replay_all(self._answers, tenant, asked)
        except BadInput as error:
            shown = {"by": fields.get("by", "")}
            return await self._deliveries(request, tenant, shown, problem=f"{error}.", status=400)
        return await self._deliveries(request, tenant, fields, told=told)

    async def _deliveries(  # what a page is made of, each with its name
        self,
        request: Request,
        tenant: str,
        fields: Mapping[str, str],
        *,
        problem: str = "",
        told: ReplayTold | None = None,
        status: int = 200,
    ) -> Response:
        found = await self._answers.deliveries(
            tenant,
            since=fields.get("since", ""),
            limit=str(SHOWN_MAX + 1),
            channel=lane_of(fields.get("channel", "")),
            outcome=outcome_of(fields.get("outcome", "")),
            dead_first=True,
        )
        kept = {**fields, "tenant": request.query_params.get("tenant", "")}
        view = deliveries_page(found, kept, self._answers.now_ms(), problem=problem, told=told)
        return self._render(request, "deliveries.html", view, tenant=tenant, page="deliveries", status=status)

    def _silences(
        self,
        request: Request,
        tenant: str,
        fields: Mapping[str, str],
        *,
        problem: str = "",
        found: PreviewTold | None = None,
    ) -> Response:
        told = silences(self._answers, tenant, with_expired=True)["silences"]
        view = silence_page(
            told,
            fields,
            self._answers.now_ms(),
            problem=problem,
            preview=found,
            is_operator=self._is_operator(request),
        )
        status = 400 if problem else 200
        return self._render(request, "silences.html", view, tenant=tenant, page="silences", status=status)

    def _is_operator(self, request: Request) -> bool:
        asking = self._answers.tenant_of(request)
        return asking is not None and self._answers.is_operator(asking)

    def _no_incident(self, request: Request, tenant: str) -> Response:
        text = "No incident of this tenant has this id. It may be a second old: reload the page."
        return self._render(request, "problem.html", Problem("No such incident", text), tenant=tenant, status=404)

    def _query(self, request: Request, tenant: str) -> str:
        """Return what addresses of further pages need to be of the same tenant."""
        asked = request.query_params.get("tenant")
        return f"?{urlencode({'tenant': tenant})}" if asked and tenant != "–" else ""

    def _render(  # what a page is made of, each with its name
        self,
        request: Request,
        template: str,
        view: object,
        *,
        tenant: str = "–",
        page: str = "",
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> Response:
        now_ms = self._answers.now_ms()
        html = self._templates.get_template(template).render(
            view=view,
            page=page,
            tenant=tenant,
            query=self._query(request, tenant),
            login=login_of(request.headers)[:PERSON_CHARS_MAX],
            bounds={"person": PERSON_CHARS_MAX, "text": TEXT_CHARS_MAX},
            now=moment(now_ms, now_ms),
            heat_words=STEP_WORDS,
        )
        return HTMLResponse(html, status_code=status, headers=headers)


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise BadInput where the body is none, too large, or names one twice."""
    if content_type_of(request) != FORM:
        raise BadInput(f"expected a form ({FORM})")
    body = await body_of(request, ACT_BYTES_MAX)
    if body is None:
        raise BadInput(f"an act is at most {ACT_BYTES_MAX} bytes")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise BadInput(f"the form cannot be read: {error}") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadInput("the form names a field twice")
    return {name: value.replace("\r\n", "\n") for name, value in fields.items()}
