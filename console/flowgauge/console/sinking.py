"""What the sink is to keep to, as the settings want it. Pure."""

from dataclasses import replace

from flowgauge.schemas.setting_parts import ROWS_DAYS, QuarantineSettings
from flowgauge.schemas.settings import Settings
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


def days_kept(settings: Settings) -> dict[str, int]:
    """Return the tenants whose rows are kept for fewer days than everybody's, each with its days."""
    days = {name: tenant.retention_days for name, tenant in settings.tenants.items()}
    return {name: kept for name, kept in days.items() if kept < ROWS_DAYS}
