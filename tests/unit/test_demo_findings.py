"""What the demo has shown, and when it has shown everything."""

import msgspec

from flowgauge.console.demo.findings import Findings
from flowgauge.sinks.webhooks.message import Incident, Message


def body(incident_id: str, state: str = "firing") -> bytes:
    incident = Incident(
        incident_id=incident_id,
        transition_id="t",
        tenant="default",
        rule="r",
        rule_kind="failure_rate",
        key={"flow": "etl"},
        state=state,
        severity="critical",
        labels={},
        summary="it fails",
        reason="",
        value=None,
        threshold=None,
        samples=0,
        late_samples=0,
        window_ms=0,
        opened_at="2026-11-23T09:00:00.000Z",
        at="2026-11-23T09:00:00.000Z",
        examples=[],
        link=None,
        runbook=None,
    )
    return msgspec.json.encode(Message(type=f"incident.{state}", timestamp="2026-11-23T09:00:00Z", data=incident))


def test_a_first_firing_prints_an_incident_and_a_verified_line() -> None:
    findings = Findings(frozenset({"a"}))

    assert findings.note("m1", body("a"), is_verified=True) == [
        "incident  #1 it fails (history, since 2026-11-23 09:00:00 UTC)",
        "verified  #1 r (etl) is firing: the signature of webhook m1 holds",
    ]


def test_each_verified_line_names_its_incident() -> None:
    findings = Findings(frozenset({"a"}))
    for message_id, incident_id in (("m1", "a"), ("m2", "b")):
        findings.note(message_id, body(incident_id), is_verified=True)

    (again,) = findings.note("m3", body("a", "resolved"), is_verified=True)

    assert again == "verified  #1 r (etl) is resolved: the signature of webhook m3 holds"


def test_the_demo_is_complete_when_all_of_the_history_and_one_live_incident_were_told() -> None:
    findings = Findings(frozenset({"a"}))

    findings.note("m1", body("a"), is_verified=True)
    assert not findings.is_complete
    findings.note("m2", body("b"), is_verified=True)

    assert (findings.is_complete, findings.live, findings.missing) == (True, 1, frozenset())


def test_a_message_that_is_not_verified_tells_of_nothing() -> None:
    findings = Findings(frozenset({"a"}))

    lines = findings.note("m1", body("a"), is_verified=False)

    assert lines == ["refused   webhook m1: its signature does not hold"]
    assert (findings.missing, findings.refused) == (frozenset({"a"}), 1)


def test_a_resolve_alone_does_not_count_as_told() -> None:
    findings = Findings(frozenset({"a"}))

    findings.note("m1", body("a", "resolved"), is_verified=True)

    assert findings.missing == frozenset({"a"})
