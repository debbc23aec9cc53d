"""The JSON Schema of rule files: the published copy, what it takes, what it refuses, and that its defaults are true."""

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError
from tests.integration.fenced_blocks import DOCUMENTS, ROOT, blocks

from flowgauge.console.main import main
from flowgauge.console.rule_schema import PUBLISHED, rule_file_schema
from flowgauge.processors.kinds import KINDS
from flowgauge.processors.ruleset import rules_of
from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.rule import DURATION_MAX_MS, DurationMs, Rule, Share
from flowgauge.schemas.times import parse_duration_ms
from flowgauge.schemas.yaml_places import Document, read_yaml

COPY = ROOT / "docs" / "rules.schema.json"
GOLDEN = ROOT / "tests" / "golden"
UPDATES = os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1"
SCHEMA = rule_file_schema()


def validator(schema: object) -> Any:
    """Return a validator that takes whatever YAML holds; its stubs take JSON alone."""
    return Draft202012Validator(cast("Any", schema))


VALIDATOR = validator(SCHEMA)

# Mistakes that a schema of single fields cannot see: they hang on others, on order, on size, or on the summary's words.
BEYOND = {
    "absence_no_data", "action_twice", "absence_of_a_year", "absence_of_nothing", "absence_of_tasks", "broken_summary",
    "burn_failures_not_finished", "burn_of_everything", "burn_of_failures_alone", "burn_pair_twice",
    "burn_that_never_fires", "burn_windows_wrong", "burn_without_common_step", "burn_without_failures",
    "change_does_not_fit_a_week", "change_more_weeks_than_there_are", "change_no_data", "change_no_data_of_a_count",
    "change_of_each_run", "change_of_times_of_a_state", "change_too_short_for_weeks", "change_trailing_in_parts",
    "change_trailing_too_many", "change_trailing_too_short", "change_within_too_long",
    "clear_below_0", "clear_below_over_above",
    "compound_names", "compound_nesting", "compound_of_prefect", "duration_clear_over_above",
    "duration_finished_by_running", "duration_no_data", "duration_of_a_state", "duration_of_nothing",
    "duration_of_tasks", "duration_quantile_of_a_run", "duration_quantile_of_none",
    "duration_within_and_no_quantile", "failures_not_finished", "for_on_immediate", "missed_anchor_of_cron",
    "missed_anchor_without_zone", "missed_completes_before_grace", "missed_if_failed_alone", "missed_never_fires",
    "missed_no_data", "missed_of_runs", "missed_two_schedules", "missed_without_completion",
    "missed_without_dialect", "missed_without_schedule", "missed_without_starts",
    "missed_seconds_first", "name_twice", "notify_of_an_action", "prefect_outside",
    "prefect_too_short", "row_failures_not_finished", "row_of_a_year", "row_of_single_runs",
    "row_that_never_begins", "row_that_never_ends", "row_without_window_no_data", "sequence_no_data",
    "state_in_late", "state_not_finished", "summary_with_a_loop",
    "threshold_100", "window_0", "window_year",
}  # fmt: skip


def is_accepted(data: object) -> bool:
    return not any(VALIDATOR.iter_errors(data))


def examples() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file of rules that people may copy, and of lint's."""
    for document in DOCUMENTS:
        for block in blocks(document, "yaml"):
            data = read_yaml(str(block), block.text).data
            if data.keys() <= {"rules", "channels", "actions"}:
                yield str(block), block.text
    for folder in ("compose/rules", "console/flowgauge/console/demo", "tests/golden/lint"):
        for file in sorted((ROOT / folder).glob("*.yaml")):
            yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def readable_mistakes() -> Iterator[tuple[str, object]]:
    """Yield the name and the data of each mistake that is YAML at all."""
    for file in sorted((GOLDEN / "rules").glob("*.yaml")):
        try:
            yield file.stem, read_yaml(file.name, file.read_text(encoding="utf-8")).data
        except InvalidRules:
            continue


def test_the_command_prints_the_published_copy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rules", "schema"])

    printed = capsys.readouterr().out
    if UPDATES:
        COPY.write_text(printed, encoding="utf-8")
    assert ended.value.code == 0
    assert printed == COPY.read_text(encoding="utf-8")


def test_it_is_a_schema_of_the_draft_that_it_names_and_documents_say_where_it_is() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert f"# yaml-language-server: $schema={PUBLISHED}\n" in (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "text"), [pytest.param(*example, id=example[0]) for example in examples()])
def test_every_example_is_accepted(name: str, text: str) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(read_yaml(name, text).data)]

    assert errors == []


