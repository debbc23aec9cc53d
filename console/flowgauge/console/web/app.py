"""The one web application: gateway, API, pages and measurements behind one guard."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from flowgauge.console.metrics import ALL, Knows
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.api import ApplyRules, api_routes
from flowgauge.console.web.api_operations import api_operations
from flowgauge.console.web.guard import Guard
from flowgauge.console.web.intake_operation import intake_operations
from flowgauge.console.web.json_answer import refused_path
from flowgauge.console.web.pages import page_routes
from flowgauge.console.web.probes import description_route, measurement_route


def web_app(
    answers: Answers,
    gateway: Sequence[BaseRoute],
    apply_rules: ApplyRules | None,
    *,
    only_loopback: bool,
    knows: Knows = ALL,
) -> Starlette:
    """Return the application. `only_loopback` answers requests to this machine's own names alone."""
    app = Starlette(
        routes=[
            *gateway,
            *api_routes(answers, apply_rules),
            description_route(lambda: [*intake_operations(answers.now_ms()), *api_operations()]),
            measurement_route(answers.tenant_of, answers.is_operator, answers.health, knows),
            *page_routes(answers),
        ],
        exception_handlers={HTTPException: refused_path},
        middleware=[Middleware(Guard, only_loopback=only_loopback)],
    )
    app.router.redirect_slashes = False  # who posts follows no redirect: a slash too many is a path that there is not
    return app
