"""What machines ask a process: does it live, is it ready, what does it measure, what may be asked of it.

A supervisor restarts what does not live, and a rollout waits for what is not ready; neither sends a token.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from flowgauge.console.metrics import Knows, health_registry
from flowgauge.console.readiness import Readiness
from flowgauge.console.web.guard import Guard, authorization_of
from flowgauge.console.web.intake_operation import intake_operations
from flowgauge.console.web.json_answer import UNAUTHORIZED, json_answer, refused_path, token_needed
from flowgauge.console.web.openapi import DESCRIPTION, Operation, openapi
from flowgauge.producers.tokens import TokenTable
from flowgauge.transport.health import Health
from flowgauge.transport.wall_clock import now_ms

FOR_THE_OPERATOR = "these are of all tenants: send a token of the tenant that `operator` in the settings names\n"


def probe_app(readiness: Readiness, *, only_loopback: bool) -> Starlette:
    """Return the application of a process that answers probes alone. Its measurements tell nothing of a tenant."""

    async def measured(request: Request) -> Response:  # noqa: ARG001  # the same for all
        return _measurements(readiness.health, readiness.knows)

    return Starlette(
        routes=[*probe_routes(readiness), Route("/metrics", measured, methods=["GET"])],
        middleware=[Middleware(Guard, only_loopback=only_loopback)],
    )


def intake_app(
    readiness: Readiness, intake: Sequence[BaseRoute], tokens: TokenTable, *, operator: str, only_loopback: bool
) -> Starlette:
    """Return the application of a process that takes events, and answers probes beside them."""

    def tenant_of(request: Request) -> str | None:
        return tokens.tenant_of(authorization_of(request.headers))

    def is_operator(tenant: str) -> bool:
        return tokens.open or tenant == operator

    app = Starlette(
        routes=[
            *intake,
            description_route(lambda: intake_operations(now_ms())),
            *probe_routes(readiness),
            measurement_route(tenant_of, is_operator, readiness.health, readiness.knows),
        ],
        exception_handlers={HTTPException: refused_path},
        middleware=[Middleware(Guard, only_loopback=only_loopback)],
    )
    app.router.redirect_slashes = False  # as web_app has it
    return app


def probe_routes(readiness: Readiness) -> Sequence[BaseRoute]:
    """Return the routes of both probes."""

    async def livez(request: Request) -> Response:  # noqa: ARG001  # the same for all
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:  # noqa: ARG001  # the same for all
        body = readiness.body()
        return json_answer(body, 200 if body["ready"] else 503)

    return [Route("/livez", livez, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]


def measurement_route(
    tenant_of: Callable[[Request], str | None], is_operator: Callable[[str], bool], health: Health, knows: Knows
) -> BaseRoute:
    """Return the route of the measurements where tenants come in too: it is for the operator."""

    async def measured(request: Request) -> Response:
        tenant = tenant_of(request)
        if tenant is None:
            return PlainTextResponse(f"{token_needed(request.headers)}\n", status_code=401, headers=UNAUTHORIZED)
        if not is_operator(tenant):
            return PlainTextResponse(FOR_THE_OPERATOR, status_code=403)
        return _measurements(health.seen_by(tenant, is_operator=True), knows)

    return Route("/metrics", measured, methods=["GET"])


def description_route(operations: Callable[[], Iterable[Operation]]) -> BaseRoute:
    """Return the route that describes `/v1` of the application it is in. Anybody may ask: it tells no data."""

    @cache  # neither the routes nor the operations change
    def document(app: Starlette) -> dict[str, Any]:
        return openapi(_described(app), operations(), version("flowgauge"))

    async def describe(request: Request) -> Response:
        if request.query_params:
            return json_answer({"error": f"{min(request.query_params)}: unknown parameter; none is known"}, 400)
        return json_answer(document(request.app))

    return Route(DESCRIPTION.path, describe, methods=[DESCRIPTION.method])


def _described(app: Starlette) -> Iterator[tuple[str, str]]:
    """Yield the method and path of each route that the description tells of; OPTIONS is a protocol's, as HEAD is."""
    for route in app.routes:
        if isinstance(route, Route) and route.path.startswith("/v1/"):
            yield from (
                (method, route.path) for method in sorted(route.methods or ()) if method not in {"HEAD", "OPTIONS"}
            )


def _measurements(health: Health, knows: Knows) -> Response:
    text = generate_latest() + generate_latest(health_registry(health, now_ms, knows))
    return Response(text, media_type=CONTENT_TYPE_LATEST)
