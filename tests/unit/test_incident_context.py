"""The context of an incident as text: bounded, one line each, and fit for any channel."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas.incident_context import (
    CONTEXT_LINES_MAX,
    TEXT_CHARS_MAX,
    Changed,
    ErrorGroup,
    ErrorLine,
    IncidentContext,
    RelatedIncident,
    RunLink,
    context_lines,
    run_link,
    shortened,
)

AT = "2026-11-23T09:41:06.123Z"
CONTEXT = IncidentContext(
    incident_id="i1",
    errors=[
        ErrorGroup(
            error="connection to <n> refused", count=12, runs=4, first_seen=AT, last_seen=AT, example_run="run-1"
        ),
        ErrorGroup(error="disk full", count=1, runs=1, first_seen=AT, last_seen=AT, example_run="run-1"),
    ],
    lines=[ErrorLine(time=AT, level="ERROR", run="run-1", flow="orders", text="connection to 7 refused")],
    changes=[
        Changed(at=AT, what="deployment version", name="1.4.2", flow="orders", run="run-1"),
        Changed(at=AT, what="deploy event", name="deploy.finished prod", flow="", detail="by ci"),
    ],
    related=[
        RelatedIncident(
            incident_id="i2",
            rule="orders late",
            severity="warning",
            state="firing",
            opened_at=AT,
            key={"flow": "orders"},
            shares=["orders"],
            link="https://gauge.example/incidents/i2",
        )
    ],
    runs=[RunLink(run="run-1", flow="orders", state="failed", link="https://prefect.example/run-1")],
    untold=["changes"],
)


def test_a_context_is_told_part_by_part() -> None:
    assert context_lines(CONTEXT) == [
        "Errors:",
        "  12 × connection to <n> refused in 4 runs, 2026-11-23 09:41:06 UTC to 2026-11-23 09:41:06 UTC",
        "  1 × disk full in 1 run, 2026-11-23 09:41:06 UTC",
        "Last error lines:",
        "  2026-11-23 09:41:06 UTC ERROR orders: connection to 7 refused",
        "Changed before:",
        "  2026-11-23 09:41:06 UTC deployment version 1.4.2 of orders",
        "  2026-11-23 09:41:06 UTC deploy event deploy.finished prod: by ci",
        "Also open:",
        "  orders late (orders), firing since 2026-11-23 09:41:06 UTC https://gauge.example/incidents/i2",
        "Runs:",
        "  run-1 orders failed https://prefect.example/run-1",
        "Not known now:",
        "  changes",
    ]


def test_nothing_known_says_nothing() -> None:
    assert context_lines(IncidentContext(incident_id="i1")) == []


@given(st.text(), st.integers(0, 60))
def test_lines_are_bounded_printable_and_one_each_whatever_others_wrote(text: str, many: int) -> None:
    hostile = msgspec.structs.replace
    context = IncidentContext(
        incident_id=text,
        errors=[hostile(CONTEXT.errors[0], error=text)] * many,
        lines=[hostile(CONTEXT.lines[0], level=text, run=text, flow=text, text=text)] * many,
        changes=[hostile(CONTEXT.changes[0], what=text, name=text, flow=text, detail=text)] * many,
        related=[hostile(CONTEXT.related[0], rule=text, state=text, shares=[text] * 9)] * many,
        runs=[hostile(CONTEXT.runs[0], run=text, flow=text, state=text)] * many,
        untold=[text] * many,
    )

    lines = context_lines(context)

    assert len(lines) <= CONTEXT_LINES_MAX
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= TEXT_CHARS_MAX + len("  9999 × … in 9999 runs, ") + 2 * len(AT) + 40 for line in lines)


def test_a_short_text_is_one_line_of_words() -> None:
    assert shortened(" a\n\tb\x1b[2J  c ") == "a b [2J c"
    assert shortened("x" * 301) == "x" * 299 + "…"


def test_a_run_is_linked_by_its_name_in_the_orchestrators_address() -> None:
    assert run_link("a/b", "f g", "https://p.example/{flow}/runs/{run}") == "https://p.example/f%20g/runs/a%2Fb"
    assert run_link("r", "f", "") == ""
    assert run_link("", "f", "https://p.example/{run}") == ""
    assert run_link("r" * 3_000, "f", "https://p.example/{run}") == ""
    assert run_link("{flow}", "f", "https://p.example/{run}") == "https://p.example/%7Bflow%7D"
