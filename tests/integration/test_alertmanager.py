"""Alertmanager on loopback: one alert for an incident, whatever becomes of its rule and of the clocks."""

import base64
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.alert_services import (
    NOW_MS,
    Request,
    Service,
    channel_of,
    kind_of,
    means_for,
    running,
    unavailable,
)
from tests.integration.notifying import notifying, tell, transition
from tests.unit.test_message import FIRING, NO_DATA, RESOLVED

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.times import parse_time_ms
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.kinds.alertmanager import alerts_url
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = pytest.mark.integration

MINUTE_MS = 60_000


@dataclass
class Alerts:
    """What Alertmanager holds: alerts by their labels, merged as its `Alert.Merge` does."""

    held: dict[frozenset[tuple[str, str]], tuple[int, int]] = field(
        default_factory=dict[frozenset[tuple[str, str]], tuple[int, int]]
    )
    now_ms: int = NOW_MS

    def take(self, request: Request) -> tuple[int, object]:
        if request.path != "/am/api/v2/alerts":
            return 404, {"code": 404, "message": "path was not found"}
        for alert in request.body:
            if faults := list(self._faults(alert)):
                return 400, f"invalid: {faults}"
        for alert in request.body:
            self._merge(alert)
        return 200, None

    def firing(self, after_ms: int = 0) -> list[dict[str, str]]:
        """Return the labels of what fires `after_ms` from now."""
        return [dict(labels) for labels, (_, ends_ms) in self.held.items() if ends_ms > self.now_ms + after_ms]

    def _merge(self, alert: dict[str, Any]) -> None:
        labels = frozenset(alert["labels"].items())
        starts_ms, ends_ms = parse_time_ms(alert["startsAt"]), parse_time_ms(alert["endsAt"])
        if before := self.held.get(labels):
            starts_ms = min(starts_ms, before[0])
            is_resolved, was_resolved = ends_ms <= self.now_ms, before[1] <= self.now_ms
            if was_resolved or not is_resolved:
                ends_ms = max(ends_ms, before[1])
        self.held[labels] = starts_ms, ends_ms

    def _faults(self, alert: dict[str, Any]) -> list[str]:
        claims = {
            "labels": bool(alert["labels"]) and all(alert["labels"].values()),
            "names": all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in alert["labels"]),
            "times": parse_time_ms(alert["endsAt"]) >= parse_time_ms(alert["startsAt"]),
            "generatorURL": alert.get("generatorURL", "https://").startswith("https://"),
        }
        return [name for name, holds in claims.items() if not holds]


@dataclass
class AlertmanagerServer:
    alerts: Alerts = field(default_factory=Alerts)
    service: Service = field(init=False)
    reference: str = ""  # as the outbox would keep it

    def __post_init__(self) -> None:
        self.service = Service(self.alerts.take)

    async def told(self, *transitions: Transition, known_by: str = "", **secrets: str) -> list[Verdict]:
        verdicts: list[Verdict] = []
        async with running(self.service) as port:
            kind = kind_of(f"alertmanager: {{url: 'http://127.0.0.1:{port}/am/'{known_by}}}")
            means = means_for(kind, **secrets)
            for each in transitions:
                notice = Notice("d", (each,), reference=self.reference, public_url="https://gauge.example")
                verdicts.append(await kind.tell(notice, means))
                self.reference = verdicts[-1].reference or self.reference
        return verdicts


async def test_an_incident_is_one_alert_that_fires_until_its_end_is_told() -> None:
    server = AlertmanagerServer()

    await server.told(FIRING, NO_DATA)
    assert server.alerts.firing(after_ms=300 * 24 * 60 * MINUTE_MS) == [
        {
            "alertname": "orders-sync failing",
            "incident_id": FIRING.incident_id,
            "severity": "critical",
            "tenant": "acme",
            "flow": "orders-eu",
            "resource_env": "prod",
            "team": "data",
        }
    ]
    await server.told(RESOLVED)

    assert server.alerts.firing() == []
    assert len(server.alerts.held) == 1


async def test_a_rule_that_is_edited_meanwhile_does_not_make_another_alert() -> None:
    server = AlertmanagerServer()

    await server.told(FIRING, msgspec.structs.replace(RESOLVED, severity="info", labels={"team": "ops"}))

    assert server.alerts.firing() == []
    assert len(server.alerts.held) == 1


@pytest.mark.parametrize("behind_ms", [-MINUTE_MS, 0, 59_000])
async def test_an_end_is_one_by_a_clock_that_is_behind(behind_ms: int) -> None:
    server = AlertmanagerServer(Alerts(now_ms=NOW_MS - behind_ms))
    at_once = msgspec.structs.replace(FIRING, opened_at_ms=NOW_MS, at_ms=NOW_MS)

    await server.told(at_once)
    assert len(server.alerts.firing()) == 1
    await server.told(msgspec.structs.replace(RESOLVED, opened_at_ms=NOW_MS, at_ms=NOW_MS + 1_000))

    assert server.alerts.firing() == []


