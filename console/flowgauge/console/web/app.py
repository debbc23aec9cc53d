"""The one web application: gateway, API, pages and measurements behind one guard."""

from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from flowgauge.console.metrics import health_registry
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.api import UNAUTHORIZED, ApplyRules, api_routes, refused_path
from flowgauge.console.web.guard import Guard
from flowgauge.console.web.pages import page_routes

FOR_THE_OPERATOR = "these are of all tenants: send a token of the tenant that `operator` in the settings names\n"


def web_app(
    answers: Answers, gateway: Sequence[BaseRoute], apply_rules: ApplyRules | None, *, only_loopback: bool
) -> Starlette:
    """Return the application. `only_loopback` answers requests to this machine's own names alone."""

    async def measurements(request: Request) -> Response:
        tenant = answers.tenant_of(request)
        if tenant is None:
            return PlainTextResponse("a token is needed\n", status_code=401, headers=UNAUTHORIZED)
        if not answers.is_operator(tenant):
            return PlainTextResponse(FOR_THE_OPERATOR, status_code=403)
        text = generate_latest() + generate_latest(health_registry(answers.health_of(tenant), answers.now_ms))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            *gateway,
            *api_routes(answers, apply_rules),
            Route("/metrics", measurements, methods=["GET"]),
            *page_routes(answers),
        ],
        exception_handlers={HTTPException: refused_path},
        middleware=[Middleware(Guard, only_loopback=only_loopback)],
    )
