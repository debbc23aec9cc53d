"""Summaries: what templates may do, and that none of them can fail or run away."""

import pytest

from flowgauge.schemas.summary import (
    SUMMARY_BYTES_MAX,
    TEMPLATE_CHARS_MAX,
    check_template,
    render_summary,
    summarize,
    summary_values,
)
from flowgauge.schemas.transition import ExampleRun, Transition

VALUES: dict[str, object] = {
    "rule": "orders failing",
    "state": "firing",
    "flow": "orders-eu",
    "value": 0.6,
    "threshold": None,
    "samples": 5,
    "labels": {"team": "data"},
    "runs": ["r1", "r2"],
}


def transition(**changes: object) -> Transition:
    fields: dict[str, object] = {
        "transition_id": "t",
        "incident_id": "i",
        "seq": 1,
        "tenant": "acme",
        "rule": "orders failing",
        "rule_kind": "failure_rate",
        "rules_version": 3,
        "key": {"flow": "orders-eu"},
        "from_state": "inactive",
        "to_state": "firing",
        "at_ms": 1_000,
        "opened_at_ms": 1_000,
        "reason": "above",
        "value": 0.6,
        "samples": 5,
        "summary": "{{ flow }}: {{ value|percent }} of {{ samples }} runs failed",
    }
    return Transition(**(fields | changes))  # type: ignore[arg-type]  # the fields are named above


def test_a_summary_shows_the_numbers_of_its_transition() -> None:
    assert summarize(transition()) == "orders-eu: 60% of 5 runs failed"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ value|percent }}", "60%"),
        ("{{ 0.12345|percent }}", "12.3%"),
        ("{{ 90500|duration }} {{ 1500|duration }}", "1m30s 1s500ms"),
        ("{{ runs|join }} ({{ runs|length }})", "r1, r2 (2)"),
        ("{% for run in runs %}[{{ run }}]{% endfor %}", "[r1][r2]"),
        ("{{ labels.team|upper }}/{{ labels['team'] }}", "DATA/data"),
        ("{{ 'bad' if samples >= 5 else 'good' }}", "bad"),
        ("{{ 2 * samples + 1 }} {{ 7 % 4 }} {{ 2 ** 10 }}", "11 3 1024"),
        ("{{ 2.345|round(1) }} {{ 2.6|round }}", "2.3 3"),
        ("{{ threshold|default('none') }}|{{ threshold }}", "none|"),
        ("two\nlines\tand\x00more", "two lines and more"),
    ],
)
def test_a_template_renders_its_text(template: str, text: str) -> None:
    assert render_summary(template, VALUES) == text
    assert check_template(template) is None


@pytest.mark.parametrize(
    "template",
    ["a{{ nope }}b", "a{{ nope.deep[3].deeper }}b", "a{{ nope|percent }}b", "a{{ nope + 3 - 2 * nope }}b",
     "a{{ 'x' if nope > 3 }}b", "a{{ nope|duration }}{{ nope|join }}b", "a{% for x in nope %}{{ x }}{% endfor %}b"],
)  # fmt: skip
def test_a_missing_name_is_empty(template: str) -> None:
    assert render_summary(template, VALUES) == "ab"


@pytest.mark.parametrize(
    "template",
    ["{{ 'a' * 100000000 }}", "{{ (1,) * 1000000000 }}", "{{ 100000000 * 'a' }}", "{{ '%100000000s' % 'a' }}",
     "{{ 10 ** 100000000 }}", "{{ 9 ** 9 ** 9 }}", "{{ 2.0 ** 100000 }}", "{{ 1 / 0 }}", "{{ flow.__class__.__mro__ }}",
     "{{ value + flow }}", "{{ runs|join('x' * 1999) }}", "{{ none|length }}"],
)  # fmt: skip
def test_a_template_that_fails_gives_plain_text_with_the_rules_name(template: str) -> None:
    assert render_summary(template, VALUES) in {"orders failing firing", "0"}


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% for i in range(100000000) %}{% endfor %}", "`call` is not available in a summary"),
        ("{{ '{:1000000000}'.format(1) }}", "`call` is not available in a summary"),
        ("{% set x = flow ~ flow %}", "`assign` is not available in a summary"),
        ("{% include 'etc' %}", "`include` is not available in a summary"),
        ("{{ '%1000000000s'|format(1) }}", "No filter named 'format'."),
        ("{{ flow|center(1000000000) }}", "No filter named 'center'."),
        ("{% for a in runs %}{% for b in runs %}{% for c in runs %}{% endfor %}{% endfor %}{% endfor %}",
         "loops may be 2 deep and not recursive"),
        ("x" * (TEMPLATE_CHARS_MAX + 1), "longer than 2000 characters"),
        ("{{ flow", "unexpected end of template, expected 'end of print statement'."),
    ],
)  # fmt: skip
def test_what_a_template_may_not_do_is_said_beforehand_and_rendered_plainly(template: str, complaint: str) -> None:
    assert check_template(template) == complaint
    assert render_summary(template, VALUES) == "orders failing firing"


def test_a_rule_without_a_template_is_told_by_its_name() -> None:
    assert render_summary(" ", VALUES) == "orders failing firing"
    assert render_summary("", {}) == "alert"


def test_a_long_text_is_cut_at_its_cap_between_characters() -> None:
    text = render_summary("{% for a in long %}{% for b in long %}ü{% endfor %}{% endfor %}", {"long": "x" * 2_000})

    assert len(text.encode()) in {SUMMARY_BYTES_MAX - 1, SUMMARY_BYTES_MAX}
    assert text.endswith("üü…")


def test_a_dotted_field_is_nested_and_numbers_win_over_keys() -> None:
    example = ExampleRun(1, "e", "run-1")
    told = transition(key={"resource.env": "prod", "resource.a.b": "x", "value": "mine"}, examples=[example])

    values = summary_values(told)

    assert values["resource"] == {"env": "prod", "a": {"b": "x"}}
    assert values["value"] == 0.6
    assert values["runs"] == ["run-1"]


def test_a_field_inside_another_field_is_left_out_of_the_names() -> None:
    values = summary_values(transition(key={"flow": "f", "flow.name": "g"}))

    assert values["flow"] == "f"
    assert values["key"] == {"flow": "f", "flow.name": "g"}
