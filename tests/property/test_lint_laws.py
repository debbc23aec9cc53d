"""Laws of lint: a check that says never, always or twice is right for every event there could be."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.processors.kinds.failure_rate import FailureRate
from flowgauge.processors.lint import Finding, lint
from flowgauge.processors.reading import Verdict
from flowgauge.processors.ruleset import CompiledRule, rules_of
from flowgauge.processors.selector import text_test
from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.event import STATES
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.yaml_places import Document

TEXTS = ["".join(letters) for length in range(4) for letters in product("ab", repeat=length)]
ENDS = ("completed", "failed", "crashed", "cancelled")

globs = st.text("ab*?", min_size=1, max_size=3) | st.sampled_from(["[a]", "[ab]*", "[!a]", "*[b]"])
patterns = st.lists(st.builds("{}{}".format, st.sampled_from(["", "!"]), globs), min_size=1, max_size=4)
states = st.lists(st.sampled_from([*ENDS, *(f"!{state}" for state in ENDS), "*", "c*"]), min_size=1, max_size=3)


def found(*rules: Mapping[str, Any]) -> tuple[list[Finding], tuple[CompiledRule, ...]]:
    document = Document("rules.yaml", {"rules": list(rules)}, {})
    ruleset = rules_of([document])
    return lint([document], ruleset), ruleset.rules


def checks_of(rule: Mapping[str, Any]) -> set[str]:
    return {finding.check for finding in found({"name": "one", **rule})[0]}


@given(patterns)
def test_patterns_that_are_said_to_exclude_each_other_match_no_text(written: list[str]) -> None:
    checks = checks_of({"match": {"flow": written}, "when": {"event": {"times": 3, "within": "10m"}}})

    if "never-matches" in checks:
        assert not any(map(text_test(written), TEXTS))


@given(st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=3), patterns)
def test_plain_names_that_no_text_matches_are_always_told(names: list[str], more: list[str]) -> None:
    written = [*names, *(pattern for pattern in more if pattern.startswith("!"))]
    checks = checks_of({"match": {"flow": written}, "when": {"event": {"times": 3, "within": "10m"}}})

    assert ("never-matches" in checks) == (not any(map(text_test(written), names)))


@given(st.integers(1, 99), st.integers(1, 30))
def test_a_single_failure_is_told_where_one_makes_the_window_breach(percent: int, min_samples: int) -> None:
    fields = {"above": f"{percent}%", "within": "10s", "min_samples": min_samples}
    window = FailureRate.model_validate(fields).new_window()
    outcomes = ["failed", *["finished"] * (min_samples - 1)]
    window.add(1_000, [Sample(0, 0, 0, ("t",), n, outcome, f"{n:02}") for n, outcome in enumerate(outcomes)])

    is_breach = window.read(1_000).verdict is Verdict.BREACH

    assert ("single-failure" in checks_of({"when": {"failure_rate": fields}})) == is_breach


@given(st.none() | states, st.sets(st.sampled_from(ENDS)), st.sets(st.sampled_from(ENDS)))
def test_what_ends_of_runs_can_be_seen_decides_what_is_said_of_them(
    match: list[str] | None, failures: set[str], others: set[str]
) -> None:
    fields = {"above": "50%", "within": "10m", "failures": sorted(failures), "finished": sorted(failures | others)}
    rule = {"name": "one", "match": {} if match is None else {"state": match}, "when": {"failure_rate": fields}}
    try:
        findings, (compiled,) = found(rule)
    except InvalidRules:
        return  # it could see no end at all, which is a mistake

    seen = {state for state in STATES if compiled.could_match("x", "flow-run", state)}
    checks = {finding.check for finding in findings}
    assert ("cannot-fire" in checks) == (not seen & failures)
    assert ("only-failures" in checks) == bool(seen & failures and seen <= failures)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["*", "acme", "beta"]), st.sampled_from(["5m", "300s", "6m"])),
        unique_by=lambda each: each[:2],
        max_size=6,
    )
)
def test_a_rule_is_a_duplicate_where_one_before_of_another_name_tells_the_same_tenant(
    written: list[tuple[str, str, str]],
) -> None:
    rules = [{"name": name, "tenant": tenant, "when": {"late": {"after": after}}} for name, tenant, after in written]

    findings, _ = found(*rules)

    expected = [
        f"rules[{index}].name"
        for index, (name, tenant, after) in enumerate(written)
        if any(
            name != other and ("*" in {tenant, whose} or tenant == whose) and (after == "6m") == (at == "6m")
            for other, whose, at in written[:index]
        )
    ]
    assert [finding.problem.field for finding in findings if finding.check == "duplicate"] == expected