async def test_an_end_that_comes_late_does_not_end_the_next_incident() -> None:
    server = AlertmanagerServer()
    following = msgspec.structs.replace(FIRING, incident_id="b" * 32)

    await server.told(FIRING)
    late = server.reference
    server.reference = ""
    await server.told(following)
    server.reference = late
    await server.told(RESOLVED)

    assert [labels["incident_id"] for labels in server.alerts.firing()] == ["b" * 32]


async def test_an_incident_of_one_moment_is_told_and_ends_by_itself_however_late_it_is_told() -> None:
    server = AlertmanagerServer()

    await server.told(msgspec.structs.replace(FIRING, rule_kind="event", window_ms=0))

    assert NOW_MS - FIRING.at_ms > 24 * 60 * MINUTE_MS
    assert len(server.alerts.firing(after_ms=4 * MINUTE_MS)) == 1
    assert server.alerts.firing(after_ms=5 * MINUTE_MS) == []


async def test_an_alert_says_what_happened_and_where_to_look() -> None:
    server = AlertmanagerServer()

    await server.told(msgspec.structs.replace(FIRING, runbook="https://wiki.example/orders"))

    ((alert,),) = [each.body for each in server.service.requests]
    notes = alert["annotations"]
    assert notes["summary"] == "orders-eu in prod: 60% of 5 runs failed"
    assert "Threshold: 20%" in notes["description"].splitlines()
    assert (notes["state"], notes["runbook_url"]) == ("firing", "https://wiki.example/orders")
    assert alert["generatorURL"] == f"https://gauge.example/incidents/{FIRING.incident_id}"


async def test_a_user_or_a_token_is_told_to_the_proxy_before_it() -> None:
    server = AlertmanagerServer()

    await server.told(FIRING)
    await server.told(FIRING, known_by=", user: me, password: {env: P}", password="pä:ss")
    await server.told(FIRING, known_by=", token: {env: T}", token="t0ken")

    pair = base64.b64encode("me:pä:ss".encode()).decode()
    assert [each.headers.get("authorization") for each in server.service.requests] == [
        None,
        f"Basic {pair}",
        "Bearer t0ken",
    ]


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (400, "dead", "refused: answered 400"),
        (401, "failed", "answered 4xx"),
        (429, "failed", "answered 429"),
        (500, "failed", "answered 5xx"),
    ],
)
async def test_only_what_alertmanager_refuses_is_given_up(status: int, outcome: str, reason: str) -> None:
    server = AlertmanagerServer()
    server.service.bad_days = [unavailable(status)]

    told, again = await server.told(FIRING, FIRING)

    assert replace(told, elapsed_ms=0) == Verdict(outcome, reason, status)  # type: ignore[arg-type]  # a parameter's
    assert again.outcome == "delivered"
    assert len(server.alerts.held) == 1


@pytest.mark.parametrize(
    ("base", "where"),
    [
        ("http://am:9093", "http://am:9093/api/v2/alerts"),
        ("http://am:9093/", "http://am:9093/api/v2/alerts"),
        ("https://am.example/team/am/?org=1#x", "https://am.example/team/am/api/v2/alerts?org=1"),
    ],
)
def test_alerts_are_posted_below_the_url(base: str, where: str) -> None:
    assert alerts_url(base) == where


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("user: me", "expected user and password together, or neither"),
        ("password: {env: P}", "expected user and password together, or neither"),
        ("user: me, password: {env: P}, token: {env: T}", "expected a user with a password, or a token, not both"),
        ("user: 'a:b', password: {env: P}", "alertmanager.user"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(written: str, told: str) -> None:
    with pytest.raises(InvalidRules, match=re.escape(told)):
        kind_of(f"alertmanager: {{url: 'http://h', {written}}}")


async def test_the_labels_of_the_opening_are_kept_by_the_outbox(tmp_path: Path) -> None:
    alerts = Alerts()
    firing, resolved = transition("firing", 0), transition("resolved", 1)
    async with running(Service(alerts.take)) as port:
        channel = channel_of(f"alertmanager: {{url: 'http://127.0.0.1:{port}/am'}}", name="ops")
        async with notifying(tmp_path, channel) as at_work:
            await tell(at_work.log, msgspec.structs.replace(firing, severity="critical", labels={"team": "data"}))
            await at_work.has_recorded("delivered")
            assert [(labels["severity"], labels["team"]) for labels in alerts.firing()] == [("critical", "data")]
            await tell(at_work.log, msgspec.structs.replace(resolved, severity="info", labels={}))
            await at_work.has_recorded("delivered", 2)

    assert alerts.firing() == []
    assert len(alerts.held) == 1
