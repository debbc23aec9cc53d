"""flowgauge's topics as typed streams for users' own Faust agents: `pip install flowgauge[faust]`.

At least once: a restart may repeat records, never skip one. No part of flowgauge runs on it (docs/faust.md says why).
"""

from flowgauge.transport.faust.app import App, app_of
from flowgauge.transport.faust.record_topic import RecordTopic
from flowgauge.transport.faust.streams import deliveries, events, transitions

__all__ = ["App", "RecordTopic", "app_of", "deliveries", "events", "transitions"]
