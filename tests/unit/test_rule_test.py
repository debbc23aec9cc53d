"""`rules test`: every transition must be expected, and every expected one must come."""

from pathlib import Path

import pytest

from flowgauge.console.main import main
from flowgauge.processors.rule_story import EVENTS_MAX
from flowgauge.processors.rule_test import RuleTestResult, run_rule_test
from flowgauge.schemas.errors import InvalidRules

RULES = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 3}}
    no_data: resolve
  - name: crashed
    match: {state: crashed}
    for_each: [flow]
    when: {event: {}}
  - name: any failing
    match: {flow: none}
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 3}}
"""
ETL = """
  - {at: 10s, flow: etl, state: completed}
  - {at: 20s, flow: etl, state: failed, times: 2, every: 5s}
"""
AS_EXPECTED = """
  - {at: 26s, rule: failing, key: {flow: etl}, to: firing, samples: 3, value: 0.6666667}
  - {at: 1m26s, rule: failing, key: {flow: etl}, to: resolved}
"""


def written(folder: Path, expect: str, *, events: str = ETL, top: str = "until: 5m") -> Path:
    (folder / "rules.yaml").write_text(RULES)
    path = folder / "story.yaml"
    path.write_text(f"rules: [rules.yaml]\n{top}\nevents: {events}\nexpect: {expect}\n")
    return path


def told(result: RuleTestResult, folder: Path) -> list[str]:
    return [line.replace(f"{folder}/", "") for line in result.lines()]


def refused(path: Path) -> list[str]:
    with pytest.raises(InvalidRules) as error:
        run_rule_test(path)
    return str(error.value).replace(f"{path.parent}/", "").splitlines()


# ── what passes ──


def test_a_story_that_goes_as_expected_passes(tmp_path: Path) -> None:
    assert run_rule_test(written(tmp_path, AS_EXPECTED)).has_passed


def test_times_of_the_clock_may_stand_for_durations(tmp_path: Path) -> None:
    events = '[{at: "2026-05-01 00:00:10Z", flow: etl, state: failed, times: 3}]'
    expect = "[{at: 2026-05-01T02:00:13+02:00, rule: failing, to: firing}]"

    assert run_rule_test(written(tmp_path, expect, events=events, top="until: 2026-05-01T00:01:00Z")).has_passed


def test_a_vague_expectation_leaves_the_exact_one_its_transition(tmp_path: Path) -> None:
    events = """
  - {at: 10s, flow: etl, state: crashed, id: 00000000-0000-0000-0000-000000000001}
  - {at: 10s, flow: web, state: crashed, id: 00000000-0000-0000-0000-000000000002}
"""
    expect = """
  - {at: 10s, rule: crashed, to: firing}
  - {at: 10s, rule: crashed, key: {flow: etl}, to: firing}
