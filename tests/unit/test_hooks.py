"""What webhooks become by a hook, who may send them, and what is said of mistakes in the file."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.fenced_blocks import ROOT, blocks

from flowgauge.producers.hook_book import OpenHook, hook_book
from flowgauge.producers.hook_event import Ignored, event_of
from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.errors import InvalidEvent, InvalidRules, InvalidSettings
from flowgauge.schemas.event import Event
from flowgauge.schemas.hook_file import HookFile, parse_hooks
from flowgauge.schemas.setting_parts import SecretFromEnv, SecretRef
from flowgauge.schemas.signing import signed_headers
from flowgauge.schemas.times import parse_time_ms
from flowgauge.schemas.yaml_places import read_yaml

BODIES = ROOT / "tests" / "data" / "webhooks"
NOW_MS = parse_time_ms("2026-11-30T05:00:00Z")
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SMALL = """
hooks:
  - name: small
    tenant: acme
    verify: {by: none}
    events:
      - {event: "'it'", resource: "'thing'", %s}
"""

(documented,) = blocks(ROOT / "docs" / "connect-webhooks.md", "yaml")
HOOKS = {hook.name: hook for hook in parse_hooks("hooks.yaml", documented.text).hooks}


def body(name: str) -> bytes:
    return (BODIES / f"{name}.json").read_bytes()


def made(hook: str, raw: bytes, headers: Mapping[str, str] | None = None) -> Event:
    sent = {"x-github-delivery": "7b2e"} if headers is None else headers
    event = event_of(HOOKS[hook], raw, sent, tenant="acme", now_ms=NOW_MS)
    return canonical(event, tenant="acme", append_ms=NOW_MS)[1]


def small(fields: str, raw: object) -> Event:
    (hook,) = parse_hooks("hooks.yaml", SMALL % fields).hooks
    event = event_of(hook, msgspec.json.encode(raw), {}, tenant="acme", now_ms=NOW_MS)
    return canonical(event, tenant="acme", append_ms=NOW_MS)[1]


def related(event: Event) -> list[tuple[str, str]]:
    return [(each["role"], each.get("name", each["id"])) for each in event.related]


def test_a_run_of_a_github_workflow() -> None:
    event = made("github", body("github-workflow_run"))

    assert (event.event, event.kind, event.state) == ("github.workflow_run.completed", "flow-run", "failed")
    assert (event.flow, event.run) == ("acme/lake/nightly", "19734411207")
    assert event.occurred.isoformat() == "2026-11-30T04:07:42+00:00"
    assert related(event) == [("flow", "acme/lake/nightly"), ("deployment", "main"), ("tag", "schedule")]
    assert event.payload["attempt"] == 2


def test_a_job_of_a_github_workflow() -> None:
    event = made("github", body("github-workflow_job"))

    assert (event.kind, event.state, event.task) == ("task-run", "running", "56547213001")
    assert (event.flow, event.run) == ("acme/lake/nightly", "19734411207")
    assert related(event)[1:] == [
        ("flow-run", "flow-run.19734411207"),
        ("work_pool", "big"),
        ("tag", "self-hosted"),
        ("tag", "gpu"),
    ]


def test_a_gitlab_pipeline() -> None:
    event = made("gitlab", body("gitlab-pipeline"))

    assert (event.event, event.state, event.flow, event.run) == ("gitlab.pipeline.failed", "failed", "acme/lake", "910")
    assert event.occurred.isoformat() == "2026-11-30T04:11:03+00:00"
    assert event.payload["failed_jobs"] == ["load-orders"]


def test_a_job_of_dbt_cloud() -> None:
    event = made("dbt-cloud", body("dbt-cloud-completed"))

    assert (event.flow, event.run, event.state) == ("Daily job (marts)", "90210", "failed")
    assert event.occurred.isoformat() == "2026-11-30T04:18:15.742843+00:00"
    assert event.payload["message"].startswith("Database Error")


def test_a_script() -> None:
    event = made("cron", body("cron"))

    assert (event.flow, event.run, event.state) == ("backup", "backup-2026-11-30T04:00:00Z", "failed")
    assert event.scheduled_for is not None
    assert event.occurred.isoformat() == "2025-11-30T04:05:07+00:00"
    assert event.payload == {"message": "no space left on device", "rows": 0}


def test_a_greeting_is_ignored() -> None:
    with pytest.raises(Ignored):
        made("github", body("github-ping"))


def test_what_is_sent_again_is_the_same_event_and_other_hooks_and_tenants_have_others() -> None:
    raw = body("github-workflow_run")

    def identity(name: str, delivery: str, tenant: str) -> str:
        hook = HOOKS["github"].model_copy(update={"name": name})
        event = event_of(hook, raw, {"x-github-delivery": delivery}, tenant=tenant, now_ms=NOW_MS)
        return str(json.loads(event)["id"])

    assert identity("github", "1", "acme") == identity("github", "1", "acme")
    others = [("github", "2", "acme"), ("other", "1", "acme"), ("github", "1", "umbrella"), ("github", "1", "acme")]
    assert len({identity(*each) for each in others}) == 4


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("2026-11-30T04:00:00+02:00", "2026-11-30T02:00:00+00:00"),
        ("2026-11-30T04:00:00", "2026-11-30T04:00:00+00:00"),
        ("2026-11-30 04:00:00 UTC", "2026-11-30T04:00:00+00:00"),
        (1_764_475_200, "2025-11-30T04:00:00+00:00"),
        (1_764_475_200_500, "2025-11-30T04:00:00.500000+00:00"),
        (None, "2026-11-30T05:00:00+00:00"),
    ],
)
def test_a_time_may_be_written_in_several_ways(found: object, expected: str) -> None:
    assert small("occurred: at", {"at": found}).occurred.isoformat() == expected


@pytest.mark.parametrize(
    ("fields", "raw", "detail"),
    [
        ("when: missing", {}, "no `when` of the hook finds something in it"),
        ("flow: a", {"a": {"b": 1}}, '`flow`: expected text or a number, got {"b":1}'),
        ("occurred: a", {"a": "noon"}, '`occurred`: expected a time, in ISO 8601 or since 1970, got "noon"'),
        ("occurred: a", {"a": 1e300}, "`occurred`: expected a time"),
        ("state: a", {"a": "done"}, '`state`: got "done": expected one of scheduled'),
        ("state: {from: a, words: {ok: completed}}", {"a": "stale"}, '`state`: "stale" stands in no `words`: add it'),
        ("flow: \"join(',', a)\"", {"a": 7}, "`flow`: In function join(), invalid type for value: 7"),
        ("flow: a", {"a": "x" * 2_000}, "Expected `str` of length <= 1024"),
        ("occurred: a", {"a": "2001-01-01"}, "is not within -400 d and +1 d"),
    ],
)
def test_what_no_event_can_be_made_of_says_which_field_is_wrong(fields: str, raw: object, detail: str) -> None:
    with pytest.raises(InvalidEvent, match="unmappable") as refused:
        small(fields, raw)

    assert detail in refused.value.detail


def test_a_bare_word_that_finds_nothing_is_told_how_text_is_written() -> None:
    (hook,) = parse_hooks("hooks.yaml", (SMALL % "flow: a").replace("\"'it'\"", "tea")).hooks

    with pytest.raises(InvalidEvent) as refused:
        event_of(hook, b"{}", {}, tenant="acme", now_ms=NOW_MS)

    assert refused.value.detail == "`event` finds nothing (is it text? write \"'tea'\")"


def test_a_body_of_very_many_values_is_not_looked_through() -> None:
    with pytest.raises(InvalidEvent, match="100000 commas, at most 50000 are looked through"):
        small("flow: a", [0] * 100_001)


def test_what_is_not_found_is_left_out_and_words_may_be_no_state() -> None:
    event = small("flow: a, state: {from: b, words: {odd: null}}, related: {tag: c}, payload: {x: d}", {"b": "odd"})

    assert (event.flow, event.state, event.related, event.payload) == (None, None, [], {})


def secret_of(reference: SecretRef) -> str:
    assert isinstance(reference, SecretFromEnv)
    if reference.env == "MISSING":
        raise InvalidSettings("environment variable MISSING is not set or empty (set it where flowgauge is started)")
    return SECRET


def opened(verify: str) -> OpenHook:
    text = f"hooks: [{{name: a, tenant: acme, verify: {verify}, events: [{{event: \"'a'\", resource: \"'b'\"}}]}}]"
    found = hook_book(read_yaml("hooks.yaml", text), secret_of, {"acme"}).of("a")
    assert found is not None
    return found


RAW = b'{"a": 1}'
DIGEST = hmac.new(SECRET.encode(), RAW, hashlib.sha256).hexdigest()
STANDARD = signed_headers([SECRET], message_id="m1", timestamp_s=NOW_MS // 1000, body=RAW)
OLD = signed_headers([SECRET], message_id="m1", timestamp_s=NOW_MS // 1000 - 301, body=RAW)
KNOWN: list[tuple[str, dict[str, str]]] = [
    ("{by: github, secret: {env: S}}", {"x-hub-signature-256": f"sha256={DIGEST}"}),
    ("{by: gitlab, secret: {env: S}}", {"x-gitlab-token": SECRET}),
    ("{by: standard_webhooks, secret: {env: S}}", STANDARD),
    ("{by: hmac_sha256, header: X-Sig, prefix: 'v1=', secret: {env: S}}", {"x-sig": f"v1={DIGEST}"}),
    ("{by: hmac_sha256, header: X-Sig, prefix: 'V1=', secret: {env: S}}", {"x-sig": f"V1={DIGEST.upper()}"}),
    ("{by: header, header: X-Key, secret: [{env: S}, {env: S}]}", {"x-key": SECRET}),
    ("{by: none}", {}),
]


@pytest.mark.parametrize(("verify", "headers"), KNOWN)
def test_who_knows_the_secret_may_send(verify: str, headers: dict[str, str]) -> None:
    assert opened(verify).fault_of(headers, RAW, now_ms=NOW_MS) == ""


@pytest.mark.parametrize(("verify", "headers"), KNOWN[:-1])
def test_who_does_not_know_it_may_not_and_no_secret_is_told(verify: str, headers: dict[str, str]) -> None:
    hook = opened(verify)
    wrong = {name: value[:-2] + "é?" for name, value in headers.items()}
    faults = [hook.fault_of({}, RAW, now_ms=NOW_MS), hook.fault_of(wrong, RAW, now_ms=NOW_MS)]
    if "by: gitlab" not in verify and "by: header" not in verify:  # these do not look at the body
        faults.append(hook.fault_of(headers, RAW + b" ", now_ms=NOW_MS))

    assert all(faults)
    assert SECRET not in repr(hook) + "".join(faults)


def test_what_was_signed_long_ago_may_not_come_again() -> None:
    assert "too old" in opened(KNOWN[2][0]).fault_of(OLD, RAW, now_ms=NOW_MS)


MISTAKES = """
hooks:
  - name: Git Hub
    tenant: acme
    verify: {by: github}
    evnts: []
    events:
      - event: "'a"
        kid: flow-run
        state: {from: a, words: {x: complete}}
        flow: {heder: X}
        run: foo(a)
        task: length(a, b)
  - name: b
    verify: {by: github, secret: abc}
    events: []
  - name: c
    tenant: acme
    events: [{event: "'a'", kind: flow-run}]
