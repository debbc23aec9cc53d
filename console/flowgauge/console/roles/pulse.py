"""`flowgauge pulse`: the clock of idle partitions. One is enough; a second one outlasts the first."""

from flowgauge.console.role import Opened, Role, Work
from flowgauge.producers.pulse import run_pulse


async def _open(opened: Opened) -> Work:
    return Work(parts=[("pulse", lambda stop: run_pulse(opened.log, stop=stop, health=opened.health))])


PULSE = Role("pulse", 4291, _open)
