"""`flowgauge match`: events in, samples out. Run as many as keep up, at most one a partition of the events."""

from flowgauge.console.groups import MATCHER
from flowgauge.console.role import Opened, Role, Work
from flowgauge.processors.matcher_app import run_matcher


async def _open(opened: Opened) -> Work:
    return Work(parts=[("matcher", lambda stop: run_matcher(opened.log, stop=stop, health=opened.health))])


MATCH = Role("match", 4292, _open, groups=[MATCHER])
