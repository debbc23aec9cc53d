"""The kinds `all_of` and `any_of`: when conditions hold together, and what makes such a rule another."""

from pathlib import Path
from uuid import UUID

import pytest
from tests.property.detection import START_MS, Happening, Line, event_at, records, rules

from flowgauge.processors.kinds import Compound
from flowgauge.processors.rule_test import run_rule_test
from flowgauge.processors.ruleset import CompiledRule, RuleSet, parse_rules

RULES = """
rules:
  - name: failing
    match: {flow: "etl*"}
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 2}}
    no_data: resolve
  - name: silent
    match: {event: worker.heartbeat}
    for_each: [flow]
    when: {absence: {after: 30s}}
  - name: outage
    for_each: [flow]
    when: {all_of: {conditions: [failing, silent]}}
  - name: trouble
    for_each: [flow]
    when: {any_of: {conditions: [failing, silent]}}
  - name: crashed while failing
    for_each: [flow]
    when: {all_of: {within: 2m, conditions: [failing, {match: {state: crashed}, when: {event: {}}}]}}
"""


def by_name(ruleset: RuleSet) -> dict[str, CompiledRule]:
    return {item.name: item for item in ruleset.rules}


def changed(old: str, new: str) -> dict[str, CompiledRule]:
    assert RULES.count(old) >= 1
    return by_name(parse_rules("rules.yaml", RULES.replace(old, new, 1)))


def test_conditions_come_together_for_one_key(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    story = tmp_path / "story.yaml"
    story.write_text("""
rules: [rules.yaml]
until: 5m
events:
  - {at: 1s, event: worker.heartbeat, kind: worker, flow: etl-a}
  - {at: 2s, event: worker.heartbeat, kind: worker, flow: etl-b, times: 300}
  - {at: 20s, flow: etl-a, state: failed, times: 2}
  - {at: 20s, flow: etl-b, state: failed, times: 2}
  - {at: 1m40s, flow: etl-a, state: crashed}
  - {at: 1m40s, flow: other, state: crashed}
expect:
  - {at: 22s, rule: failing, key: {flow: etl-a}, to: firing}
  - {at: 22s, rule: failing, key: {flow: etl-b}, to: firing}
  - {at: 22s, rule: trouble, key: {flow: etl-a}, to: firing, value: 1, reason: "1 of 2 conditions hold: failing"}
  - {at: 22s, rule: trouble, key: {flow: etl-b}, to: firing, samples: 2}
  - {at: 32s, rule: silent, key: {flow: etl-a}, to: firing}
  - {at: 32s, rule: outage, key: {flow: etl-a}, to: firing, value: 2, samples: 3,
     reason: "2 of 2 conditions hold: failing, silent"}
  - {at: 1m22s, rule: failing, key: {flow: etl-a}, to: resolved}
  - {at: 1m22s, rule: failing, key: {flow: etl-b}, to: resolved}
  - {at: 1m22s, rule: outage, key: {flow: etl-a}, to: resolved, value: 1, reason: "1 of 2 conditions hold: silent"}
  - {at: 1m22s, rule: trouble, key: {flow: etl-b}, to: resolved, value: 0, reason: no condition holds}
  - {at: 1m41s, rule: crashed while failing, key: {flow: etl-a}, to: firing, value: 2}
  - {at: 3m22s, rule: crashed while failing, key: {flow: etl-a}, to: resolved}
""")

    assert list(run_rule_test(story).lines()) == []


def test_of_the_conditions_that_hold_the_first_runs_are_shown_once() -> None:
    ruleset = rules("""
rules:
  - name: both
    when:
      all_of:
        conditions:
          - {match: {state: failed}, when: {event: {times: 1, within: 1m}}}
          - {when: {failure_rate: {above: 0%, within: 1m, min_samples: 1}}}
""")
    line = Line(ruleset)
    failed = [event_at(UUID(int=number), 1_000 * number, "failed") for number in (2, 1)]
    happened = [Happening(START_MS + 1_000 * each.id.int, START_MS + 3_000, each) for each in failed]

    line.feed(0, records(happened))
    (*_, last) = [item for item in line.end(START_MS + 20_000) if item.to_state == "firing"]

    assert [run.event_id for run in last.examples] == [str(UUID(int=2))]  # the first pane in which both hold
    assert (last.value, last.threshold, last.samples) == (2.0, 2.0, 2)  # one for each condition


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("above: 50%", "above: 0.5"),
        ("    no_data: resolve", "    no_data: resolve\n    severity: critical\n    summary: x"),
        ("within: 2m", "within: 120s"),
    ],
)
def test_how_a_condition_is_written_and_told_is_no_other_rule(old: str, new: str) -> None:
    before, after = by_name(parse_rules("rules.yaml", RULES)), changed(old, new)

    assert {name: item.uid for name, item in before.items()} == {name: item.uid for name, item in after.items()}


def test_a_rule_that_becomes_another_makes_another_of_each_that_names_it() -> None:
    before, after = by_name(parse_rules("rules.yaml", RULES)), changed("above: 50%", "above: 60%")

    other = {name for name, item in before.items() if item.uid != after[name].uid}
    assert other == {"failing", "outage", "trouble", "crashed while failing"}


def test_a_rule_of_the_tenant_is_meant_before_one_of_all_tenants() -> None:
    ruleset = parse_rules(
        "rules.yaml",
        """
rules:
  - {name: failing, when: {failure_rate: {above: 50%, within: 1m}}}
  - {name: failing, tenant: acme, when: {failure_rate: {above: 10%, within: 1m}}}
  - {name: late, when: {late: {after: 1m}}}
  - {name: both, when: {all_of: {conditions: [failing, late]}}}
  - {name: both, tenant: acme, when: {all_of: {conditions: [failing, late]}}}
""",
    )

    uids = [item.uid for item in ruleset.rules]
    kinds = [item.kind for item in ruleset.rules if isinstance(item.kind, Compound)]
    assert [[uids.index(part.condition.uid) for part in kind.parts] for kind in kinds] == [[0, 2], [1, 2]]


def test_only_events_that_a_condition_could_match_are_read() -> None:
    outage = by_name(parse_rules("rules.yaml", RULES))["outage"]

    assert outage.could_match("x", "flow-run", "failed")
    assert outage.could_match("worker.heartbeat", "worker", None)
    assert not outage.could_match("x", "flow-run", "running")
    assert not outage.could_match("log.write", "log", None)


def test_panes_end_where_those_of_every_condition_end() -> None:
    (rule,) = parse_rules(
        "rules.yaml",
        """
rules:
  - name: both
    when:
      all_of:
        conditions:
          - {when: {failure_rate: {above: 50%, within: 250s}}}
          - {when: {late: {after: 1m, within: 10m}}}
""",
    ).rules

    assert isinstance(rule.kind, Compound)
    assert [part.kind.pane_ms for part in rule.kind.parts] == [2_500, 5_000]
    assert rule.pane_ms == 2_500
