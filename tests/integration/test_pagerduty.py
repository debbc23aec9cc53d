"""PagerDuty on loopback: what it takes, what becomes of alerts there, and its bad days."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from tests.integration.alert_services import Request, Service, kind_of, means_for, running, unavailable
from tests.integration.egress_servers import saying
from tests.unit.test_message import FIRING, NO_DATA, RESOLVED

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.egress import EgressFailed, Failure
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = pytest.mark.integration

KEY = "0123456789abcdefABCDEF0123456789"


@dataclass
class Alerts:
    """PagerDuty's own rules for events, as its documentation has them."""

    known: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])  # open, by dedup key
    dropped: int = 0

    def take(self, request: Request) -> tuple[int, object]:
        event = request.body
        if faults := list(self._faults(request, event)):
            return 400, {"status": "invalid event", "message": "Event object is invalid", "errors": faults}
        key = event["dedup_key"]
        if event["event_action"] == "trigger":
            self.known[key] = event
        elif key in self.known:
            del self.known[key]
        else:
            self.dropped += 1
        return 202, {"status": "success", "message": "Event processed", "dedup_key": key}

    def _faults(self, request: Request, event: dict[str, Any]) -> list[str]:
        payload = event.get("payload", {})
        claims = {
            "path": request.path == "/v2/enqueue",
            "routing_key": re.fullmatch("[0-9a-zA-Z]{32}", event.get("routing_key", "")) is not None,
            "event_action": event.get("event_action") in {"trigger", "acknowledge", "resolve"},
            "dedup_key": 0 < len(event.get("dedup_key", "")) <= 255,
            "summary": 0 < len(payload.get("summary", "")) <= 1024,
            "source": bool(payload.get("source")),
            "severity": payload.get("severity") in {"critical", "error", "warning", "info"},
            "custom_details": isinstance(payload.get("custom_details"), dict),
            "links": all(link.get("href") for link in event.get("links", [])),
            "size": int(request.headers["content-length"]) <= 512 * 1024,
        }
        return [name for name, holds in claims.items() if not holds]


@dataclass
class PagerDutyServer:
    alerts: Alerts = field(default_factory=Alerts)
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(self.alerts.take)

    async def told(self, *transitions: Transition, severity: str = "{}", key: str = KEY) -> list[Verdict]:
        async with running(self.service) as port:
            url = f"http://127.0.0.1:{port}/v2/enqueue"
            kind = kind_of(f"pagerduty: {{routing_key: {{env: KEY}}, severity: {severity}, api_url: '{url}'}}")
            means = means_for(kind, routing_key=key)
            return [
                await kind.tell(Notice(f"d{each.seq}", (each,), public_url="https://gauge.example"), means)
                for each in transitions
            ]


async def test_an_incident_is_one_alert_that_its_end_resolves() -> None:
    server = PagerDutyServer()

    verdicts = await server.told(FIRING)
    assert [each.outcome for each in verdicts] == ["delivered"]
    assert list(server.alerts.known) == [FIRING.incident_id]

    await server.told(NO_DATA, RESOLVED)
    assert (server.alerts.known, server.alerts.dropped) == ({}, 0)
    assert [each.body["event_action"] for each in server.service.requests] == ["trigger", "trigger", "resolve"]


async def test_a_resolve_that_comes_again_does_not_close_the_next_incident() -> None:
    server = PagerDutyServer()
    following = msgspec.structs.replace(FIRING, incident_id="b" * 32, transition_id="c" * 32)

    await server.told(FIRING, RESOLVED, following, RESOLVED)

    assert (list(server.alerts.known), server.alerts.dropped) == (["b" * 32], 1)


async def test_an_alert_says_what_happened_with_its_numbers_and_where_to_look() -> None:
    server = PagerDutyServer()

    await server.told(
        msgspec.structs.replace(FIRING, runbook="https://wiki.example/orders"), severity="{critical: error}"
    )

    event = server.service.requests[0].body
    payload, details = event["payload"], event["payload"]["custom_details"]
    link = f"https://gauge.example/incidents/{FIRING.incident_id}"
    assert payload["summary"] == "orders-eu in prod: 60% of 5 runs failed"
    assert (payload["source"], payload["severity"], payload["class"], payload["group"]) == (
        "orders-eu, prod",
        "error",
        "orders-sync failing",
        "acme",
    )
    assert payload["timestamp"] == "2026-11-23T09:51:06.000Z"
    assert (details["value"], details["threshold"], details["samples"], details["reason"]) == (
        0.6,
        0.2,
        5,
        "value above threshold",
    )
    assert [each["run"] for each in details["examples"]] == ["run-1", "run-2"]
    assert event["client_url"] == link
    assert event["links"] == [
        {"href": link, "text": "Incident"},
        {"href": "https://wiki.example/orders", "text": "Runbook"},
    ]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict("dead", "refused: answered 400", 400)),
        (429, Verdict("failed", "answered 429", 429, retry_after_ms=30_000)),
        (500, Verdict("failed", "answered 5xx", 500, retry_after_ms=30_000)),
        (503, Verdict("failed", "answered 5xx", 503, retry_after_ms=30_000)),
    ],
)
async def test_only_an_event_that_pagerduty_refuses_is_given_up(status: int, verdict: Verdict) -> None:
    server = PagerDutyServer()
    server.service.bad_days = [unavailable(status, b"Retry-After: 30")]

    (told, again) = await server.told(FIRING, FIRING)

    assert Verdict(told.outcome, told.reason, told.status, retry_after_ms=told.retry_after_ms) == verdict
    assert again.outcome == "delivered"
    assert server.service.requests[0].body == server.service.requests[1].body


async def test_an_answer_that_breaks_off_is_a_failure_and_the_alert_is_still_one() -> None:
    server = PagerDutyServer()
    server.service.bad_days = [saying(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")]

    with pytest.raises(EgressFailed) as caught:
        await server.told(FIRING)
    assert caught.value.reason is Failure.PROTOCOL
    assert caught.value.retryable
    await server.told(FIRING)

    assert list(server.alerts.known) == [FIRING.incident_id]


async def test_a_key_that_pagerduty_does_not_take_is_given_up() -> None:
    (verdict,) = await PagerDutyServer().told(FIRING, key="u+notAKey")

    assert (verdict.outcome, verdict.reason) == ("dead", "refused: answered 400")


def test_a_key_that_is_none_is_told_without_it() -> None:
    kind = kind_of("pagerduty: {routing_key: {env: KEY}}")

    assert kind.secret_fault("routing_key", KEY) is None
    fault = kind.secret_fault("routing_key", "u+S3CRET")
    assert fault is not None
    assert "32 letters and digits" in fault[0]
    assert "S3CRET" not in " ".join(fault)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("routing_key: {env: KEY}, severity: {critical: high}", "severity.critical: expected 'critical', 'error'"),
        ("routing_key: {env: KEY}, severity: {page: critical}", "severity.page: expected 'info', 'warning'"),
        ("routing_key: {env: KEY}, api_url: 'ftp://x'", "api_url: expected https://HOST/PATH"),
        ("routing_key: 0123456789abcdef", "routing_key: expected where the secret stands"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(written: str, told: str) -> None:
    with pytest.raises(InvalidRules, match=re.escape(told)):
        kind_of(f"pagerduty: {{{written}}}")
