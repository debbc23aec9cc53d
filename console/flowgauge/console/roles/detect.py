"""`flowgauge detect`: samples in, transitions out. Run two or more, at most one a partition of the samples."""

from flowgauge.console.groups import DETECTOR
from flowgauge.console.role import Opened, Role, Work
from flowgauge.processors.detector_app import run_detector


async def _open(opened: Opened) -> Work:
    return Work(parts=[("detector", lambda stop: run_detector(opened.log, stop=stop, health=opened.health))])


DETECT = Role("detect", 4293, _open, groups=[DETECTOR])
