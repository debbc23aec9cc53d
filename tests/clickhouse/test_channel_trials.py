"""Channels over HTTP: whose there are, what is said of them, and a test that really goes out."""

import json
from collections.abc import AsyncGenerator

import httpx2
import pytest
from tests.integration.notifying import BROKEN, NOW_MS, SECRET, Receiver, receiving

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.console.web.channel_trials import ChannelTrials
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.signing import verify
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.attempt import Sender, Wording
from flowgauge.sinks.webhooks.channels import ChannelBook, parse_channels
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.transport.health import Health

TOKENS = TokenTable({"of-one": "one", "of-other": "other", "of-platform": "platform"})
CHANNELS = """
channels:
  - name: ours
    tenant: one
    fallback: ops
    webhook: {{url: "http://127.0.0.1:{port}/T0KEN", secret: {{env: NOTIFIER_TEST_SECRET}}}}
  - name: ops
    webhook: {{url: "http://127.0.0.1:{port}/T0KEN", secret: {{env: NOTIFIER_TEST_SECRET}}}}
"""


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
async def http(embedded: ClickHouseStore, receiver: Receiver) -> AsyncGenerator[httpx2.AsyncClient]:
    book = parse_channels("c.yaml", CHANNELS.format(port=receiver.port))
    health = Health()
    health.of("one").problems = {"channel ours": "a message waits to be tried again: answered 5xx"}
    egress = Egress(EgressPolicy(("127.0.0.1",)))
    sender = Sender(egress, {"NOTIFIER_TEST_SECRET": SECRET}, lambda: NOW_MS, Wording())
    trials = ChannelTrials(lambda: book, sender, health)
    answers = Answers(embedded, health, TOKENS, operator="platform", channels=trials, now_ms=lambda: NOW_MS)
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def token(of: str) -> dict[str, str]:
    return {"authorization": f"Bearer of-{of}"}


async def test_a_tenant_sees_its_channels_and_everybodys_without_address_or_secret(http: httpx2.AsyncClient) -> None:
    ours = await http.get("/v1/channels", headers=token("one"))
    other = await http.get("/v1/channels", headers=token("other"))

    assert [(each["name"], each["tenant"], each["kind"]) for each in ours.json()["rows"]] == [
        ("ops", "*", "webhook"),
        ("ours", "one", "webhook"),
    ]
    assert ours.json()["rows"][1]["trouble"] == "a message waits to be tried again: answered 5xx"
    assert ours.json()["rows"][1]["fallback"] == "ops"
    assert [each["name"] for each in other.json()["rows"]] == ["ops"]
    assert "T0KEN" not in ours.text
    assert "127.0.0.1" not in ours.text


async def test_a_test_goes_out_signed_with_its_end(http: httpx2.AsyncClient, receiver: Receiver) -> None:
    answer = await http.post("/v1/channels/ours/test", json={}, headers=token("one"))

    assert answer.status_code == 200
    assert answer.json()["is_delivered"] is True
    assert [(each["state"], each["status"]) for each in answer.json()["steps"]] == [("firing", 204), ("resolved", 204)]
    assert [each.type for each in receiver.messages] == ["incident.firing", "incident.resolved"]
    for each in receiver.messages:
        verify([SECRET], each.headers, each.body, now_s=NOW_MS // 1000)
    assert json.loads(receiver.messages[0].body)["data"]["rule"] == "flowgauge: test of channel ours"


async def test_what_the_receiver_says_no_to_is_told_and_its_end_is_not_sent(
    http: httpx2.AsyncClient, receiver: Receiver
) -> None:
    receiver.replies.append(BROKEN)

    answer = (await http.post("/v1/channels/ours/test", json={"severity": "critical"}, headers=token("one"))).json()

    assert answer["is_delivered"] is False
    assert [(each["outcome"], each["reason"]) for each in answer["steps"]] == [("failed", "answered 5xx")]
    assert json.loads(receiver.messages[0].body)["data"]["severity"] == "critical"


@pytest.mark.parametrize(
    ("who", "channel", "body", "status"),
    [
        ("other", "ours", {}, 404),
        ("one", "nobodys", {}, 404),
        ("one", "ops", {}, 403),
        ("platform", "ops", {}, 200),
        ("one", "ours", {"severity": "dire"}, 400),
        ("one", "ours", {"colour": "red"}, 400),
        ("one", "ours", {"resolve": "yes"}, 400),
    ],
)
async def test_who_may_try_what(
    http: httpx2.AsyncClient,
    receiver: Receiver,
    *,
    who: str,
    channel: str,
    body: dict[str, object],
    status: int,
) -> None:
    answer = await http.post(f"/v1/channels/{channel}/test", json=body, headers=token(who))

    assert answer.status_code == status
    assert bool(receiver.messages) is (status == 200)


async def test_where_channels_are_not_told_from_it_says_where_to_ask(embedded: ClickHouseStore) -> None:
    answers = Answers(embedded, Health(), TOKENS, now_ms=lambda: NOW_MS)
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=token("one")) as client:
        answer = await client.get("/v1/channels")

    assert answer.status_code == 400
    assert "flowgauge channels" in answer.json()["error"]


def test_an_empty_book_lists_nothing() -> None:
    sender = Sender(Egress(EgressPolicy()), {}, lambda: NOW_MS, Wording())

    assert ChannelTrials(ChannelBook, sender, Health()).told("one")["rows"] == []
