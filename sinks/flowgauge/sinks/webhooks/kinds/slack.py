"""Slack, by an incoming webhook or by a bot: a message for each incident, or one for a storm of them.

    url               post                                    each state is a message of its own: it cannot be changed
    token, channel    chat.postMessage → reference            the opening; what was lost on the other side; storms
                      chat.update, in place, by reference     what follows, so that a channel shows an incident once
                      chat.postMessage in its thread          that too: nobody is notified of a change in place;
                                                              in the channel as well what still fires, or again

A storm's message has no reference: what comes of one of its incidents must not take the place of all the others.
A bot's errors come with status 200, in words; what is not known here is tried again, in the end given up.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import msgspec
from pydantic import Field, SecretStr, model_validator

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.sinks.webhooks.egress import Answer
from flowgauge.sinks.webhooks.kinds.authorization import bearer
from flowgauge.sinks.webhooks.kinds.kind import (
    ATTEMPT_MS_MAX,
    ChannelKind,
    Means,
    Notice,
    Secret,
    Url,
    UrlRef,
    endpoint_of,
    judge,
)
from flowgauge.sinks.webhooks.kinds.slack_blocks import slack_message, thread_reply
from flowgauge.sinks.webhooks.kinds.wording import is_group
from flowgauge.sinks.webhooks.schedule import RetryClass, Verdict, parse_retry_after_ms

API_URL = "https://slack.com/api"
CHANNEL_CHARS_MAX = 80  # Slack's own, of a name

NO_ANSWER = "answered 200, but not as Slack does"
UNKNOWN_ERROR = "Slack refused it with an error that is not known here"
GONE: Mapping[str, str] = {  # an incoming webhook's last words: such a URL never comes back
    **dict.fromkeys(
        ("invalid_token", "no_active_hooks", "no_service", "no_service_id", "no_team", "team_disabled"),
        "the webhook was removed: make a new one and change `url`",
    ),
    "channel_is_archived": "its Slack channel is archived: make a webhook for another one and change `url`",
    "channel_not_found": "its Slack channel was deleted: make a webhook for another one and change `url`",
}
FORBIDDEN: Mapping[str, str] = {
    **dict.fromkeys(
        ("action_prohibited", "posting_to_general_channel_denied"),
        "Slack's administrators do not let the webhook post there: ask them to",
    ),
}
_RENEW = "Slack does not take the token: install the app again and renew what `token` leads to"
_RESTRICTED = "Slack's administrators do not let the app post there: ask them to"
_MESSAGE = "Slack does not take the message"
REFUSALS: Mapping[str, str] = {  # by a bot's word: tried again it would be the same
    **dict.fromkeys(("account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"), _RENEW),
    **dict.fromkeys(
        ("missing_scope", "no_permission", "not_allowed_token_type"),
        "the app may not do it: give it the scope chat:write, install it again and renew what `token` leads to",
    ),
    "channel_not_found": "no such Slack channel, or a private one without the app: write its id, and /invite the app",
    "not_in_channel": "the app is not in the Slack channel: /invite it there",
    "is_archived": "the Slack channel is archived: unarchive it, or name another in `channel`",
    **dict.fromkeys(
        (
            *("access_denied", "ekm_access_denied", "enterprise_is_restricted", "team_access_not_granted"),
            *("restricted_action", "restricted_action_non_threadable_channel", "restricted_action_read_only_channel"),
            *("restricted_action_thread_only_channel", "restricted_action_thread_locked"),
        ),
        _RESTRICTED,
    ),
    **dict.fromkeys(
        (
            "cannot_reply_to_message",
            "invalid_arguments",
            "invalid_blocks",
            "invalid_blocks_format",
            "msg_blocks_too_long",
            "msg_too_long",
        ),
        _MESSAGE,
    ),
}
TEMPORARY = frozenset(
    {
        *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "team_added_to_org"),
        *("message_limit_exceeded", "rate_limited", "ratelimited"),
    }
)
# What a change in place may meet: the message, or where it stood, is not there any more.
POSTED_ANEW = frozenset(
    {
        *("cant_update_message", "edit_window_closed", "is_inactive", "message_not_found"),
        *("channel_not_found", "is_archived", "not_in_channel"),
    }
)
_PERMANENT = frozenset({400, 413})  # the message itself is refused
_REFERENCE = re.compile(r"([A-Z0-9]{2,40}) ([0-9]{1,20}\.[0-9]{1,20})")
_NO_UNFURLING = {"unfurl_links": False, "unfurl_media": False}  # previews of the console would be its login page
_TOKEN = re.compile(r"xox[a-z.\-][!-~]+")
_HEADERS = {"content-type": "application/json; charset=utf-8"}
_encode = msgspec.json.Encoder().encode


class Slack(ChannelKind):
    """A Slack channel, by an incoming webhook or by a bot."""

    retry: ClassVar[RetryClass] = "chat"
    takes_groups: ClassVar[bool] = True

    url: Annotated[Url | None, Field(description="An incoming webhook; or token and channel.")] = None
    token: Annotated[Secret | None, Field(description="Where the bot's token stands, never the token itself.")] = None
    channel: Annotated[
        str | None,
        Field(
            min_length=1, max_length=CHANNEL_CHARS_MAX, description="Where the bot posts: an id such as C0123456789."
        ),
    ] = None
    api_url: Annotated[Url | None, Field(description=f"Where the API is, if not at {API_URL}.")] = None

    @property
    def endpoint(self) -> str:
        """The URL, or what the bot is and where it posts."""
        if self.url is not None:
            return endpoint_of(self.url)
        return f"{endpoint_of(self._api)} {self.token!r} {self.channel}"

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """The one that is posted to."""
        return {"api_url": self._api} if self.url is None else {"url": self.url}

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The bot's token."""
        return {} if self.token is None else {"token": self.token}

    def secret_fault(self, name: str, secret: str) -> tuple[str, str] | None:  # noqa: ARG002  # there is one
        """Return why `secret` cannot be a token."""
        if _TOKEN.fullmatch(secret):
            return None
        return "no Slack token", "expected the app's Bot User OAuth Token, xoxb-… on one line"

    async def tell(self, notice: Notice, means: Means) -> Verdict:
        """Post the message, or change the one that was posted."""
        message = slack_message(notice)
        if self.url is None:
            return await self._tell_as_bot(notice, message, means)
        body = _encode({**message, **_NO_UNFURLING})
        answer = await means.egress.post(means.url(self.url), body, _HEADERS, deadline_ms=ATTEMPT_MS_MAX)
        return judge_webhook(answer, means)

    async def _tell_as_bot(self, notice: Notice, message: dict[str, Any], means: Means) -> Verdict:
        place = None if is_group(notice) or notice.is_replay else _place(notice.reference)
        if place is not None:
            said = await self._call(means, "chat.update", {**place, **message})
            if said.error not in POSTED_ANEW:
                is_told = said.verdict.outcome == "delivered"
                return await self._tell_thread(notice, place, said.verdict, means) if is_told else said.verdict
        said = await self._call(means, "chat.postMessage", {"channel": self.channel, **message, **_NO_UNFURLING})
        return replace(said.verdict, reference="") if is_group(notice) else said.verdict

    async def _tell_thread(self, notice: Notice, place: dict[str, str], told: Verdict, means: Means) -> Verdict:
        """Tell the thread of the change; where it cannot be told at all, the message itself has said it."""
        thread = {"channel": place["channel"], "thread_ts": place["ts"]}
        aloud = {"reply_broadcast": True} if notice.transition.to_state == "firing" else {}
        reply = {**thread, **aloud, **thread_reply(notice), **_NO_UNFURLING}
        said = await self._call(means, "chat.postMessage", reply)
        return said.verdict if said.verdict.outcome == "failed" else told

    async def _call(self, means: Means, method: str, arguments: Mapping[str, Any]) -> "_Said":
        url = f"{means.url(self._api).rstrip('/')}/{method}"
        token = means.secret(self.secret_refs["token"])
        headers = {**_HEADERS, **bearer(token)}
        answer = await means.egress.post(url, _encode(arguments), headers, deadline_ms=ATTEMPT_MS_MAX)
        return judge_api(answer, means)

    @property
    def _api(self) -> UrlRef:
        return SecretStr(API_URL) if self.api_url is None else self.api_url

    @model_validator(mode="after")
    def _is_webhook_or_bot(self) -> "Slack":
        bot = {"token": self.token, "channel": self.channel, "api_url": self.api_url}
        written = [name for name, value in bot.items() if value is not None]
        if self.url is not None and written:
            raise ValueError(f"expected `url`, or `token` and `channel`; got url and {' and '.join(written)}")
        if self.url is None and (self.token is None or self.channel is None):
            raise ValueError("expected `url`, or `token` and `channel`")
        return self


