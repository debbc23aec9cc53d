"""The transition: one change of an alert's state, with its reason and its numbers."""

from typing import Literal, get_args

import msgspec

AlertState = Literal["inactive", "pending", "firing", "recovering", "resolved", "no_data"]
ALERT_STATES: tuple[str, ...] = get_args(AlertState)
OPEN_STATES = frozenset({"firing", "recovering", "no_data"})  # states of an incident that people are told of
RULE_CHANGED, RULE_REMOVED = "the rule was changed", "the rule was removed"  # reasons of an edit, not of a value

EXAMPLES_MAX = 5  # example runs carried by a transition: the smallest by time and id


class ExampleRun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that contributed to a breach."""

    occurred_us: int
    event_id: str
    run: str
    flow: str = ""


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One change of state. Self-contained: the notifier needs no rule set to tell people about it."""

    transition_id: str
    incident_id: str
    seq: int
    tenant: str
    rule: str
    rule_kind: str
    rules_version: int
    key: dict[str, str]
    from_state: AlertState
    to_state: AlertState
    at_ms: int  # event time: the pane end that was evaluated
    opened_at_ms: int
    reason: str
    value: float | None = None
    threshold: float | None = None
    samples: int = 0
    late_samples: int = 0
    window_ms: int = 0
    examples: list[ExampleRun] = []
    severity: str = ""
    labels: dict[str, str] = {}
    summary: str = ""  # the rule's template; rendered where it is shown
    notify: list[str] = []
    runbook: str = ""  # the address of what to do about it


encode_transition = msgspec.json.Encoder().encode
decode_transition = msgspec.json.Decoder(Transition).decode
