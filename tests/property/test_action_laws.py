"""Laws of actions: no rule runs one more often than its limit, no chain is endless, templates never break out."""

import json
from collections.abc import Sequence

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from tests.actions_about import NOW_MS, delivery, firing, notice

from flowgauge.schemas.check import check
from flowgauge.schemas.event import Event, encode_event
from flowgauge.schemas.transition import ExampleRun, Transition
from flowgauge.sinks.webhooks.actions.action import DRY_RUN, Action
from flowgauge.sinks.webhooks.actions.action_kind import json_bytes
from flowgauge.sinks.webhooks.actions.guard import (
    LONG_CHAIN,
    OWN_EVENT,
    PAIRS_MAX,
    STOPPED,
    SWITCHED_OFF,
    TOO_OFTEN,
    ActionGuard,
)
from flowgauge.sinks.webhooks.actions.result import CHAIN_MAX, chain_of, result_event
from flowgauge.sinks.webhooks.actions.templates import render_json, values_of


def action(count: int = 2, per: str = "1m", **fields: object) -> Action:
    written = {"name": "restart", "command": {"run": ["/bin/true"]}, "limit": {"count": count, "per": per}}
    return Action.model_validate(written | fields)


def run(guard: ActionGuard, what: Action, transition: Transition, now_ms: int) -> str:
    """Ask the guard, and note what begins; return why not, empty where it began."""
    if refused := guard.refusal(what, transition, now_ms):
        assert refused.outcome == "dead"
        return refused.reason
    guard.note(what, transition, now_ms)
    return ""


@given(
    asked=st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 30), st.sampled_from("ab")), max_size=60),
    count=st.integers(1, 4),
)
def test_no_rule_runs_an_action_more_often_than_its_limit_in_any_span(
    asked: Sequence[tuple[int, int, str]], count: int
) -> None:
    guard, what = ActionGuard(), action(count)
    began: dict[tuple[str, str], int] = {}
    now_ms = NOW_MS
    for wait_ms, incident, rule in asked:
        now_ms += wait_ms
        transition = firing(f"flow {incident}", rule=rule)
        if run(guard, what, transition, now_ms) == "":
            began.setdefault((rule, transition.transition_id), now_ms)

    for rule in "ab":
        times = sorted(at_ms for (of, _), at_ms in began.items() if of == rule)
        assert all(times[index + count] - times[index] >= 60_000 for index in range(len(times) - count))


@given(steps=st.lists(st.integers(-100_000, 100_000), max_size=40))
def test_a_clock_that_steps_back_neither_opens_a_limit_nor_keeps_it_shut(steps: Sequence[int]) -> None:
    guard, what = ActionGuard(), action(count=1)
    now_ms = NOW_MS
    for number, step in enumerate(steps):
        now_ms += step
        run(guard, what, firing(f"flow {number}"), now_ms)
        assert guard.counted.get(("acme", "restart", "failing"), 0) <= 1

    latest_ms = NOW_MS + sum(step for step in steps if step > 0)
    assert run(guard, what, firing("at last"), latest_ms + 60_000) == ""


def test_what_is_tried_again_counts_once() -> None:
    guard, what = ActionGuard(), action(count=1)

    reasons = [run(guard, what, firing(flow), NOW_MS + at) for at, flow in enumerate(["a", "a", "b", "a"])]

    assert reasons == ["", "", TOO_OFTEN, ""]
    assert guard.refused == {TOO_OFTEN: 1}


def test_nothing_runs_while_it_is_switched_off_and_all_goes_on_after_a_stop() -> None:
    stopped = {"acme"}
    guard = ActionGuard(is_stopped=lambda tenant: tenant in stopped)
    others = msgspec.structs.replace(firing(), tenant="other")

    meanwhile = run(guard, action(), firing(), NOW_MS), run(guard, action(), others, NOW_MS)
    stopped.clear()

    assert (*meanwhile, run(guard, action(), firing(), NOW_MS)) == (STOPPED, "", "")
    assert run(ActionGuard(is_enabled=False), action(), firing(), NOW_MS) == SWITCHED_OFF


def test_what_is_remembered_has_a_bound() -> None:
    guard, what = ActionGuard(), action()
    for number in range(PAIRS_MAX + 10):
        guard.note(what, firing(rule=f"r{number}"), NOW_MS)

    assert len(guard.counted) == PAIRS_MAX
    assert ("acme", "restart", "r0") not in guard.counted


def told_of(event: Event) -> Transition:
    """Return the firing of a rule that fires at each event, for one that an action made."""
    return msgspec.structs.replace(
        firing(event_id=str(event.id)), key={"event_id": str(event.id)}, examples=[ExampleRun(0, str(event.id), "", "")]
    )


def chain(what: Action) -> list[str]:
    """Let a rule that sees every event run an action again and again; return what became of each."""
    transition, came = firing(), list[str]()
    for _ in range(100):
        reason = run(ActionGuard(), what, transition, NOW_MS)  # a guard that forgets all: no limit helps
        came.append(reason)
        event = result_event(delivery(transition, "dead" if reason else "delivered", reason), transition)
        if event is None:
            return came
        transition = told_of(event)
    raise AssertionError("it goes on without end")


def test_an_action_that_its_own_events_set_off_runs_once_and_one_that_follows_them_a_few_times() -> None:
    assert chain(action()) == ["", *[OWN_EVENT] * (CHAIN_MAX + 1)]
    assert chain(action(follows_actions=True)) == [*[""] * CHAIN_MAX, LONG_CHAIN, LONG_CHAIN]


@given(ids=st.lists(st.one_of(st.uuids().map(str), st.text(max_size=40)), max_size=5))
def test_no_other_event_looks_like_an_actions(ids: Sequence[str]) -> None:
    examples = [ExampleRun(0, event_id, "", "") for event_id in ids]

    assert chain_of(msgspec.structs.replace(firing(), examples=examples)) == 0


def test_a_result_is_an_event_that_the_log_takes_and_the_same_each_time() -> None:
    transition = firing()
    record = delivery(transition, "delivered", DRY_RUN)

    event = result_event(record, transition)

    assert event is not None
    assert event == result_event(record, transition)
    assert check(encode_event(event), NOW_MS) == event
    assert (event.event, event.tenant, event.id.version) == ("flowgauge.action.succeeded", "acme", 8)
    assert event.related[0] == {"id": transition.incident_id, "role": "incident"}
    assert event.payload["dry_run"] is True


def test_only_an_end_of_an_action_is_an_event() -> None:
    transition = firing()

    def named(outcome: str, reason: str = "") -> str | None:
        event = result_event(delivery(transition, outcome, reason), transition)
        return None if event is None else event.event

    assert [named(outcome) for outcome in ("started", "failed", "superseded", "backfilled")] == [None] * 4
    assert (named("dead", "answered 5xx"), named("dead", STOPPED)) == (
        "flowgauge.action.failed",
        "flowgauge.action.refused",
    )
    record = msgspec.structs.replace(delivery(transition, "delivered"), channel="restart")
    assert result_event(record, transition) is None


@given(flow=st.text(max_size=50))
@example('"}, {"')
def test_what_a_flow_is_called_stays_one_text_of_the_body(flow: str) -> None:
    body = json_bytes(render_json({"a": ["<{{ flow }}>"]}, values_of(notice(firing(flow)))))

    decoded = json.loads(body)
    assert list(decoded) == ["a"]
    assert decoded["a"][0].startswith("<")
    assert len(decoded["a"]) == 1
