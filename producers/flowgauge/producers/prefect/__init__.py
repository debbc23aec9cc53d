"""Prefect connector: Prefect's events and logs as flowgauge events.

`mapping`, `states`, `flow_cache` and `capture` are pure; `convert` reads files, `tee` publishes,
`broker` is the module a Prefect server names in PREFECT_SERVER_EVENTS_MESSAGING_BROKER. `broker` is not
imported here: it needs Prefect, which only a Prefect server has.
"""

from flowgauge.producers.prefect.capture import Counts, Problem
from flowgauge.producers.prefect.convert import convert_file
from flowgauge.producers.prefect.flow_cache import FlowCache, RunSeen
from flowgauge.producers.prefect.mapping import Unmappable, map_event, map_log

__all__ = ["Counts", "FlowCache", "Problem", "RunSeen", "Unmappable", "convert_file", "map_event", "map_log"]
