"""The two pages: overview and incident. Each asks, makes a view of the answers, and renders it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.heat_map import STEP_WORDS
from flowgauge.console.web.json_answer import UNAUTHORIZED
from flowgauge.console.web.overview import Problem
from flowgauge.console.web.turns import RETRY_AFTER_S, TooManyQuestions
from flowgauge.console.web.words import moment
from flowgauge.schemas.errors import BadInput, Transient

HERE = Path(__file__).parent

Page = Callable[[Request, str], Awaitable[Response]]


def page_routes(answers: Answers) -> list[BaseRoute]:
    """Return the routes that people look at."""
    pages = _Pages(answers)
    return [
        Route("/", pages.for_tenant(pages.overview), methods=["GET"]),
        Route("/incidents/{incident_id}", pages.for_tenant(pages.incident), methods=["GET"]),
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
                return self._render(request, "problem.html", Problem("Not yours to see", f"{error}."), status=400)
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
            text = "No incident of this tenant has this id. It may be a second old: reload the page."
            return self._render(request, "problem.html", Problem("No such incident", text), tenant=tenant, status=404)
        return self._render(request, "incident.html", view, tenant=tenant, page="incident")

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
        asked = request.query_params.get("tenant")
        html = self._templates.get_template(template).render(
            view=view,
            page=page,
            tenant=tenant,
            query=f"?tenant={tenant}" if asked and tenant != "–" else "",
            now=moment(now_ms, now_ms),
            heat_words=STEP_WORDS,
        )
        return HTMLResponse(html, status_code=status, headers=headers)
