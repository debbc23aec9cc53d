"""`flowgauge rules explain`: the numbers of each evaluation, and why it did not fire, in words."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.detection import START_MS
from tests.unit.test_replay import line

from flowgauge.console.main import main
from flowgauge.processors.evaluation import Evaluation
from flowgauge.processors.explaining import KEYS_SHOWN_MAX, Watch, conclusion, key_of, refusals, rule_named
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import CompiledRule, RuleSet, parse_rules
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import rfc3339

RATE = "when: {failure_rate: {above: 50%, within: 20s, min_samples: 2, clear_below: 30%}}"


def rule(more: str = "", when: str = RATE) -> CompiledRule:
    (item,) = parse_rules("rules.yaml", f"rules: [{{name: failing, for_each: [flow], {more} {when}}}]").rules
    return item


def ended(number: int, at: int, state: str = "failed", flow: str | None = "etl", **more: object) -> bytes:
    return line(number, at, state=state, **({"flow": flow} if flow else {}), **more)


CONDITION = "{match: {event: %s}, when: {event: {times: 1, within: 1m}}}"


def asked(item: CompiledRule, at_ms: int | None = None) -> Watch:
    return Watch(item, ("default", "etl"), at_ms, 1_000)


def evaluations(item: CompiledRule, *lines: bytes, until: int = 120_000) -> list[Evaluation]:
    watch = asked(item)
    replay = Replay(lambda: lines, RuleSet((item,)), until_ms=START_MS + until, observe=watch.see)
    watch.take(replay.transitions())
    return list(watch.before)


def whys(item: CompiledRule, *lines: bytes) -> list[str]:
    return [each.why() for each in evaluations(item, *lines)]


def test_too_few_samples_hold_a_threshold_fires_and_an_empty_window_is_said_to_be_one() -> None:
    assert whys(rule(), ended(1, 500), ended(2, 1_500)) == [
        "does not fire: too little to judge (fewer than 2 runs finished)",
        "fires: failure rate above threshold",
        "goes on firing: too little to judge (fewer than 2 runs finished)",
        "goes on firing: no run finished in the window, and `no_data: hold` leaves it as it is",
    ]


def test_what_is_clear_or_between_says_so() -> None:
    runs = [ended(1, 100, "completed"), ended(2, 200, "completed"), ended(3, 1_100), ended(4, 2_100, "completed")]

    assert whys(rule(), *runs)[:3] == [
        "does not fire: it is clear (failure rate back below threshold)",
        "does not fire: failure rate between clear_below and above",
        "does not fire: it is clear (failure rate back below threshold)",
    ]


def test_waiting_for_for_says_how_long_and_a_lapse_says_that_it_did_not_hold() -> None:
    runs = [ended(1, 100), ended(2, 200), *(ended(number, 5_100, "completed") for number in range(3, 9))]

    over = rfc3339(START_MS + 11_000)
    found = whys(rule("for: 10s,"), *runs)
    assert found[:2] == [
        f"does not fire yet: failure rate above threshold, 0s of `for: 10s` have passed, it is over at {over}",
        "does not fire: it held for 5s, not for the 10s of `for`",
    ]


def test_a_recovery_says_how_long_it_still_takes_and_the_end_why_it_ended() -> None:
    runs = [ended(1, 100), ended(2, 200), *(ended(number, 5_100, "completed") for number in range(3, 9))]

    found = whys(rule("keep_firing_for: 10s, no_data: resolve,"), *runs)
    assert found[1] == (
        "fires still, though it is clear: failure rate back below threshold, 0s of `keep_firing_for: 10s` have passed, "
        f"it is over at {rfc3339(START_MS + 16_000)}"
    )
    assert found[2] == "resolved: failure rate back below threshold"


def test_missing_data_that_fire_say_so() -> None:
    assert whys(rule("no_data: fire,"), ended(1, 100))[-1] == (
        "fires that there are no data: no run finished in the window"
    )


@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.sampled_from(["failed", "completed"])), max_size=30),
    st.sampled_from(
        ["", "for: 3s,", "keep_firing_for: 3s,", "no_data: resolve,", "no_data: fire,", "for: 2s, keep_firing_for: 2s,"]
    ),
)
def test_every_evaluation_says_whether_it_fires_as_the_transitions_do(runs: list[tuple[int, str]], more: str) -> None:
    lines = [ended(number, at, state) for number, (at, state) in enumerate(sorted(runs))]
    state = "inactive"
    for each in evaluations(rule(more), *lines):
        state = each.change.to_state if each.change else state
        is_firing = state in {"firing", "recovering", "no_data"}
        words = each.why()
        assert words.startswith(("fires", "goes on firing") if is_firing else ("does not fire", "resolved")), words


def test_watching_changes_no_transition() -> None:
    item = rule()
    lines = [ended(number, number * 700, "failed" if number % 3 else "completed") for number in range(50)]
    plain = list(Replay(lambda: lines, RuleSet((item,))).transitions())

    assert plain == list(Replay(lambda: lines, RuleSet((item,)), observe=lambda _each: None).transitions())


# ── nothing to evaluate ──


def test_what_refuses_an_event_first_is_counted() -> None:
    item = rule('match: {flow: "e*", resource.env: prod},')
    prod: dict[str, Any] = {"resource": {"id": "r", "env": "prod"}}
    lines = [
        b"no event",
        ended(1, 0, kind="log", **prod),
        ended(2, 0, flow="orders", **prod),
        ended(3, 0),
        ended(4, 0, "running", **prod),
        ended(5, 0, flow="else", **prod),
        ended(6, 0, **prod),
        ended(7, 0, tenant="acme", **prod),
        ended(8, 0, history=True, **prod),
    ]

    assert refusals(asked(item), lines, START_MS + 1_000) == {
        "it is no event": 1,
        "`match.kind`": 1,
        "`match.flow`": 1,
        "`match.resource.env`": 1,
        "`failure_rate` does not look at its state": 1,
        "its key is another": 1,
        "it matched, and the log's clock is not far enough to judge it": 1,
        "it is another tenant's": 1,
        "it is history, which no rule sees": 1,
    }
    assert refusals(asked(rule()), [ended(1, 0, flow=None)], START_MS) == {
        "it has no `flow`, by which `for_each` groups": 1
    }


@pytest.mark.parametrize(
    ("clock_ms", "said"),
    [
        (10_999, "it matched, and the log's clock is not far enough to judge it"),
        (11_000, "it matched, and waits for what could move the alert, or came too late to count"),
        (71_000, "it matched, and came too late or too far ahead of its time to count"),
    ],
)
def test_an_event_that_matched_and_moved_nothing_says_why(clock_ms: int, said: str) -> None:
    assert refusals(asked(rule()), [ended(1, 0)], START_MS + clock_ms) == {said: 1}


@pytest.mark.parametrize(
    ("at_ms", "said"), [(0, "after the time that is asked about"), (None, "past the end of the clock")]
)
def test_an_event_that_is_told_at_once_and_was_not_says_why(at_ms: int | None, said: str) -> None:
    watch = asked(rule(when="when: {event: {}}"), None if at_ms is None else START_MS + at_ms)

    assert refusals(watch, [ended(1, 5_000)], START_MS + 1_000) == {f"it matched, {said}": 1}


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("prefect: {posture: Reactive, expect: [b, c]}", "its name is not in `expect`"),
        ("prefect: {posture: Reactive, expect: b, after: c}", "its name is not in `expect` or `after`"),
        ("prefect: {posture: Reactive, match: {env: prod}}", "its resource does not meet the trigger's `match`"),
        (
            "prefect: {posture: Proactive, match_related: {env: prod}}",
            "its related resources do not meet `match_related`",
        ),
        ("sequence: {steps: [{event: b}, {event: c}], within: 1m}", "none of the `steps` is like it"),
        (
            f"all_of: {{conditions: [{CONDITION % 'b'}, {CONDITION % 'c'}]}}",
            "none of the `conditions` counts it",
        ),
    ],
)
def test_a_kind_says_what_of_it_refuses_an_event(when: str, said: str) -> None:
    (item,) = parse_rules("rules.yaml", f"rules: [{{name: a, when: {{{when}}}}}]").rules

    assert refusals(Watch(item, ("default",), None, 1), [line(1, 0, event="a")], START_MS) == {said: 1}


# ── firings that do not last ──

TRIGGER = "prefect: {posture: Reactive, expect: a, threshold: 2, within: 10s, for_each: prefect.resource.id%s}"
SILENCE = "prefect: {posture: Proactive, expect: a, threshold: 2, within: 10s, for_each: prefect.resource.id}"


def happened(number: int, at: int, resource: str = "r", event: str = "a") -> bytes:
    return line(number, at, event=event, resource={"id": resource})


def explained(when: str, key: list[str], lines: list[bytes], until: int = 60_000) -> tuple[Watch, list[str]]:
    (item,) = parse_rules("rules.yaml", f"rules: [{{name: a, when: {{{when}}}}}]").rules
    watch = Watch(item, key_of(item, "default", key), None, 100)
    watch.take(Replay(lambda: lines, RuleSet((item,)), until_ms=START_MS + until, observe=watch.see).transitions())
    return watch, list(conclusion(watch, START_MS + until))


def test_each_evaluation_of_a_trigger_says_how_far_its_bucket_is() -> None:
    lines = [happened(1, 100), happened(2, 200, "other"), happened(3, 1_100), happened(4, 3_100)]

    watch, says = explained(TRIGGER % "", ["resource.id=r"], lines, 5_000)
    assert [(each.why(), each.state, each.is_firing, each.reading.value) for each in watch.before] == [
        ("does not fire: 1 of 2 events came in its bucket", "inactive", False, 1.0),
        ("fires: the expected events came", "firing", True, 2.0),
        ("does not fire: it is mute until the bucket in which it fired has ended", "inactive", False, 0.0),
    ]
    assert says[:2] == [
        "each firing is an incident of its own, told at once: none stays open",
        f"fired 1 time until then, last at {rfc3339(START_MS + 1_100)}",
    ]


@pytest.mark.parametrize(
    ("more", "begins"), [("", "the next event begins one"), (", after: b", "an event of `after` begins one")]
)
def test_a_trigger_without_a_bucket_says_what_begins_one(more: str, begins: str) -> None:
    watch, says = explained(TRIGGER % more, ["resource.id=r"], [happened(1, 0)], 200_000)

    assert watch.before[-1].why() == f"does not fire: no bucket is open: {begins}"
    assert says[1] == "it never fired until then"


def test_a_proactive_trigger_takes_no_key_and_tells_of_the_firings_of_all() -> None:
    lines = [happened(1, 100), happened(2, 200, "other")]

    watch, says = explained(SILENCE, [], lines, 16_000)
    assert [each.why() for each in watch.before] == [
        *["does not fire: no bucket ended with fewer than 2 events since it was read before"] * 2,
        "fires 2 times: fewer events than expected came in time",
    ]
    assert [each.key["resource.id"] for each in watch.told] == ["r", "other"]
    assert says[1].startswith("fired 2 times until then")


@given(st.lists(st.tuples(st.integers(0, 60_000), st.sampled_from("rs"), st.sampled_from("ab")), max_size=30))
def test_all_firings_of_a_trigger_are_counted_and_each_evaluation_says_so(rows: list[tuple[int, str, str]]) -> None:
    lines = [happened(number, *row) for number, row in enumerate(sorted(rows))]

    watch, _ = explained(TRIGGER % "", ["resource.id=r"], lines, 90_000)
    transitions = Replay(lambda: lines, RuleSet((watch.rule,)), until_ms=START_MS + 90_000).transitions()
    own = [each for each in transitions if each.key["resource.id"] == "r"]
    assert list(watch.told) == own
    assert watch.fired == sum(len(each.reading.firings) for each in watch.before) == len(own)
    assert all(each.why().startswith("fires") == bool(each.reading.firings) for each in watch.before)
    assert all(each.reading.reason for each in watch.before)


# ── the command ──


class Explained:
    """One `flowgauge rules explain`, run to its end."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], lines: list[bytes], *arguments: str) -> None:
        (folder / "rules.yaml").write_text(
            f"rules: [{{name: failing, for_each: [flow], {RATE}}}, {{name: each, when: {{event: {{}}}}}}, "
            f"{{name: quiet, when: {{{SILENCE}}}}}]"
        )
        (folder / "events.jsonl").write_bytes(b"\n".join(lines))
        files = ("--rules", str(folder / "rules.yaml"), "--events", str(folder / "events.jsonl"))
        with pytest.raises(SystemExit) as end:
            main(["rules", "explain", *arguments, *files])
        said = capsys.readouterr()
        self.code, self.out, self.err = end.value.code, said.out, said.err

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.out)
        return body


