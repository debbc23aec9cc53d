"""Routes, watchers and policies of channels: who hears of what, and how."""

import pytest

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.channels import ChannelBook, parse_channels
from flowgauge.sinks.webhooks.policy import Grouping, LinePolicy

ROUTES = """
routes:
  - name: pages
    match: {severity: critical, team: [data, "ml-*"]}
    notify: [pager, ops]
  - name: all but tests
    match: {rule: ["!test *"]}
    notify: [ops]
  - name: acme's own
    tenant: acme
    match: {flow: "orders-*"}
    notify: [acme-chat]
"""
CHANNEL = "{url: 'https://%s.example', secret: {env: A}}"


def transition(
    *, tenant: str = "other", rule: str = "late", severity: str = "warning", flow: str = "etl", team: str = ""
) -> Transition:
    return Transition(
        transition_id="t",
        incident_id="i",
        seq=0,
        tenant=tenant,
        rule=rule,
        rule_kind="late",
        rules_version=1,
        key={"flow": flow},
        from_state="inactive",
        to_state="firing",
        at_ms=1,
        opened_at_ms=1,
        reason="late",
        severity=severity,
        labels={"team": team} if team else {},
    )


@pytest.mark.parametrize(
    ("about", "channels"),
    [
        (transition(), ("ops",)),
        (transition(severity="critical"), ("ops",)),
        (transition(severity="critical", team="ml-vision"), ("pager", "ops")),
        (transition(severity="critical", team="data", rule="test x"), ("pager", "ops")),
        (transition(rule="test x"), ()),
        (transition(tenant="acme", flow="orders-eu"), ("ops", "acme-chat")),
        (transition(flow="orders-eu"), ("ops",)),
    ],
)
def test_an_incident_goes_where_every_field_of_a_route_matches(about: Transition, channels: tuple[str, ...]) -> None:
    assert parse_channels("r.yaml", ROUTES).routed(about) == channels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("routes:\n- match: {rule: a}\n  notify: [b]", "r.yaml:2:3: routes[0].name: this field is required"),
        ("routes:\n- name: a\n  match: {}\n  notify: [b]", "r.yaml:3:3: routes[0].match: "),
        ("routes:\n- name: a\n  match: {rule: x}\n  notify: []", "r.yaml:4:3: routes[0].notify: "),
        (
            "routes:\n- name: a\n  match: {rule: x}\n  notify: [action:y]",
            "r.yaml:4:3: routes[0].notify: a route tells channels: name actions in the `actions` of a rule",
        ),
        (
            "routes:\n- name: a\n  match: {severity: crit}\n  notify: [y]",
            "r.yaml:3:3: routes[0].match: severity: expected one of info, warning, error, critical, got 'crit'",
        ),
        ("routes: 7", "r.yaml:1:1: routes: expected a list"),
        (
            "channels:\n- name: a\n  group: {wait: 1s}\n  webhook: " + CHANNEL % "h",
            "r.yaml:2:3: channels[0]: a webhook is told of each incident by itself: take `group` out",
        ),
        (
            "channels:\n- name: a\n  fallback: a\n  webhook: " + CHANNEL % "h",
            "r.yaml:2:3: channels[0]: a channel is no fallback for itself: name another one",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidRules) as told:
        parse_channels("r.yaml", text)

    assert str(told.value).startswith(message)


def book(*lines: str) -> ChannelBook:
    return parse_channels("c.yaml", "channels:\n" + "\n".join(lines))


def test_the_watchers_of_a_channel_are_others_of_the_tenant_or_of_everybody_at_another_endpoint() -> None:
    channels = book(
        "- {name: pager, webhook: " + CHANNEL % "pager" + "}",
        "- {name: ops, delivery_failures: true, webhook: " + CHANNEL % "ops" + "}",
        "- {name: twin, delivery_failures: true, webhook: " + CHANNEL % "pager" + "}",
        "- {name: acme-ops, tenant: acme, delivery_failures: true, webhook: " + CHANNEL % "acme" + "}",
    )

    assert channels.watchers("other", "pager") == ("ops",)
    assert channels.watchers("acme", "pager") == ("acme-ops", "ops")
    assert channels.watchers("other", "ops") == ("twin",)


def test_a_channel_says_how_it_is_told() -> None:
    channels = book(
        "- {name: a, webhook: " + CHANNEL % "a" + "}",
        "- {name: b, retry: page, fallback: a, fallback_after: 5m, repeat: 4h, webhook: " + CHANNEL % "b" + "}",
        "- {name: c, group: {by: [rule], interval: 1m}, slack: {url: {env: SLACK}}}",
        "- {name: d, slack: {url: {env: SLACK}}}",
    )

    assert [each.policy for each in channels.channels] == [
        LinePolicy("generic", fallback_after_ms=900_000),
        LinePolicy("page", fallback="a", fallback_after_ms=300_000, repeat_ms=14_400_000),
        LinePolicy("chat", fallback_after_ms=900_000, group=Grouping(("rule",), 1_000, 60_000)),
        LinePolicy("chat", fallback_after_ms=900_000, group=Grouping((), 1_000, 15_000)),
    ]
