"""`flowgauge gateway`: takes events over HTTP. Run as many as senders need, behind any load balancer."""

from flowgauge.console.access import tokens_of
from flowgauge.console.hook_file import WatchedHooks
from flowgauge.console.listening import serve
from flowgauge.console.role import Opened, Role, Work
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
        gateway_routes(opened.log, tokens=tokens, health=opened.health, hook_of=hooks.of),
        tokens,
        operator=settings.operator,
        only_loopback=is_loopback(settings.host),
    )
    return Work(web=("web", lambda stop: serve(app, opened.listening, stop)), parts=[("hooks", hooks.watch)])


GATEWAY = Role("gateway", 4280, _open, believes=True)