@dataclass(frozen=True, slots=True)
class _Said:
    """What an answer of the API means, and the error it names."""

    verdict: Verdict
    error: str = ""


class _ApiAnswer(msgspec.Struct, frozen=True):
    """What we read of an answer of the API."""

    ok: bool
    error: str = ""
    channel: str = ""
    ts: str = ""


_decode_answer = msgspec.json.Decoder(_ApiAnswer).decode


def judge_webhook(answer: Answer, means: Means) -> Verdict:
    """Return what an incoming webhook's answer means: `ok` is success, its own words tell the rest."""
    word = answer.body.decode(errors="replace").strip()
    if 200 <= answer.status < 300:
        is_told = word == "ok" or _read_answer(answer.body) == _ApiAnswer(ok=True)
        return judge(answer, means) if is_told else Verdict("failed", NO_ANSWER, answer.status, answer.elapsed_ms)
    if answer.status in {403, 404, 410} and word in GONE:
        return Verdict("dead", GONE[word], answer.status, answer.elapsed_ms, is_gone=True)
    if answer.status in {403, 404} and word in FORBIDDEN:
        return Verdict("dead", FORBIDDEN[word], answer.status, answer.elapsed_ms)
    return judge(answer, means, permanent=_PERMANENT)


def judge_api(answer: Answer, means: Means) -> _Said:
    """Return what an answer of the API means: with status 200 its `ok` and its `error` do."""
    if answer.status != 200:
        return _Said(judge(answer, means, permanent=_PERMANENT))
    said = _read_answer(answer.body)
    if said is None:
        return _Said(Verdict("failed", NO_ANSWER, 200, answer.elapsed_ms))
    if said.ok:
        reference = f"{said.channel} {said.ts}"
        kept = reference if _REFERENCE.fullmatch(reference) else ""
        return _Said(Verdict("delivered", "", 200, answer.elapsed_ms, reference=kept))
    if said.error in REFUSALS:
        return _Said(Verdict("dead", REFUSALS[said.error], 200, answer.elapsed_ms), said.error)
    reason = f"Slack answered {said.error}" if said.error in TEMPORARY else UNKNOWN_ERROR
    asked_ms = parse_retry_after_ms(answer.headers.get("retry-after", ""), means.now_ms())
    return _Said(Verdict("failed", reason, 200, answer.elapsed_ms, asked_ms), said.error)


def _read_answer(body: bytes) -> _ApiAnswer | None:
    """Return what Slack said; an answer that repeats a long message was cut, but what counts stands before that."""
    for text in (body, body.partition(b'"message":')[0].rstrip(b", \r\n\t") + b"}"):
        try:
            return _decode_answer(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None


def _place(reference: str) -> dict[str, str] | None:
    found = _REFERENCE.fullmatch(reference)
    return {"channel": found[1], "ts": found[2]} if found else None
