"""One incident as text: what `flowgauge incidents show` prints for people. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from flowgauge.console.text_table import printable, text_table
from flowgauge.console.web.words import HAPPENED, kind_of, shown_of, span
from flowgauge.processors.kinds.kind import Shows
from flowgauge.schemas.incident_context import in_short

WHY = ("rule", "kind", "key", "value", "threshold", "samples", "late_samples", "window", "reason", "runbook")
STEPS = ("at", "from", "to", "value", "samples", "reason")
RUNS = ("run", "flow", "state", "started", "attempts", "message")
EVENTS = ("occurred", "event_id", "run", "flow")
EXAMPLES: Mapping[Shows, Sequence[str]] = {
    "runs": RUNS,
    "starts": ("run", "flow", "state", "scheduled_for", "called_late", "started", "late_by"),
    "events": EVENTS,
    "last event": EVENTS,
}
AROUND = (
    ("What changed before", "changes", ("at", "what", "name", "flow", "run", "detail")),
    ("Errors", "errors", ("count", "runs", "last_seen", "error")),
    ("Also open then", "related", ("opened_at", "state", "severity", "rule", "key", "incident_id")),
)
DELIVERIES = ("channel", "to", "outcome", "attempts", "status", "reason", "delivery_id")


def incident_text(body: Mapping[str, Any]) -> str:
    """Return the text of an incident as GET /v1/incidents/ID answers it; all times are UTC."""
    examples = kind_of(str(body["kind"])).examples_as
    runs = cast("list[Mapping[str, Any]]", body["runs"])
    if examples.shows == "starts":
        runs = [_with_lateness(run) for run in runs]
    why = text_table(("", ""), [(name, body[name]) for name in WHY if body[name] not in ({}, None)]).split("\n", 2)[2]
    moment = "at" if body["state"] == HAPPENED else "opened"
    head = [
        str(body["summary"]),
        f"{body['state']}, {body['severity']}, {moment} {body['opened_at']}",
        str(body["standing"]),
        *([str(body["flapping"]["says"])] if body["flapping"] else []),
        str(body["handling"]["says"]),
    ]
    few = shown_of(len(runs), body["runs_counted"])
    title = examples.title + (f" ({few})" if few else "")
    parts = [
        "\n".join(printable(line) for line in head if line),
        _section("Why", why),
        _section("Timeline", _table(body["transitions"], STEPS)),
        *([_section("What people did", _acts(body["acts"]))] if body["acts"] else []),
        _section(title, _table(runs, EXAMPLES[examples.shows])),
        *(
            _section(f"Last error lines of {printable(str(run['run']))}", _lines(run["error_lines"]))
            for run in {str(run["run"]): run for run in reversed(runs)}.values()  # several events may be of one run
            if run["error_lines"]
        ),
        *_around(body["context"]),
        _section("Deliveries", _table(body["deliveries"], DELIVERIES)),
    ]
    return "\n\n".join(parts)


def _around(context: Mapping[str, Any]) -> Iterator[str]:
    """Yield a section for each part of what stands around the incident that something is known of."""
    for title, name, fields in AROUND:
        if rows := context[name]:
            yield _section(title, _table(rows, fields))
    if links := [f"{run['run']} {run['link']}" for run in context["runs"] if run["link"]]:
        yield _section("In the orchestrator", "\n".join(map(printable, links)))
    if context["untold"]:
        yield f"ClickHouse could not tell in time: {printable(', '.join(context['untold']))}"


def _with_lateness(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the run with when it was called late, where it says no scheduled time, and by how much it was late."""
    late_by = "never started"
    if run["late_by_seconds"] is not None:
        late_by = span(round(run["late_by_seconds"] * 1000)) + ("" if run["started"] else ", not started")
    return {**run, "called_late": None if run["scheduled_for"] else run["occurred"], "late_by": late_by}


def _section(title: str, text: str) -> str:
    return f"{title}\n" + "\n".join(f"  {line}" for line in text.splitlines())


def _lines(lines: Iterable[Mapping[str, object]]) -> str:
    told = (f"{line['time']} {line['level']} {in_short(str(line['message']))}" for line in reversed([*lines]))
    return "\n".join(printable(line) for line in told)


def _acts(acts: Iterable[Mapping[str, object]]) -> str:
    return "\n".join(printable(f"{act['at']} {act['by']} {act['says']}") for act in acts)


def _table(rows: Sequence[Mapping[str, object]], fields: Iterable[str]) -> str:
    """Return the rows without the columns that nothing is known of."""
    known = [field for field in fields if not rows or any(row.get(field) is not None for row in rows)]
    return text_table(known, [[row.get(field) for field in known] for row in rows])
