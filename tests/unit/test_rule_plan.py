"""The plan of a change of rules: what becomes of each, as the detector then does it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.main import main
from flowgauge.processors.rule_fate import Fate
from flowgauge.processors.rule_fields import fields_of
from flowgauge.processors.rule_plan import FieldChange, Planned, plan
from flowgauge.processors.ruleset import RuleSet, parse_rules

FAILING = "{name: failing, for_each: [flow], when: {failure_rate: {above: 20%, within: 10m}}}"


def rules(*texts: str) -> RuleSet:
    return parse_rules("rules.yaml", f"rules: [{', '.join(texts)}]")


def said(before: RuleSet, after: RuleSet) -> list[tuple[str, str, str, Fate | None]]:
    return [(each.what, each.rule, each.tenant, each.fate) for each in plan(before, after)]


def test_a_rule_that_is_written_otherwise_and_means_the_same_is_unchanged() -> None:
    same = FAILING.replace("20%", "0.2").replace("10m", "600s").replace("when", "no_data: hold, when")

    assert said(rules(FAILING), rules(same)) == [("unchanged", "failing", "*", Fate.KEPT)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (FAILING.replace("20%", "30%"), ("changed", Fate.CARRIED_ON)),
        (FAILING.replace("when", "for: 1m, when"), ("changed", Fate.CARRIED_ON)),
        (FAILING.replace("[flow]", "[run]"), ("changed", Fate.ENDED)),
        ("{name: failing, for_each: [flow], when: {event: {}}}", ("changed", Fate.ENDED)),
        (FAILING.replace("when", "severity: critical, when"), ("changed", Fate.KEPT)),
    ],
)
def test_a_change_carries_incidents_on_where_the_keys_stay_and_windows_where_the_meaning_does(
    after: str, expected: tuple[str, Fate]
) -> None:
    assert said(rules(FAILING), rules(after)) == [(expected[0], "failing", "*", expected[1])]


def test_what_comes_and_what_goes_is_told_after_what_stays_in_the_order_of_the_new_set() -> None:
    new, gone = FAILING.replace("failing", "new"), FAILING.replace("failing", "gone")

    assert said(rules(gone, FAILING), rules(new, FAILING)) == [
        ("new", "new", "*", None),
        ("unchanged", "failing", "*", Fate.KEPT),
        ("removed", "gone", "*", Fate.REMOVED),
    ]


def test_a_tenants_own_rule_takes_over_from_the_one_for_all_and_gives_it_back() -> None:
    own = FAILING.replace("for_each", "tenant: acme, for_each").replace("20%", "50%")
    both, one = rules(FAILING, own), rules(FAILING)

    assert said(one, both) == [
        ("unchanged", "failing", "*", Fate.KEPT),
        ("changed", "failing", "acme", Fate.CARRIED_ON),
    ]
    assert said(both, one) == said(one, both)


def test_the_fields_that_change_are_told_as_people_write_them() -> None:
    (planned,) = plan(rules(FAILING), rules(FAILING.replace("20%", "12.5%").replace("10m", "1h")))

    assert planned.fields == (
        FieldChange("when.failure_rate.above", "20%", "12.5%"),
        FieldChange("when.failure_rate.within", "10m", "1h"),
        FieldChange("(judged)", "every 5s", "every 30s"),
    )


def test_a_compound_tells_which_condition_changes_and_which_of_its_fields() -> None:
    failing = FAILING.replace("failing", "a")
    crashed = "{match: {event: crashed}, when: {event: {times: 2, within: 1m}}}"
    both = f"{{name: both, for_each: [flow], when: {{all_of: {{conditions: [a, {crashed}]}}}}}}"

    own, named = (
        plan(rules(failing, both), after)[1]
        for after in (
            rules(failing, both.replace("times: 2", "times: 3")),
            rules(failing.replace("20%", "30%"), both),
        )
    )

    assert own.fields == (FieldChange("when.all_of.conditions[1].when.event.times", "2", "3"),)
    assert (named.what, named.fields) == (
        "changed",
        (FieldChange("when.all_of.conditions[0].when.failure_rate.above", "20%", "30%"),),
    )


def test_another_condition_is_told_by_its_name() -> None:
    two = (FAILING.replace("failing", "a"), FAILING.replace("failing", "b"))
    either = "{name: either, for_each: [flow], when: {any_of: {conditions: [a, b]}}}"
    three = (*two, FAILING.replace("failing", "c"))

    planned = plan(rules(*three, either), rules(*three, either.replace("[a, b]", "[a, c]")))[3]

    assert planned.fields == (FieldChange("when.any_of.conditions[1]", "the rule b", "the rule c"),)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (FAILING, "keeps its state"),
        (
            FAILING.replace("when", "severity: error, when"),
            "keeps its state; an open incident is told so from its next transition on",
        ),
        (FAILING.replace("20%", "30%"), "its windows begin empty; {} go on under the same id"),
        (FAILING.replace("[flow]", "[run]"), "its windows begin empty; resolves {}"),
        ("", "resolves {}"),
    ],
)
def test_what_becomes_of_open_incidents_is_counted_where_somebody_knows_them(after: str, said: str) -> None:
    new = rules(*[after] * bool(after))

    (unknown,) = plan(rules(FAILING), new)
    (known,) = plan(rules(FAILING), new, {("failing", "acme"): 2, ("failing", "beta"): 1, ("other", "acme"): 9})

    assert unknown.effect == said.format("open incidents")
    assert known.effect == said.format("3 open incidents")


def test_open_incidents_of_a_tenant_are_its_own_rules_where_it_has_one() -> None:
    own = FAILING.replace("for_each", "tenant: acme, for_each").replace("20%", "50%")

    found = plan(rules(FAILING), rules(FAILING, own), {("failing", "acme"): 2, ("failing", "beta"): 1})

    assert [(each.tenant, each.open_incidents) for each in found] == [("*", 1), ("acme", 2)]


NESTED = """
- {name: burn, for_each: [flow], when: {burn_rate: {objective: 99.9%, pairs: [{above: 6, within: 6h}]}}}
- {name: order, for_each: [flow], when: {sequence: {steps: [{event: a}, {event: [b, c]}], within: 5m}}}
- {name: slot, for_each: [flow], when: {missed: {every: 1h, anchor: 2026-01-01T00:00:00Z, grace: 5m}}}
"""


def test_fields_within_fields_are_told_one_by_one_as_people_write_them() -> None:
    burn, order, slot = map(fields_of, parse_rules("rules.yaml", f"rules: {NESTED}").rules)

    assert [burn[f"when.burn_rate.pairs[0].{name}"] for name in ("above", "within", "short")] == ["6", "6h", "30m"]
    assert [order[f"when.sequence.steps[{number}].event"] for number in (0, 1)] == ["a", "[b, c]"]
    assert slot["when.missed.anchor"] == "2026-01-01T00:00:00.000Z"


def test_a_new_rule_tells_every_default() -> None:
    (item,) = rules(FAILING).rules

    fields = fields_of(item)
    assert fields["when.failure_rate.min_samples"] == "5"
    assert fields["when.failure_rate.clear_below"] == "none"
    assert (fields["allowed_lateness"], fields["for"], fields["match.kind"]) == ("10s", "0s", "flow-run")
    (added,) = plan(RuleSet(), rules(FAILING))
    assert {change.field: change.after for change in added.fields} == fields


@given(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")))
def test_each_rule_is_told_once_and_what_is_added_one_way_is_removed_the_other(
    before: set[str], after: set[str], changed: set[str]
) -> None:
    old = rules(*(FAILING.replace("failing", name) for name in sorted(before)))
    new = rules(
        *(
            FAILING.replace("failing", name).replace("20%", "30%" if name in changed else "20%")
            for name in sorted(after)
        )
    )

    found = plan(old, new)

    assert sorted(each.rule for each in found) == sorted(before | after)
    assert of(found, "new") == after - before
    assert of(found, "removed") == before - after == of(plan(new, old), "new")
    assert of(found, "changed") == before & after & changed


def of(found: list[Planned], what: str) -> set[str]:
    return {each.rule for each in found if each.what == what}


def test_the_command_tells_it_as_lines_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.yaml").write_text(f"rules: [{FAILING}]")
    (tmp_path / "new.yaml").write_text(f"rules: [{FAILING.replace('20%', '30%')}]")

    def said_by(*more: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["rules", "plan", str(tmp_path / "new.yaml"), "--against", str(tmp_path / "old.yaml"), *more])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert said_by().splitlines() == [
        "~ failing: changed; its windows begin empty; open incidents go on under the same id",
        "    when.failure_rate.above: 20% → 30%",
        "1 rule: 1 changed",
    ]
    (rule,) = json.loads(said_by("--format", "json"))["rules"]
    assert [rule[name] for name in ("what", "windows", "incidents", "open_incidents")] == [
        "changed",
        "new",
        "kept",
        None,
    ]
    assert rule["fields"] == [{"field": "when.failure_rate.above", "before": "20%", "after": "30%"}]
