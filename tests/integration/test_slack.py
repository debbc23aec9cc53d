"""The Slack channel against a server that answers as Slack does, on good days and on bad ones."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from tests.integration.http_service import HANGS, HTML_PAGE, http
from tests.integration.notifying import Running, notifying, tell, transition
from tests.integration.slack_server import CHANNEL, TOKEN, SlackServer, slack
from tests.notices import FIRING, RESOLVED, notice, storm

from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.channels import Channel
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice
from flowgauge.sinks.webhooks.kinds.slack import (
    FORBIDDEN,
    GONE,
    NO_ANSWER,
    REFUSALS,
    TEMPORARY,
    UNKNOWN_ERROR,
    Slack,
)
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = pytest.mark.integration

NOW_MS = 1_795_427_470_000
FIRST = f"{CHANNEL} 1795427470.000000"


async def told_to(server: SlackServer, kind: Slack, notice: Notice, token: str = TOKEN) -> Verdict:
    """Make one attempt; how long it took is no part of what is looked at."""
    egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{server.port}",)))
    secrets = dict.fromkeys(kind.references.values(), token)
    verdict = await kind.tell(notice, Means(egress, lambda: NOW_MS, secrets))
    return replace(verdict, elapsed_ms=0)


def hook(server: SlackServer) -> Slack:
    return Slack.model_validate({"url": f"{server.root}/hook"})


def bot(server: SlackServer, channel: str = CHANNEL) -> Slack:
    token = {"env": "TOKEN"}
    return Slack.model_validate({"token": token, "channel": channel, "api_url": f"{server.root}/api/"})


async def test_an_incoming_webhook_takes_an_incident_and_a_storm_in_one_message_each() -> None:
    async with slack() as server:
        one = await told_to(server, hook(server), notice(FIRING))
        many = await told_to(server, hook(server), notice(*storm(2_000)))

    assert (one, many) == (Verdict("delivered", "", 200), Verdict("delivered", "", 200))
    assert [each["text"] for each in server.messages.values()] == [
        "🔴 Firing: orders-eu in prod: 60% of 5 runs failed",
        "🔴 2,000 incidents: 1,800 firing, 200 resolved",
    ]
    assert [each["unfurl_links"] for each in server.messages.values()] == [False, False]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (http(200, {"ok": True}), Verdict("delivered", "", 200)),
        (http(200, HTML_PAGE), Verdict("failed", NO_ANSWER, 200)),
        (http(200, {"ok": False, "error": "invalid_blocks"}), Verdict("failed", NO_ANSWER, 200)),
        (http(200, b"\xff\xfe\x00"), Verdict("failed", NO_ANSWER, 200)),
        (http(302, "", location="https://evil.example/"), Verdict("failed", "answered 3xx", 302)),
        (http(400, "invalid_payload"), Verdict("dead", "refused: answered 400", 400)),
        (http(400, "msg_blocks_too_long"), Verdict("dead", "refused: answered 400", 400)),
        (http(403, "invalid_token"), Verdict("dead", GONE["invalid_token"], 403, is_gone=True)),
        (http(403, "action_prohibited"), Verdict("dead", FORBIDDEN["action_prohibited"], 403)),
        (http(403, HTML_PAGE), Verdict("failed", "answered 4xx", 403)),
        (http(404, "no_service"), Verdict("dead", GONE["no_service"], 404, is_gone=True)),
        (http(404, "channel_not_found\n"), Verdict("dead", GONE["channel_not_found"], 404, is_gone=True)),
        (http(404, HTML_PAGE), Verdict("failed", "answered 4xx", 404)),
        (http(410, "channel_is_archived"), Verdict("dead", GONE["channel_is_archived"], 410, is_gone=True)),
        (http(410, HTML_PAGE), Verdict("dead", "endpoint gone: it answered 410", 410, is_gone=True)),
        (http(429, "rate_limited", retry_after="7"), Verdict("failed", "answered 429", 429, retry_after_ms=7_000)),
        (http(500, "rollup_error"), Verdict("failed", "answered 5xx", 500)),
        (http(503, HTML_PAGE), Verdict("failed", "answered 5xx", 503)),
    ],
)
async def test_an_incoming_webhooks_answers_mean_what_slack_says(reply: bytes, verdict: Verdict) -> None:
    async with slack(reply) as server:
        assert await told_to(server, hook(server), notice(FIRING)) == verdict


async def test_a_bot_posts_the_opening_changes_it_in_place_and_tells_its_thread() -> None:
    async with slack() as server:
        opened = await told_to(server, bot(server, "#alerts"), notice(FIRING))
        ended = await told_to(server, bot(server), notice(RESOLVED, reference=opened.reference))

    assert (opened.reference, ended.reference) == (FIRST, FIRST)
    assert server.methods == ["chat.postMessage", "chat.update", "chat.postMessage"]
    message, reply = server.messages.values()
    assert message["text"] == "✅ Resolved: orders-eu in prod: 0% of 5 runs failed"
    assert (reply["channel"], reply["thread_ts"]) == tuple(FIRST.split(" "))
    assert reply["text"] == "✅ Resolved: orders-eu in prod: 0% of 5 runs failed"


async def test_what_still_fires_or_fires_again_is_told_to_the_whole_channel_and_what_else_to_the_thread() -> None:
    silent = structs.replace(FIRING, seq=1, to_state="no_data")
    async with slack() as server:
        await told_to(server, bot(server), notice(FIRING))
        for transition in (FIRING, silent, RESOLVED):
            await told_to(server, bot(server), notice(transition, reference=FIRST))

    _, *replies = server.messages.values()
    assert [each.get("reply_broadcast", False) for each in replies] == [True, False, False]


@pytest.mark.parametrize("error", ["message_not_found", "cant_update_message", "edit_window_closed", "is_archived"])
async def test_what_cannot_be_changed_any_more_is_posted_anew(error: str) -> None:
    async with slack(http(200, {"ok": False, "error": error})) as server:
        verdict = await told_to(server, bot(server), notice(RESOLVED, reference="C0OLD 1.2"))

    assert verdict == Verdict("delivered", "", 200, reference=FIRST)
    assert server.methods == ["chat.update", "chat.postMessage"]
    assert server.requests[0].arguments["channel"] == "C0OLD"
    assert server.requests[1].arguments["channel"] == CHANNEL


async def test_a_storm_and_what_is_sent_again_change_no_message() -> None:
    async with slack() as server:
        many = await told_to(server, bot(server), replace(notice(*storm(50)), reference=FIRST))
        again = await told_to(server, bot(server), replace(notice(FIRING), reference=FIRST, is_replay=True))

    assert server.methods == ["chat.postMessage", "chat.postMessage"]
    assert (many.outcome, many.reference) == ("delivered", "")
    assert again.reference == f"{CHANNEL} 1795427470.000001"


async def test_a_reference_of_another_kind_of_channel_is_none() -> None:
    async with slack() as server:
        await told_to(server, bot(server), notice(FIRING, reference='C1 1.1", "x": "'))

    assert server.methods == ["chat.postMessage"]


async def test_an_answer_that_repeats_more_than_is_read_is_still_success() -> None:
    long = replace(notice(FIRING), details=tuple("é" * 200 for _ in range(20)))
    async with slack() as server:
        verdict = await told_to(server, bot(server), long)

    assert verdict == Verdict("delivered", "", 200, reference=FIRST)
    assert len(server.requests[0].body) * 3 > 16_384  # \u00e9 is six characters of what comes back


async def test_a_thread_that_takes_no_reply_is_no_failure_and_one_that_waits_is_told_again() -> None:
    async with slack(is_locked=True) as server:
        await told_to(server, bot(server), notice(FIRING))
        locked = await told_to(server, bot(server), notice(RESOLVED, reference=FIRST))
    async with slack() as server:
        await told_to(server, bot(server), notice(FIRING))
        server.replies += [http(200, {"ok": True, "channel": CHANNEL, "ts": "1.1"}), http(429, "", retry_after="3")]
        busy = await told_to(server, bot(server), notice(RESOLVED, reference=FIRST))

    assert locked == Verdict("delivered", "", 200, reference=FIRST)
    assert busy == Verdict("failed", "answered 429", 429, retry_after_ms=3_000)


@pytest.mark.parametrize(("error", "reason"), REFUSALS.items())
async def test_what_a_bot_may_not_do_is_given_up_with_the_remedy(error: str, reason: str) -> None:
    async with slack(error=error) as server:
        assert await told_to(server, bot(server), notice(FIRING)) == Verdict("dead", reason, 200)


@pytest.mark.parametrize("error", sorted(TEMPORARY))
async def test_what_passes_by_itself_is_tried_again(error: str) -> None:
    async with slack(error=error) as server:
        verdict = await told_to(server, bot(server), notice(FIRING))

    assert verdict == Verdict("failed", f"Slack answered {error}", 200)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (http(200, {"ok": False, "error": "xoxb-secret <b>"}), Verdict("failed", UNKNOWN_ERROR, 200)),
        (http(200, {"ok": True}), Verdict("delivered", "", 200)),
        (http(200, {"ok": True, "channel": "x y", "ts": "\n"}), Verdict("delivered", "", 200)),
        (http(200, {"ok": "true"}), Verdict("failed", NO_ANSWER, 200)),
        (http(200, HTML_PAGE), Verdict("failed", NO_ANSWER, 200)),
        (http(200, b'{"ok": true, "channel'), Verdict("failed", NO_ANSWER, 200)),
        (http(200, b""), Verdict("failed", NO_ANSWER, 200)),
        (
            http(200, {"ok": False, "error": "ratelimited"}, retry_after="30"),
            Verdict("failed", "Slack answered ratelimited", 200, retry_after_ms=30_000),
        ),
        (
            http(429, {"ok": False, "error": "ratelimited"}, retry_after="30"),
            Verdict("failed", "answered 429", 429, retry_after_ms=30_000),
        ),
        (http(503, HTML_PAGE), Verdict("failed", "answered 5xx", 503)),
    ],
)
async def test_an_answer_of_the_api_means_what_it_says_and_garbage_is_no_success(
    reply: bytes, verdict: Verdict
) -> None:
    async with slack(reply) as server:
        assert await told_to(server, bot(server), notice(FIRING)) == verdict


async def test_a_token_that_is_renewed_is_taken_at_the_next_attempt() -> None:
    async with slack() as server:
        old = await told_to(server, bot(server), notice(FIRING), token="xoxb-old")
        new = await told_to(server, bot(server), notice(FIRING))

    assert old == Verdict("dead", REFUSALS["invalid_auth"], 200)
    assert new.outcome == "delivered"


async def has_told(running: Running, count: int) -> None:
    """Let time pass for what waits for others that may share its message, until so many were told."""

    def is_told() -> bool:
        running.clock.now_ms += 1_000
        return sum(each.outcome == "delivered" for each in running.deliveries) >= count

    await running.until(is_told)


async def test_the_notifier_changes_a_message_in_place_after_a_restart_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    async with slack() as server:
        channel = Channel.model_validate({"name": "ops", "slack": bot(server)})
        async with notifying(tmp_path, channel) as running:
            await tell(running.log, transition("firing", 0))
            await has_told(running, 1)
        async with notifying(tmp_path, channel) as running:
            await tell(running.log, transition("resolved", 1))
            await has_told(running, 2)

    assert server.methods == ["chat.postMessage", "chat.update", "chat.postMessage"]
    message, reply = server.messages.values()
    assert (message["text"], reply["text"]) == ("✅ Resolved: orders: 60%", "✅ Resolved: orders: 60%")


async def test_a_slack_that_hangs_is_left_from_outside() -> None:
    async with slack(HANGS) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await told_to(server, bot(server), notice(FIRING))


def test_neither_a_webhook_nor_where_a_token_stands_is_shown() -> None:
    webhook = Slack.model_validate({"url": "https://hooks.slack.example/T0KEN"})

    assert "T0KEN" not in repr(webhook)
    assert webhook.endpoint != Slack.model_validate({"url": "https://hooks.slack.example/OTHER"}).endpoint
