"""What agents are given of our topics: records by kind, unreadable ones skipped and counted, names by prefix."""

import logging
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from faust.exceptions import ValueDecodeError
from faust.types import Message

from flowgauge.schemas.event import Event, encode_event
from flowgauge.schemas.settings import parse_settings
from flowgauge.schemas.times import EPOCH
from flowgauge.schemas.transition import Transition, encode_transition
from flowgauge.transport.faust import App, RecordTopic, app_of, deliveries, events, transitions

APPENDED_S = 1_000.0
EVENT = Event(
    id=UUID(int=7), tenant="acme", occurred=EPOCH, event="run.failed", flow="orders", run="r1", resource={"id": "r1"}
)
TRANSITION = Transition(
    transition_id="t",
    incident_id="i",
    seq=0,
    tenant="acme",
    rule="orders failing",
    rule_kind="failure_rate",
    rules_version=1,
    key={"flow": "orders"},
    from_state="inactive",
    to_state="firing",
    at_ms=0,
    opened_at_ms=0,
    reason="failure rate above threshold",
)


@pytest.fixture
def app() -> App:
    settings = parse_settings('[kafka]\nbootstrap = "k-1:9092, k-2:9093"\nprefix = "staging"', "here", {}, {})
    return app_of("views", settings)


def message(value: bytes | None, headers: Sequence[tuple[str, bytes]] = (), key: bytes | None = b"r1") -> Message:
    return Message("staging.events", 3, 42, APPENDED_S, 1, list(headers), key, value, None)


async def given(topic: RecordTopic[Any], arrived: Message) -> tuple[object, object] | None:
    """Return key and value as an agent gets them, None when it does not, as Faust's conductor does it."""
    try:
        event = await cast("Any", topic).decode(arrived, propagate=True)
    except ValueDecodeError as error:
        await topic.on_value_decode_error(error, arrived)
        return None
    return event.key, event.value


async def test_an_agent_is_given_records_of_ours_under_keys_of_text(app: App) -> None:
    assert await given(events(app), message(encode_event(EVENT))) == ("r1", EVENT)
    assert await given(transitions(app), message(encode_transition(TRANSITION), key=None)) == ("", TRANSITION)


async def test_what_steers_flowgauge_is_passed_over_and_is_no_failure(app: App) -> None:
    topic = events(app)

    for kind in (b"1", b"2", b"3"):
        assert await given(topic, message(encode_event(EVENT), [("fg-kind", kind)])) is None

    assert topic.skipped == {}


async def test_what_cannot_be_read_is_counted_by_reason_and_told_once_a_reason(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    topic = events(app)
    nameless = msgspec.json.encode({"id": str(UUID(int=7)), "tenant": "acme"})

    with caplog.at_level(logging.WARNING):
        for arrived in (
            message(b"no"),
            message(b"{"),
            message(nameless),
            message(None),
            message(b"", [("fg-kind", b"9")]),
        ):
            assert await given(topic, arrived) is None

    assert topic.skipped == {"not JSON": 2, "wrong field": 1, "no value": 1, "unknown kind of record": 1}
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "not JSON", "wrong field", "no value", "unknown kind of record",
    ]  # fmt: skip
    assert caplog.records[0].getMessage().endswith("(topic=staging.events partition=3 offset=42)")
    assert "update it to the version that wrote that" in caplog.records[3].getMessage()


async def test_an_event_is_judged_by_the_append_time_it_was_recorded_with(app: App) -> None:
    topic = events(app)
    history = msgspec.structs.replace(EVENT, occurred=EPOCH.replace(year=1973))

    assert await given(topic, message(encode_event(history))) is None
    recorded = [("fg-append", b"%d" % (3 * 365 * 86_400_000))]
    assert await given(topic, message(encode_event(history), recorded)) == ("r1", history)
    assert topic.skipped == {"clock far off": 1}


async def test_what_agents_pass_on_reads_as_it_did(app: App) -> None:
    topic = events(app)

    value, headers = cast("Any", topic).schema.dumps_value(app, EVENT, serializer=None, headers=[("a", b"b")])
    key, _ = cast("Any", topic).schema.dumps_key(app, "orders", serializer=None, headers=None)

    assert await given(topic, message(value, headers, key)) == ("orders", EVENT)


def test_a_derived_topic_counts_with_the_one_it_comes_from(app: App) -> None:
    topic = events(app)

    assert cast("RecordTopic[Event]", topic.clone()).skipped is topic.skipped
    assert events(app).skipped is not topic.skipped


def test_topics_and_groups_have_the_prefix_of_the_settings(app: App) -> None:
    names = [topic.get_topic_name() for topic in (events(app), transitions(app), deliveries(app))]

    assert names == ["staging.events", "staging.transitions", "staging.deliveries"]
    assert app.conf.id == "staging-views"
    assert [str(url) for url in app.conf.broker] == ["aiokafka://k-1:9092", "aiokafka://k-2:9093"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", None),
        ("tls = true", "SSL"),
        ('sasl = "SCRAM-SHA-512"\nusername = "ann"\npassword = { env = "KAFKA_SECRET" }', "SASL_PLAINTEXT"),
        ('tls = true\nsasl = "PLAIN"\nusername = "ann"\npassword = { env = "KAFKA_SECRET" }', "SASL_SSL"),
        ('tls = true\nsasl = "OAUTHBEARER"\ntoken = { env = "KAFKA_SECRET" }', "SASL_SSL"),
    ],
)
def test_tls_and_credentials_are_those_of_the_settings(
    written: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SECRET", "hunter2")
    settings = parse_settings(f'[kafka]\nbootstrap = "k:9093"\n{written}', "here", {}, {})

    credentials: Any = app_of("views", settings).conf.broker_credentials

    assert (credentials.protocol.value if credentials else None) == expected
    if "username" in written:
        assert (credentials.username, credentials.password) == ("ann", "hunter2")
        assert f'"{credentials.mechanism.value}"' in written
    if expected and "SSL" in expected:
        context = credentials.context if expected == "SSL" else credentials.ssl_context
        assert context.check_hostname


def test_options_of_fausts_win_and_its_port_and_leader_topic_are_off(app: App) -> None:
    settings = parse_settings('[kafka]\nbootstrap = "k:9092"\nreplication = 2', "here", {}, {})
    other = app_of("views", settings, web_enabled=True, id="mine")

    assert (app.boot_strategy.enable_web, app.conf.topic_disable_leader) == (False, True)
    assert (other.boot_strategy.enable_web, other.conf.id, other.conf.topic_replication_factor) == (True, "mine", 2)
