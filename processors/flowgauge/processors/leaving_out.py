"""Telling of samples that no window took: in the health of the process, and once an hour a rule in its log."""

from collections.abc import Mapping

import structlog

from flowgauge.schemas.left_out import Cause, Count, Why
from flowgauge.transport.health import Health
from flowgauge.transport.wall_clock import now_ms

REMEDIES: Mapping[Why, str] = {
    "late": "look at the rule's allowed_lateness and at the senders' clocks",
    "skewed": "look at the senders' clocks: they run ahead",
    "missing_key": "send the fields of for_each, or write missing_key: share",
    "keys_refused": "group by fields of fewer values",
}

_log = structlog.get_logger("flowgauge.detection")


def count_left_out(health: Health, step: Mapping[Cause, Count]) -> None:
    """Count what a step left out and tell each cause once an hour. Free where nothing was."""
    if not step:
        return
    for cause, samples in health.left_out.add(step, now_ms()):
        _log.warning(
            "samples raise no alert",
            why=cause.why,
            tenant=cause.tenant,
            rule=cause.rule,
            samples=samples,
            remedy=REMEDIES[cause.why],
        )
