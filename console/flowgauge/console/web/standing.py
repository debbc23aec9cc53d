"""Why an open incident is still open, as far as what is stored can tell. Pure.

Detection stores changes of state, not every reading. So this says what holds an incident from its last change and from
the runs that ended since: a rate without runs, or with fewer than the rule's `min_samples`, changes nothing.
"""

from flowgauge.console.web.words import count, percent
from flowgauge.schemas.times import format_duration, rfc3339
from flowgauge.sinks.clickhouse.incidents import Ended, Incident


def standing(incident: Incident, ended: Ended | None) -> str:
    """Return one or two sentences about an open incident; "" where there is nothing to add to its numbers."""
    if not incident.is_open:
        return ""
    since = f"{rfc3339(incident.at_ms)[:19].replace('T', ' ')} UTC"
    match incident.state:
        case "no_data":
            return f"No data since {since}: {incident.latest_reason}. It stays open until data come again."
        case "recovering":
            return f"Recovering since {since}: {incident.latest_reason}. It resolves when that lasts."
        case _:
            return _held(incident, ended) if ended else ""


def _held(incident: Incident, ended: Ended) -> str:
    last = format_duration(incident.window_ms)
    flow = incident.key.get("flow", "")
    of = f" of {flow}" if flow else ""
    if not ended.any_kind:
        return f"Held: no run{of} has ended in the last {last}, so there is no reading that could resolve it."
    if set(incident.key) != {"flow"} or not ended.finished:
        return ""  # the key is narrower than what was counted
    rate = ended.failed / ended.finished
    said = f"{count(ended.finished, 'run')}{of} ended in the last {last}, {ended.failed:,} failed ({percent(rate)})"
    is_above = incident.threshold is not None and rate > incident.threshold
    return f"{said}." if is_above else f"{said}. A rate of fewer runs than min_samples is held."