RUNS = [ended(1, 500), ended(2, 1_500), ended(3, 60_000, "completed", "other")]
AT = rfc3339(START_MS + 1_000)


def test_it_tells_how_it_stood_at_a_time_and_what_came_then(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = Explained(tmp_path, capsys, RUNS, "failing", "flow=etl", "--at", AT, "--format", "json").body

    assert body["says"] == [
        f"{AT}: inactive since the evaluation of {AT}: does not fire: too little to judge (fewer than 2 runs finished)",
        f"from then until {rfc3339(START_MS + 2_000)} nothing in its window changed",
    ]
    assert [(each["value"], each["samples"]) for each in body["evaluations"]][:2] == [(1.0, 1), (1.0, 2)]


def test_a_time_that_the_clock_has_not_passed_is_said_to_be_none_of_the_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = rfc3339(START_MS + 55_000)
    says = Explained(tmp_path, capsys, RUNS, "failing", "flow=etl", "--at", late, "--format", "json").body["says"]

    assert says[-1].startswith(
        f"what happened after {rfc3339(START_MS + 50_000)} is not judged yet: the clock stands at "
    )


def test_a_key_that_nothing_was_heard_of_is_answered_by_what_events_were_refused_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Explained(tmp_path, capsys, RUNS, "failing", "flow=elt").out

    assert "does not fire: nothing of this key had been in a window" in out
    assert "3 events: its key is another" in out
    assert "keys of this rule that were evaluated: flow=etl\n" in out  # the other one is not judged yet


def test_single_events_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = Explained(tmp_path, capsys, RUNS, "each").out

    assert "each event that matches is an incident of its own, told at once" in out
    assert out.count("the event happened") == len(RUNS)


def test_the_firings_of_a_trigger_are_told_with_what_their_keys_have_beside_the_one_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Explained(tmp_path, capsys, [happened(1, 100), happened(2, 60_000, "s", "b")], "quiet").out

    assert "fired 5 times until then" in out
    assert "  resource.id=r event_id=" in out
    assert "does not look at" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gone",), "tenant default has no rule 'gone'; there are each, failing, quiet"),
        (("quiet", "resource.id=r"), "KEY: the rule 'quiet' takes no key: one window is of all its keys"),
        (("failing",), "KEY: the rule 'failing' takes flow=…"),
        (("failing", "etl"), "KEY: expected FIELD=VALUE, once for each field, got 'etl'"),
        (("failing", "run=etl"), "KEY: the rule 'failing' takes flow=…"),
        (("each", "flow=etl"), "KEY: the rule 'each' takes no key: it has no `for_each`"),
    ],
)
def test_a_rule_or_key_that_there_cannot_be_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    explained = Explained(tmp_path, capsys, RUNS, *arguments)

    assert (explained.code, said in explained.err) == (2, True)


def test_a_key_value_may_hold_an_equals_sign() -> None:
    assert key_of(rule(), "acme", ["flow=a=b"]) == ("acme", "a=b")


def test_of_many_rules_a_few_are_named() -> None:
    many = ", ".join(f"{{name: r{number}, when: {{event: {{}}}}}}" for number in range(KEYS_SHOWN_MAX + 1))

    with pytest.raises(BadInput, match="r4, …"):
        rule_named(parse_rules("rules.yaml", f"rules: [{many}]"), "gone", "acme")