def test_every_mistake_that_a_schema_can_see_is_refused() -> None:
    accepted = {name for name, data in readable_mistakes() if is_accepted(data)}

    assert accepted == BEYOND


def test_a_time_is_written_as_a_text() -> None:
    missed = {"every": "1d", "anchor": "2026-11-30T02:00:00Z", "grace": "10m"}

    assert is_accepted({"rules": [{"name": "nightly", "for_each": ["flow"], "when": {"missed": missed}}]})


def test_fields_and_kinds_are_those_that_are_read() -> None:
    defs: dict[str, Any] = SCHEMA["$defs"]
    when = defs["Rule"]["properties"]["when"]["properties"]

    assert list(defs["Rule"]["properties"]) == [field.alias or name for name, field in Rule.model_fields.items()]
    assert list(when) == list(KINDS)
    for name, kind in KINDS.items():
        described = defs[when[name]["$ref"].rpartition("/")[2]]
        assert list(described["properties"]) == list(kind.model_fields)
        assert described["additionalProperties"] is False
        assert described["description"].startswith(f"{name}: fires ")


def test_every_default_is_written_as_people_write_it() -> None:
    for name, definition in SCHEMA["$defs"].items():
        for field, form in definition["properties"].items():
            if "default" in form:
                found = validator({**form, "$defs": SCHEMA["$defs"]}).iter_errors
                assert list(found(form["default"])) == [], f"{name}.{field}"


def test_every_field_of_a_rule_is_described() -> None:
    rule = SCHEMA["$defs"]["Rule"]["properties"]

    assert [name for name, form in rule.items() if not form.get("description", "").endswith(".")] == []


def reads(annotation: Any) -> Callable[[object], bool]:
    adapter = TypeAdapter[Any](annotation)

    def is_read(written: object) -> bool:
        try:
            adapter.validate_python(written)
        except ValidationError:
            return False
        return True

    return is_read


@pytest.mark.parametrize("written", ["2", "two", True, 2.5, 0])
def test_a_count_that_is_no_number_from_1_on_is_wrong_in_the_editor_and_to_rules_validate(written: object) -> None:
    rule = {"name": "a", "when": {"event": {"times": written, "within": "10m"}}}

    assert not is_accepted({"rules": [rule]})
    with pytest.raises(InvalidRules):
        rules_of([Document("rules.yaml", {"rules": [rule]}, {})])


@pytest.mark.parametrize(("kind", "field", "most"), [("sequence", "steps", 5), ("all_of", "conditions", 8)])
def test_as_many_steps_and_conditions_are_right_in_the_editor_as_are_read(kind: str, field: str, most: int) -> None:
    def rule(count: int) -> dict[str, Any]:
        one = {"event": "e"} if field == "steps" else {"when": {"late": {"after": "5m"}}}
        within = {"within": "1h"}
        return {"name": "a", "for_each": ["flow"], "when": {kind: {field: [one] * count, **within}}}

    def is_read(count: int) -> bool:
        try:
            rules_of([Document("rules.yaml", {"rules": [rule(count)]}, {})])
        except InvalidRules:
            return False
        return True

    counts = range(most + 3)
    assert [count for count in counts if is_read(count)] == [*range(2, most + 1)]
    assert [count for count in counts if is_accepted({"rules": [rule(count)]})] == [*range(2, most + 1)]


DURATIONS, SHARES = (validator(TypeAdapter[Any](each).json_schema()) for each in (DurationMs, Share))
written_numbers = st.integers(-1, 200) | st.floats(-1, 2) | st.booleans() | st.none()


@given(
    st.text("0123hdwms. ", max_size=5) | st.from_regex(r"([0-9]{1,2}(ms|s|m|h)){1,2}", fullmatch=True) | written_numbers
)
def test_a_duration_is_shown_as_wrong_exactly_where_it_is_not_read(written: object) -> None:
    if DURATIONS.is_valid(written) and isinstance(written, str):
        assume(parse_duration_ms(written) <= DURATION_MAX_MS)  # no schema adds up

    assert DURATIONS.is_valid(written) == reads(DurationMs)(written) or written == 0.0  # JSON has one zero


@given(st.text("0129.% ", max_size=6) | st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,2})?%", fullmatch=True) | written_numbers)
def test_a_share_is_shown_as_wrong_exactly_where_it_is_not_read(written: object) -> None:
    assert SHARES.is_valid(written) == reads(Share)(written)
