"""One incident as text: what `flowgauge incidents show` prints for people. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from flowgauge.console.text_table import text_table
from flowgauge.console.web.words import in_short

WHY = ("rule", "kind", "key", "value", "threshold", "samples", "late_samples", "window", "reason")
STEPS = ("at", "from", "to", "value", "samples", "reason")
RUNS = ("run", "flow", "state", "started", "attempts", "message")
DELIVERIES = ("channel", "to", "outcome", "attempts", "status", "reason", "delivery_id")


def incident_text(body: Mapping[str, Any]) -> str:
    """Return the text of an incident as GET /v1/incidents/ID answers it."""
    runs = cast("list[Mapping[str, Any]]", body["runs"])
    parts = [
        f"{body['summary']}\n{body['state']}, {body['severity']}, opened {body['opened_at']}",
        _section(
            "Why", text_table(("", ""), [(name, body[name]) for name in WHY]).partition("\n")[2].partition("\n")[2]
        ),
        _section("Timeline", _table(body["transitions"], STEPS)),
        _section("Failing runs", _table(runs, RUNS)),
        *(
            _section(f"Last error lines of {run['run']}", _lines(run["error_lines"]))
            for run in runs
            if run["error_lines"]
        ),
        _section("Deliveries", _table(body["deliveries"], DELIVERIES)),
    ]
    return "\n\n".join(parts)


def _section(title: str, text: str) -> str:
    return f"{title}\n" + "\n".join(f"  {line}" for line in text.splitlines())


def _lines(lines: Iterable[Mapping[str, object]]) -> str:
    return "\n".join(f"{line['time']} {line['level']} {in_short(str(line['message']))}" for line in reversed([*lines]))


def _table(rows: Iterable[Mapping[str, object]], fields: tuple[str, ...]) -> str:
    return text_table(fields, [[row.get(field) for field in fields] for row in rows])
