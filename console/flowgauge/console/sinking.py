"""The limits of the sink as the settings want them. Pure."""

from dataclasses import replace

from flowgauge.schemas.settings import QuarantineSettings
from flowgauge.sinks.clickhouse.batch import LIMITS, Limits
from flowgauge.sinks.clickhouse.quarantine import Quarantine


def sink_limits(named: QuarantineSettings) -> Limits:
    """Return the limits of a sink that stops a partition as `named`."""
    quarantine = Quarantine(
        run_max=named.run_max,
        percent_max=named.percent_max,
        letters_min=named.letters_min,
        span=named.span,
        go_on=frozenset(named.go_on),
    )
    return replace(LIMITS, quarantine=quarantine)