"""


def test_each_mistake_in_the_file_is_told_with_its_line() -> None:
    with pytest.raises(InvalidRules) as refused:
        parse_hooks("h.yaml", MISTAKES)

    assert [(problem.line, problem.field, problem.message[:44]) for problem in refused.value.problems] == [
        (3, "hooks[0].name", "expected small letters, digits, - and _, suc"),
        (5, "hooks[0].verify", "`secret` is missing: github needs one: write"),
        (8, "hooks[0].events[0].event", "not JMESPath: Bad jmespath expression: Unclo"),
        (11, "hooks[0].events[0].flow.header", "this field is required"),
        (11, "hooks[0].events[0].flow.heder", "unknown field"),
        (12, "hooks[0].events[0].run", "JMESPath has no function 'foo': known are ab"),
        (13, "hooks[0].events[0].task", "not JMESPath: Expected 1 argument for functi"),
        (10, "hooks[0].events[0].state.words.x", "expected 'scheduled', 'late', 'pending', 'ru"),
        (9, "hooks[0].events[0].kid", "unknown field"),
        (6, "hooks[0].evnts", "unknown field"),
        (15, "hooks[1].verify.secret", "a secret does not stand in the file: write {"),
        (16, "hooks[1].events", "expected at least one form of an event, got "),
        (19, "hooks[2].events[0].kind", "`kind` flow-run without what it happened to:"),
    ]


@pytest.mark.parametrize("expression", ["!" * 900 + "a", "a" + "[*]" * 330])
def test_an_expression_that_is_nested_too_deep_is_a_mistake_at_its_line(expression: str) -> None:
    with pytest.raises(InvalidRules) as refused:
        parse_hooks("h.yaml", (SMALL % "flow: a").replace("'it'", expression))

    assert [(problem.line, problem.message) for problem in refused.value.problems] == [
        (7, "JMESPath nested too deep: write it flatter")
    ]


def test_what_stands_twice_or_is_never_reached_is_told() -> None:
    form = "{event: \"'a'\", resource: \"'b'\"}"
    with pytest.raises(InvalidRules) as refused:
        parse_hooks("h.yaml", f"hooks: [{{name: a, events: [{form}, {form}]}}, {{name: a, events: [{form}]}}]")

    assert [problem.message for problem in refused.value.problems] == [
        "another hook is called a",
        "has no `when`, so those after it are never reached",
    ]


def test_a_secret_that_cannot_be_had_and_an_unknown_tenant_are_told_at_their_line() -> None:
    text = """hooks:
  - name: a
    tenant: umbrella
    verify: {by: gitlab, secret: {env: MISSING}}
    events: [{event: "'a'", resource: "'b'"}]
