"""`flowgauge gateway`: takes events over HTTP. Run as many as senders need, behind any load balancer."""

from flowgauge.console.access import limits_of, tokens_of
from flowgauge.console.bounded_http import bounds_of
from flowgauge.console.hook_file import WatchedHooks
from flowgauge.console.listening import serve
from flowgauge.console.role import Opened, Role, Work
from flowgauge.console.token_files import watch_tokens
from flowgauge.console.web.probes import intake_app
from flowgauge.producers.gateway import gateway_routes
from flowgauge.schemas.settings import is_loopback


async def _open(opened: Opened) -> Work:
    settings = opened.settings
    tokens = tokens_of(settings)
    hooks = WatchedHooks(settings, opened.health)
    hooks.open()
    app = intake_app(
        opened.readiness,
        gateway_routes(opened.log, tokens=tokens, health=opened.health, limits=limits_of(settings), hook_of=hooks.of),
        tokens,
        operator=settings.operator,
        only_loopback=is_loopback(settings.host),
    )
    bounds = bounds_of(settings.limits)
    return Work(
        web=("web", lambda stop: serve(app, opened.listening, stop, bounds)),
        parts=[
            ("hooks", hooks.watch),
            ("tokens", lambda stop: watch_tokens(settings, tokens, opened.health, stop)),
        ],
    )


GATEWAY = Role("gateway", 4280, _open, believes=True)
