"""Why an open incident is still open, as far as what is stored can tell. Pure.

Detection stores changes of state, not every reading, and neither a rule's `match` nor all its bounds. So this says only
what is sure: the last change, what a count must come down to, and how many runs ended since.
"""

from flowgauge.console.web.examples import ABSENCE, DURATION, EVENT, LATE, MISSED, ROW, SEQUENCE
from flowgauge.console.web.words import count, percent
from flowgauge.schemas.times import format_duration, rfc3339
from flowgauge.sinks.clickhouse.incidents import Ended, Incident

COUNTED = {LATE: "late run", EVENT: "event"}  # kinds that know each count: none is held

CLEARED = {
    ROW: "A run that ends without failing clears it.",
    ABSENCE: "The next event that matches clears it.",
    DURATION: "It stays open while a run takes longer than that.",
    MISSED: "A run for this slot or a later one clears it.",
}
CLEARED_OF_A_RUN = {
    ABSENCE: "The next event that matches, or the end of its run, clears it.",
    DURATION: "The end of the run clears it.",
}
MISSING_STEPS = "The steps that have not come yet clear it."


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
    last = format_duration(incident.window_ms)
    if incident.rule_kind in COUNTED and incident.threshold is not None:
        least = count(round(incident.threshold), COUNTED[incident.rule_kind])
        return f"It stays open while the last {last} hold {least} or more."
    if cleared := _cleared(incident):
        return cleared
    if incident.rule_kind == SEQUENCE:
        is_whole = incident.value == incident.threshold
        return f"It stays open for {last} after the last whole sequence." if is_whole else MISSING_STEPS
    return _ended_since(incident, ended, last) if ended else ""


def _ended_since(incident: Incident, ended: Ended, last: str) -> str:
    flow = incident.key.get("flow", "")
    of = f" of {flow}" if flow else ""
    if not ended.any_kind:
        return f"Held: no run{of} has ended in the last {last}, so there is no reading that could resolve it."
    if set(incident.key) != {"flow"} or not ended.finished:
        return ""  # the key is narrower than what was counted
    rate = percent(ended.failed / ended.finished)
    return f"{count(ended.finished, 'run')}{of} ended in the last {last}, {ended.failed:,} failed ({rate})."


def _cleared(incident: Incident) -> str:
    """Say what one event would clear, of a kind where one is enough."""
    kind = incident.rule_kind
    if kind == DURATION and incident.window_ms:
        return ""  # a quantile: many runs move it
    of_all = CLEARED.get(kind, "")
    return CLEARED_OF_A_RUN.get(kind, of_all) if "run" in incident.key else of_all
