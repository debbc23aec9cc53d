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
        ("{{ 90.5|seconds }} {{ 20.25|seconds }}{{ 'x'|seconds }}", "1m30s 20s250ms"),
        ("{{ runs|join }} ({{ runs|length }})", "r1, r2 (2)"),
        ("{{ runs }} {{ runs[1] }} {{ runs|first }} {{ labels }}", "r1, r2 r2 r1 team=data"),
        ("{{ labels.team|upper }}/{{ labels['team'] }}", "DATA/data"),
        ("{{ 'bad' if samples >= 5 else 'good' }}", "bad"),
        ("{% if value > 0.5 and 'eu' in flow %}many{% elif value is none %}none{% else %}few{% endif %}", "many"),
        ("{{ -5|abs }} {{ flow|length }} {{ samples|length }}", "5 9 0"),
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
    ["a{{ nope }}b", "a{{ nope.deep[3].deeper }}b", "a{{ nope|percent }}b", "a{{ nope|abs|round }}b",
     "a{{ 'x' if nope > 3 }}b", "a{{ nope|duration }}{{ nope|join }}b", "a{{ runs[7] }}{{ runs[-3] }}b"],
)  # fmt: skip
def test_a_missing_name_is_empty(template: str) -> None:
    assert render_summary(template, VALUES) == "ab"


@pytest.mark.parametrize(
    "template",
    ["a{{ labels.items }}b", "a{{ flow.upper }}{{ flow[0] }}b", "a{{ flow.__class__.__mro__ }}b",
     "a{{ runs.append }}{{ runs['append'] }}b", "a{{ labels['__class__'] }}b",
     "a{{ nope._fail_with_undefined_error }}b"],
)  # fmt: skip
def test_what_python_knows_of_a_value_is_no_name(template: str) -> None:
    assert check_template(template) is None
    assert render_summary(template, VALUES) == "ab"


@pytest.mark.parametrize("template", ["{{ 'x' if value < flow }}", "{{ 'x' if flow in value }}", "{{ huge|percent }}"])
def test_a_template_that_fails_gives_plain_text_with_the_rules_name(template: str) -> None:
    assert render_summary(template, VALUES | {"huge": 10**400}) == "orders failing firing"


NOT_AVAILABLE = [
    ("for", "{% for run in runs %}{{ run }}{% endfor %}"),
    ("for", "{% for i in range(100000000) %}{% for j in runs recursive %}{% endfor %}{% endfor %}"),
    ("call", "{{ '{:1000000000}'.format(1) }}"),
    ("call", "{{ range(100000000)|join }}"),
    ("call", "{{ labels.items() }}"),
    ("*", "{{ 'a' * 100000000 }}"),
    ("*", "{{ [flow] * 100000000 }}"),
    ("*", "{{ samples * 2 }}"),
    ("*", "{{ flow|default(*runs) }}"),
    ("**", "{{ 9 ** 9 ** 9 }}"),
    ("%", "{{ '%100000000s' % flow }}"),
    ("+", "{{ flow + flow }}"),
    ("-", "{{ value - 1 }}"),
    ("-", "{{ -value }}"),
    ("/", "{{ 1 / 0 }}"),
    ("concat", "{{ flow ~ flow }}"),
    ("list", "{{ [[flow, flow], [flow, flow]] }}"),
    ("list", "{{ 'x' if flow in ['a', 'b'] }}"),
    ("tuple", "{{ (flow, flow) }}"),
    ("dict", "{{ {'a': flow} }}"),
    ("slice", "{{ flow[1:] }}"),
    ("assign", "{% set x = flow %}"),
    ("assignblock", "{% set x %}{{ flow }}{% endset %}"),
    ("with", "{% with x = flow %}{{ x }}{% endwith %}"),
    ("macro", "{% macro m() %}{{ m() }}{% endmacro %}"),
    ("callblock", "{% call m() %}{% endcall %}"),
    ("filterblock", "{% filter upper %}{{ flow }}{% endfilter %}"),
    ("block", "{% block a %}{% endblock %}"),
    ("extends", "{% extends 'etc' %}"),
    ("include", "{% include 'etc' %}"),
    ("import", "{% import 'etc' as x %}"),
    ("fromimport", "{% from 'etc' import x %}"),
    ("self", "{{ self }}"),
    ("for", "{% for run in runs %}{{ run }}"),
    ("for", "{% for %}"),
    ("unheard_of", "{%- unheard_of flow %}"),
]


@pytest.mark.parametrize(("what", "template"), NOT_AVAILABLE)
def test_what_could_grow_or_reach_out_is_refused_beforehand_and_rendered_plainly(what: str, template: str) -> None:
    says = f"`{what}` is not available in a summary: it has names, filters, comparisons and `if`"

    assert check_template(template) == says
    assert render_summary(template, VALUES) == "orders failing firing"


FILTERS = "percent, duration, seconds, round, default, join, length, first, upper, lower, abs"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ '%1000000000s'|format(1) }}", f"no filter is called `format`: there are {FILTERS}"),
        ("{{ flow|center(1000000000) }}", f"no filter is called `center`: there are {FILTERS}"),
        ("{{ value|round(1, 'ceil') }}", "`round`: too many positional arguments"),
        ("{{ 'x' if flow is callable }}", "no test is called `callable`: there are defined, undefined, none"),
        ("x" * (TEMPLATE_CHARS_MAX + 1), "longer than 2000 characters"),
        (
            "{{ flow",
            (
                "unexpected end of template, expected 'end of print statement'. "
                "(write {{ name }}, such as {{ value|percent }})"
            ),
        ),
        ("{{ 1e999 }}", "a number is too large: write one below 1e308"),
        ("{{ value|default(-1e999) }}", "a number is too large: write one below 1e308"),
        ("{% if flow %}x", "`if` is not closed: end it with {% endif %}"),
        (
            "{{ flow|center }} {{ 'x' if flow is odd }} {{ run|center }} {{ self }}",
            (
                f"no filter is called `center`: there are {FILTERS}; "
                "no test is called `odd`: there are defined, undefined, none; "
                "`self` is not available in a summary: it has names, filters, comparisons and `if`"
            ),
        ),
        ("{{ " + "(" * 900 + "flow" + ")" * 900 + " }}", "a summary may be nested 30 deep: write it flatter"),
        ("{{ flow" + "|upper" * 300 + " }}", "a summary may be nested 30 deep: write it flatter"),
        ("{{ " + "not " * 450 + "flow }}", "a summary may be nested 30 deep: write it flatter"),
        ("{% if flow %}" * 80 + "{% endif %}" * 80, "a summary may be nested 30 deep: write it flatter"),
    ],
)
def test_a_mistake_in_a_template_is_said_with_what_there_is(template: str, complaint: str) -> None:
    assert check_template(template) == complaint
    assert render_summary(template, VALUES) == "orders failing firing"


class Unshowable:
    """A value that nobody foresaw."""

    def __str__(self) -> str:
        raise NameError("inf")


def test_whatever_goes_wrong_while_rendering_the_alert_goes_out() -> None:
    assert render_summary("{{ odd }}", VALUES | {"odd": Unshowable()}) == "orders failing firing"


def test_a_rule_without_a_template_is_told_by_its_name() -> None:
    assert render_summary(" ", VALUES) == "orders failing firing"
    assert render_summary("", {}) == "alert"


def test_a_long_text_is_cut_at_its_cap_between_characters() -> None:
    text = summarize(transition(key={"flow": "ü" * 5_000_000}, summary="{{ flow }}"))

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