"""

    assert run_rule_test(written(tmp_path, expect, events=events)).has_passed


# ── what fails ──


def test_one_transition_meets_one_expectation_only(tmp_path: Path) -> None:
    """Once, any number of equal expectations were met by one transition."""
    result = run_rule_test(written(tmp_path, f"{AS_EXPECTED}  - {{at: 26s, rule: failing, to: firing}}\n"))

    assert told(result, tmp_path) == ["story.yaml:10:5: did not come", "  - {at: 26s, rule: failing, to: firing}"]


def test_what_is_missing_stands_beside_what_came_instead(tmp_path: Path) -> None:
    result = run_rule_test(written(tmp_path, "\n  - {at: 30s, rule: failing, to: firing}"))
    numbers = "value: 0.666667, samples: 3"

    assert not result.has_passed
    assert told(result, tmp_path) == [
        "story.yaml:8:5: came with another at",
        "  - {at: 30s, rule: failing, to: firing}",
        f"  + {{at: 26s, rule: failing, key: {{flow: etl}}, to: firing, {numbers}}}  # failure rate above threshold",
        "came and was not expected:",
        "  + {at: 1m26s, rule: failing, key: {flow: etl}, to: resolved}  # no run finished in the window",
    ]


def test_what_came_can_be_copied_into_the_expectations(tmp_path: Path) -> None:
    came = run_rule_test(written(tmp_path, "[]")).unexpected

    again = run_rule_test(written(tmp_path, "".join(f"\n  - {line}" for line in came)))

    assert len(came) == 2
    assert again.has_passed


def test_no_value_is_not_the_value_0(tmp_path: Path) -> None:
    expect = AS_EXPECTED.replace("to: resolved", "to: resolved, value: 0")

    (missing,) = run_rule_test(written(tmp_path, expect)).missing

    assert missing.differs == ("value",)


# ── mistakes in the file ──


@pytest.mark.parametrize(
    ("events", "expect", "problem"),
    [
        (
            "[{at: 1s, state: failed, tmes: 5}]",
            "[]",
            "story.yaml:3:34: events[0].tmes: unknown field (did you mean `times`?)",
        ),
        (
            "[{at: 1s, state: faild}]",
            "[]",
            (
                "story.yaml:3:19: events[0].state: expected 'scheduled', 'late', 'pending', 'running', 'retrying', "
                "'paused', 'cancelling', 'completed', 'failed', 'crashed' or 'cancelled', got 'faild'"
            ),
        ),
        (
            "[{at: 1s, kind: flowrun}]",
            "[]",
            (
                "story.yaml:3:19: events[0].kind: expected 'flow-run', 'task-run', 'log', 'worker', 'asset' or 'other',"
                " got 'flowrun'"
            ),
        ),
        ("[{at: 10}]", "[]", "story.yaml:3:11: events[0].at: the unit is missing: write 10s or 10m"),
        ("[{at: 99999w}]", "[]", "story.yaml:3:11: events[0].at: expected a time between 1970 and 2200"),
        (
            "[{at: 1s, related: [{name: x}]}]",
            "[]",
            (
                "story.yaml:3:10: events[0]: no event that a log takes: related without id or role: "
                "each of `related` needs both labels"
            ),
        ),
        (
            f"[{{at: 1s, times: {EVENTS_MAX}, every: 1ms}}, {{at: 1s}}]",
            "[]",
            "story.yaml:3:1: events: more than 1000000 events, after `times` (make it a file for `flowgauge replay`)",
        ),
        (
            "[]",
            "[{at: soon, rule: failing, to: firing}]",
            (
                "story.yaml:4:11: expect[0].at: expected a duration since `start` such as 90s or 1h30m, "
                "or an RFC 3339 time with a zone, got 'soon'"
            ),
        ),
        (
            "[]",
            "[{at: 1s, rule: failing, too: firing, to: firing}]",
            "story.yaml:4:34: expect[0].too: unknown field (did you mean `to`?)",
        ),
        (
            "[]",
            "[{at: 1s, rule: failing, to: fired}]",
            (
                "story.yaml:4:34: expect[0].to: expected 'inactive', 'pending', 'firing', 'recovering', 'resolved' or "
                "'no_data', got 'fired'"
            ),
        ),
        (
            "[]",
            "[{at: 1s, rule: faling, to: firing}]",
            (
                "story.yaml:4:19: expect[0].rule: no rule is called 'faling' "
                "(rules of this test: failing, crashed, any failing)"
            ),
        ),
        (
            "[]",
            "[{at: 1s, rule: crashed, key: {run: x}, to: firing}]",
            "story.yaml:4:40: expect[0].key.run: not in the keys of this rule (its keys have flow, event_id)",
        ),
        (
            "[]",
            "[{at: 1s, rule: any failing, key: {flow: x}, to: firing}]",
            "story.yaml:4:44: expect[0].key.flow: not in the keys of this rule (it has no `for_each`: leave `key` out)",
        ),
    ],
)
def test_a_mistake_in_the_story_is_told_with_its_place_and_remedy(
    tmp_path: Path, events: str, expect: str, problem: str
) -> None:
    assert refused(written(tmp_path, expect, events=events)) == [problem]


def test_what_lies_after_the_end_of_the_story_is_a_mistake(tmp_path: Path) -> None:
    """Once such a story passed, whatever its rules say."""
    expect = "[{at: 2h, rule: failing, to: firing}]"

    assert refused(written(tmp_path, "[]", events="[{at: 2h, flow: etl, state: failed}]", top="until: 1h")) == [
        "story.yaml:3:10: events[0]: comes after `until`: nothing would see it (write a later `until`, or leave it out)"
    ]
    assert refused(written(tmp_path, expect, events="[{at: 1s, flow: etl, state: failed}]", top="until: 1h")) == [
        "story.yaml:4:11: expect[0].at: is after `until`: nothing is told then (write a later `until`, or leave it out)"
    ]


@pytest.mark.parametrize(
    ("top", "problem"),
    [
        (
            "start: yesterday",
            "story.yaml:2:1: start: expected an RFC 3339 time with a zone, or epoch milliseconds, got 'yesterday'",
        ),
        ("until: 9999w", "story.yaml:2:1: until: expected a time between 1970 and 2200"),
        ("unti: 9m", "story.yaml:2:1: unti: unknown field (did you mean `until`?)"),
    ],
)
def test_a_mistake_at_the_top_of_a_story_is_told_with_its_place(tmp_path: Path, top: str, problem: str) -> None:
    assert refused(written(tmp_path, "[]", top=top)) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            RULES,
            (
                "story.yaml:2:1: this is a file of rules, and no test of them "
                "(write a test that begins with `rules: [story.yaml]`, docs/replay.md shows one)"
            ),
        ),
        (
            "channels: []\n",
            (
                "story.yaml:1:1: this is a file of rules, and no test of them "
                "(write a test that begins with `rules: [story.yaml]`, docs/replay.md shows one)"
            ),
        ),
        (
            f"{RULES}expect: []\n",
            (
                "story.yaml:3:5: rules[0]: expected the name of a rule file, got a rule "
                "(put the rules in a file of their own, and name it here)"
            ),
        ),
        ("- at: 1s\n", "story.yaml:1:1: expected a test of rules (docs/replay.md shows one)"),
        ("", "story.yaml:1:1: expected a test of rules (docs/replay.md shows one)"),
        ("rules: []\n", "story.yaml:1:1: rules: expected a list of at least one, got none (name one)"),
    ],
    ids=["rules", "channels", "rules within", "a list", "nothing", "no file"],
)
def test_a_file_that_is_no_test_gets_one_message_with_the_remedy(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "story.yaml"
    path.write_text(text)

    assert refused(path) == [problem]


# ── the command ──


def test_every_file_is_run_and_the_worst_decides_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[object] = []
    for name, expect in (("good", AS_EXPECTED), ("bad", "[]"), ("broken", "soon")):
        (tmp_path / name).mkdir()
        written(tmp_path / name, expect)
    for names in (("good",), ("bad", "good"), ("broken", "bad", "good")):
        with pytest.raises(SystemExit) as ended:
            main(["rules", "test", *(str(tmp_path / name / "story.yaml") for name in names)])
        codes.append(ended.value.code)

    said = capsys.readouterr()
    assert codes == [0, 1, 2]
    assert said.err == f"{tmp_path}/broken/story.yaml:7:1: expect: expected a list (put it in brackets: [one, two])\n"
    assert said.out.splitlines()[-1] == f"ok   {tmp_path}/good/story.yaml: 2 transitions"
