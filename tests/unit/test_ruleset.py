"""Rule files: the exact message of each mistake in tests/golden/rules/, and what a good file means."""

import os
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from flowgauge.processors.rule_view import RuleView
from flowgauge.processors.ruleset import RuleSet, load_rules, parse_rules, rules_from_sources
from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import told_lanes
from flowgauge.schemas.times import EPOCH
from flowgauge.transport.yaml_files import yaml_files

MISTAKES = sorted((Path(__file__).parents[1] / "golden" / "rules").glob("*.yaml"))
UPDATES = os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1"


def parse(text: str) -> RuleSet:
    return parse_rules("rules.yaml", text)


def one(fields: str) -> str:
    return f"rules:\n  - name: one\n    when: {{event: {{}}}}\n{fields}"


def event(**fields: object) -> Event:
    base = {"id": UUID(int=1), "tenant": "acme", "occurred": EPOCH, "event": "x", "resource": {"id": "r"}}
    return msgspec.convert(base | fields, Event)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda path: path.stem)
def test_each_mistake_is_told_with_its_place_and_remedy(mistake: Path) -> None:
    with pytest.raises(InvalidRules) as refused:
        load_rules([mistake])

    told = f"{refused.value}\n".replace(str(mistake), mistake.name)
    if UPDATES:
        mistake.with_suffix(".txt").write_text(told)
    assert told == mistake.with_suffix(".txt").read_text()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda path: path.stem)
def test_each_problem_names_file_and_line(mistake: Path) -> None:
    with pytest.raises(InvalidRules) as refused:
        load_rules([mistake])

    lines = mistake.read_text().count("\n") + 1
    assert all(problem.file == str(mistake) and 1 <= problem.line <= lines for problem in refused.value.problems)


def test_mistakes_of_every_file_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules: 1")
    (tmp_path / "b.yml").write_text("rules: {}\nmore: 1")
    (tmp_path / "c.txt").write_text("not looked at")

    with pytest.raises(InvalidRules) as refused:
        load_rules([tmp_path, tmp_path / "missing.yaml"])

    assert [(Path(item.file).name, item.field) for item in refused.value.problems] == [
        ("missing.yaml", ""),
        ("a.yaml", "rules"),
        ("b.yml", "more"),
        ("b.yml", "rules"),
    ]


def test_a_file_that_is_no_utf8_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"rules: [\xff]")

    with pytest.raises(InvalidRules, match="name a readable UTF-8 YAML file"):
        load_rules([tmp_path])


def test_a_name_may_stand_once_per_tenant_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(one(""))
    (tmp_path / "b.yaml").write_text(one("    tenant: acme\n"))
    assert len(load_rules([tmp_path]).rules) == 2

    (tmp_path / "c.yaml").write_text(one(""))
    with pytest.raises(InvalidRules, match=r"a second rule 'one', the first is at .*a\.yaml:2"):
        load_rules([tmp_path])


def test_folders_give_their_files_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.txt"):
        (tmp_path / name).touch()

    assert [path.name for path in yaml_files([tmp_path])] == ["a.yaml", "b.yml"]


@pytest.mark.parametrize("text", ["", "rules:", "rules: []", "channels: []"])
def test_a_file_without_rules_is_an_empty_rule_set(text: str) -> None:
    if text:
        assert parse(text) == RuleSet()
    else:
        with pytest.raises(InvalidRules, match="write rules: and a list below it"):
            parse(text)


def test_shares_may_be_written_as_percent_or_number() -> None:
    percent, number = (
        parse(f"rules: [{{name: one, when: {{failure_rate: {{above: {above}, within: 1m}}}}}}]").rules[0].kind
        for above in ("20%", "0.2")
    )

    assert percent == number


def test_what_the_log_keeps_of_a_rule_set_means_the_same() -> None:
    ruleset = parse(one("    match: {flow: [orders-*, '!orders-1'], run: 12345678901234567}\n    for: 0s\n"))
    stored = msgspec.json.decode(msgspec.json.encode([rule.source for rule in ruleset.rules]))

    kept = rules_from_sources(stored, 3)

    assert kept.version == 3
    assert [rule.uid for rule in kept.rules] == [rule.uid for rule in ruleset.rules]
    assert kept.content_id() == ruleset.content_id()
    assert kept.rules[0].rule == ruleset.rules[0].rule


def test_the_same_rule_in_other_words_keeps_its_uid() -> None:
    head = "rules:\n  - {name: a, "
    words = [
        head + "match: {flow: x}, when: {failure_rate: {above: 20%, within: 10m}}}",
        head + "match: {kind: flow-run, flow: [x]}, for: 0s, when: {failure_rate: {within: 600s, above: 0.2}}}",
        head + "match: {flow: x}, no_data: hold, when: {failure_rate: {above: 0.2, within: 10m, min_samples: 5}}}",
    ]
    other = head + "match: {flow: x}, when: {failure_rate: {above: 21%, within: 10m}}}"

    assert len({parse(text).rules[0].uid for text in words}) == 1
    assert parse(other).rules[0].uid != parse(words[0]).rules[0].uid


def test_the_meaning_of_a_rule_is_its_uid_and_how_people_are_told_is_not_in_it() -> None:
    plain = parse(one("")).rules[0].uid

    told = "severity: critical", "labels: {a: b}", "summary: x", "runbook: https://wiki.example/x", "notify: [y]"
    assert parse(one("".join(f"    {field}\n" for field in told))).rules[0].uid == plain
    assert parse(one("    for_each: [flow]\n")).rules[0].uid != plain
    assert parse(one("    tenant: acme\n")).rules[0].uid != plain


