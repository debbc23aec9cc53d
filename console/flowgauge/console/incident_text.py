"""One incident as text: what `flowgauge incidents show` prints for people. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from flowgauge.console.text_table import text_table


def incident_text(body: Mapping[str, Any]) -> str:
    """Return the text of an incident as GET /v1/incidents/ID answers it."""
    parts = [f"{body['summary']}\n{body['state']}, {body['severity']}, opened {body['opened_at']}"]
    parts.append(_section("Why", _pairs(body["why"])))
    parts.append(_section("Timeline", _table(body["transitions"], ("at", "from", "to", "value", "samples", "reason"))))
    runs = cast("list[Mapping[str, Any]]", body["runs"])
    lines = [f"{run['flow']} {run['run']} {run['state']}\n    " + "\n    ".join(run["lines"]) for run in runs]
    parts.append(_section("Failing runs", "\n".join(line.rstrip() for line in lines) or "none recorded"))
    fields = ("channel", "to", "outcome", "attempts", "status", "reason", "delivery_id")
    parts.append(_section("Deliveries", _table(body["deliveries"], fields)))
    return "\n\n".join(parts)


def _section(title: str, text: str) -> str:
    return f"{title}\n" + "\n".join(f"  {line}" for line in text.splitlines())


def _pairs(pairs: Mapping[str, object]) -> str:
    width = max(map(len, pairs))
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs.items())


def _table(rows: Iterable[Mapping[str, object]], fields: tuple[str, ...]) -> str:
    return text_table(fields, [[row.get(field) for field in fields] for row in rows])
