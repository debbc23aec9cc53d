"""Why an open incident is still open, as far as what is stored can tell. Pure.

Detection stores changes of state, not every reading, and neither a rule's `match` nor all its bounds. So this says only
what is sure: the last change, what a count must come down to, and how many runs ended since.
"""

from flowgauge.console.web.words import count, kind_of, percent
from flowgauge.schemas.times import format_duration, rfc3339
from flowgauge.sinks.clickhouse.incidents import Ended, Incident
from flowgauge.sinks.webhooks.delivery_watch import RULE_KIND


def standing(incident: Incident, ended: Ended | None) -> str:
    """Return one or two sentences about an open incident; "" where there is nothing to add to its numbers."""
    if not incident.is_open:
        return ""
    since = f"{rfc3339(incident.at_ms)[:19].replace('T', ' ')} UTC"
    match incident.state:
        case "no_data":
            return f"No data since {since}: {incident.latest_reason}. It stays open until data come again."
        case "recovering":
            return f"Recovering since {since}: {incident.latest_reason}. It resolves when readings show that it lasts."
        case _:
            return _firing(incident, ended) or f"No reading since {since} has cleared it."


def _firing(incident: Incident, ended: Ended | None) -> str:
    if incident.rule_kind == RULE_KIND:
        return "It resolves when the channel takes a message again."
    if said := kind_of(incident.rule_kind).stays_open(incident):
        return said
    return _ended_since(incident, ended, format_duration(incident.window_ms)) if ended else ""


def _ended_since(incident: Incident, ended: Ended, last: str) -> str:
    flow = incident.key.get("flow", "")
    of = f" of {flow}" if flow else ""
    if not ended.any_kind:
        return f"Held: no run{of} has ended in the last {last}, so there is no reading that could resolve it."
    if set(incident.key) != {"flow"} or not ended.finished:
        return ""  # the key is narrower than what was counted
    rate = percent(ended.failed / ended.finished)
    return f"{count(ended.finished, 'run')}{of} ended in the last {last}, {ended.failed:,} failed ({rate})."