def test_a_tenants_rule_hides_the_shared_rule_of_its_name() -> None:
    text = "rules:\n" + "".join(
        f"  - {{name: {name}, tenant: '{tenant}', when: {{event: {{}}}}}}\n"
        for name, tenant in (("one", "*"), ("two", "*"), ("one", "acme"), ("three", "beta"))
    )

    ruleset = parse(text)
    view = RuleView(ruleset)

    def seen_by(tenant: str) -> list[tuple[str, str]]:
        return [(item.rule.name, item.rule.tenant) for item in ruleset.rules if view.sees(item.uid, tenant)]

    assert seen_by("acme") == [("two", "*"), ("one", "acme")]
    assert seen_by("other") == [("one", "*"), ("two", "*")]


def test_an_event_without_a_group_value_is_skipped_unless_it_shares() -> None:
    skip = parse(one("    for_each: [flow, resource.env]\n")).rules[0]
    share = parse(one("    for_each: [flow, resource.env]\n    missing_key: share\n")).rules[0]

    assert skip.key_of(event(flow="orders")) is None
    assert share.key_of(event(flow="orders")) == ("acme", "orders", "")
    assert skip.key_of(event(flow="orders", resource={"id": "r", "env": "prod"})) == ("acme", "orders", "prod")


def test_a_group_value_that_is_no_name_counts_as_missing() -> None:
    """A label may hold up to the size of an event; a key must fit the state's records."""
    rule = parse(one("    for_each: [resource.env]\n")).rules[0]

    assert rule.key_of(event(resource={"id": "r", "env": "x" * 1_024})) is not None
    assert rule.key_of(event(resource={"id": "r", "env": "x" * 1_025})) is None


def test_run_rules_look_at_flow_runs_unless_told_otherwise() -> None:
    when = "when: {failure_rate: {above: 20%, within: 10m}}"
    rule = parse(f"rules: [{{name: one, {when}}}]").rules[0]
    tasks = parse(f"rules: [{{name: one, match: {{kind: task-run}}, {when}}}]").rules[0]

    assert rule.could_match("x", "flow-run", "failed")
    assert not rule.could_match("x", "task-run", "failed")
    assert tasks.could_match("x", "task-run", "failed")
    assert not rule.could_match("x", "flow-run", "running")
    assert not rule.could_match("x", "flow-run", None)


def test_an_action_is_named_alone_or_with_the_states_that_it_is_run_in() -> None:
    ruleset = parse(one("    notify: [ops]\n    actions: [restart, {run: tidy, on: [no_data, resolved]}]\n"))
    (rule,) = (each.rule for each in ruleset.rules)

    assert ruleset.warnings == ()
    assert {state: told_lanes(rule, state) for state in ("pending", "firing", "no_data", "resolved")} == {
        "pending": ["ops"],
        "firing": ["ops", "action:restart"],
        "no_data": ["ops", "action:tidy"],
        "resolved": ["ops", "action:tidy"],
    }


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ("above: 20%", "5 finished runs"),
        ("above: 20%, min_samples: 1", "1 finished run"),
        ("above: 80%", "16 finished runs"),
        ("above: 99%", "381 finished runs"),
    ],
)
def test_a_guarded_rate_is_noted_with_the_smallest_count_that_can_fire(fields: str, count: str) -> None:
    found = parse(f"rules:\n  - name: one\n    when: {{failure_rate: {{{fields}, within: 1m, guard: wilson}}}}\n")

    assert found.warnings == ()
    assert [(note.field, note.message) for note in found.notes] == [
        ("rules[0].when.failure_rate.guard", f"fewer than {count} in the window can never make it fire")
    ]


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(InvalidRules, match="20001 rules, at most 20000 are carried"):
        rules_from_sources([{"name": str(number), "when": {"event": {}}} for number in range(20_001)], 1)


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ("{{ flwo }} failed", "the name `flwo` is always empty here (did you mean `flow`?)"),
        ("{{ resource.evn|upper }}", "the name `resource.evn` is always empty here (did you mean `resource.env`?)"),
        (
            "{{ related['work-pol'].name }}",
            "the name `related.work-pol.name` is always empty here (did you mean `related['work-pool'].name`?)",
        ),
        ("{{ labels['tem'] }}", "the name `labels.tem` is always empty here (did you mean `labels.team`?)"),
        ("{% if nonsense %}x{% endif %}", "the name `nonsense` is always empty here (there are event_id, flow, key, "),
    ],
)
def test_a_name_that_a_summary_never_has_is_a_warning_at_its_place(summary: str, says: str) -> None:
    by = "flow, resource.env, related.work-pool.name"
    fields = f'    for_each: [{by}]\n    labels: {{team: data}}\n    summary: "{summary}"\n'

    (warning,) = parse(one(fields)).warnings

    assert str(warning).startswith(f"rules.yaml:6:5: rules[0].summary: {says}")


def test_every_name_that_a_summary_has_is_known() -> None:
    names = "rule tenant key labels severity state reason value threshold samples late_samples window_ms runs event_id"
    used = " ".join(
        f"{{{{ {name} }}}}" for name in (*names.split(), "flow", "resource.env", "labels.team", "key['flow']")
    )
    fields = f'    for_each: [flow, resource.env]\n    labels: {{team: data}}\n    summary: "{used}"\n'

    assert parse(one(fields)).warnings == ()