"""
    with pytest.raises(InvalidRules) as refused:
        hook_book(read_yaml("h.yaml", text), secret_of, {"acme"})

    assert [(problem.line, problem.message[:40]) for problem in refused.value.problems] == [
        (4, "environment variable MISSING is not set "),
        (3, "no tenant is called umbrella"),
    ]


def test_a_secret_with_an_umlaut_fits_as_headers_bring_it() -> None:
    verify = "verify: {by: gitlab, secret: {env: S}}"
    (hook,) = parse_hooks("h.yaml", (SMALL % "flow: a").replace("verify: {by: none}", verify)).hooks
    sent = {"x-gitlab-token": "schlüssel".encode().decode("latin-1")}

    assert OpenHook(hook, ["schlüssel"]).fault_of(sent, b"{}", now_ms=NOW_MS) == ""
    assert OpenHook(hook, ["other"]).fault_of(sent, b"{}", now_ms=NOW_MS) != ""


@pytest.mark.parametrize("name", [path.stem for path in sorted(BODIES.glob("*.json")) if path.stem != "github-ping"])
def test_a_documented_hook_makes_the_same_event_whenever_it_is_sent_again(name: str) -> None:
    hook = HOOKS[max((each for each in HOOKS if name.startswith(each)), key=len)]
    raw = body(name).replace(b'"finished_at": "2026-11-30 04:11:03 UTC"', b'"finished_at": null')
    sent = {"x-github-delivery": "7b2e"}

    first, again = (event_of(hook, raw, sent, tenant="acme", now_ms=NOW_MS + late) for late in (0, 60_000))

    assert first == again


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
_names = st.sampled_from(
    ["id", "name", "status", "action", "updated_at", "labels", "conclusion", "jobName", "runId", "full_name"]
)


@given(
    hook=st.sampled_from(sorted(HOOKS)),
    raw=st.dictionaries(
        st.sampled_from(
            ["workflow_run", "repository", "object_kind", "object_attributes", "eventType", "data", "job", "at"]
        ),
        json_values | st.dictionaries(_names, json_values),
    ),
)
def test_whatever_comes_is_ignored_an_event_or_unmappable(hook: str, raw: dict[str, Any]) -> None:
    try:
        event = event_of(HOOKS[hook], msgspec.json.encode(raw), {}, tenant="acme", now_ms=NOW_MS)
    except Ignored:
        return
    except InvalidEvent as invalid:
        if invalid.reason != "unmappable":
            raise
        return
    canonical(event, tenant="acme", append_ms=NOW_MS)


@given(raw=st.binary(max_size=40))
def test_no_bytes_break_it(raw: bytes) -> None:
    with pytest.raises(InvalidEvent, match="unmappable"):
        event_of(HOOKS["gitlab"], raw, {}, tenant="acme", now_ms=NOW_MS)


def test_the_documented_file_has_no_mistakes() -> None:
    assert isinstance(parse_hooks("hooks.yaml", documented.text), HookFile)
