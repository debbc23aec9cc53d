"""Laws of summaries: whatever the language allows renders within the cap, whatever the numbers and texts are."""

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from flowgauge.schemas.summary import (
    SUMMARY_BYTES_MAX,
    TEMPLATE_CHARS_MAX,
    check_template,
    names_in,
    render_summary,
    shown_by,
    summarize,
    summary_values,
    written_name,
)
from flowgauge.schemas.transition import ExampleRun, Transition

MEMORY_BYTES_MAX = 16_000_000  # a few times the largest mapping of labels that a summary sees

names = st.sampled_from(
    ["flow", "resource.env", "key", "key['flow']", "labels", "labels.team", "labels['no']", "runs", "runs[0]", "value",
     "threshold", "samples", "window_ms", "reason", "state", "nope", "nope.deep[1]"]
)  # fmt: skip
constants = st.one_of(
    st.text(st.characters(exclude_characters="'\\{}%#"), max_size=8).map("'{}'".format),
    st.integers(0, 10**30).map(str),
    st.sampled_from(["none", "true", "1.5", "-3", "9" * 400, "1e308"]),
)
filters = st.one_of(
    st.sampled_from(["percent", "duration", "round", "default", "join", "length", "first", "upper", "lower", "abs"]),
    st.builds("{}({})".format, st.sampled_from(["round", "default", "join"]), st.one_of(names, constants)),
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}|{}".format, inner, filters),
        st.builds("({} {} {})".format, inner, st.sampled_from(["==", "!=", "<", ">=", "in", "not in", "and"]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("({} is {})".format, inner, st.sampled_from(["defined", "undefined", "none", "not none"])),
    )


expressions = st.recursive(st.one_of(names, constants), larger, max_leaves=8)
pieces = st.one_of(
    st.text(st.characters(exclude_characters="{}%#"), max_size=20),
    st.builds("{{{{ {} }}}}".format, expressions),
    st.builds("{{% if {} %}}{}{{% elif {} %}}b{{% else %}}c{{% endif %}}".format, expressions, names, expressions),
)
templates = st.lists(pieces, min_size=1, max_size=12).map("".join).filter(lambda text: len(text) <= TEMPLATE_CHARS_MAX)

texts = st.one_of(st.text(max_size=20), st.sampled_from(["", "x" * 100_000, "ﬃ" * 5_000, "\x1b[31m\ud800\u202e"]))
numbers = st.one_of(st.none(), st.floats())


def transition(**changes: object) -> Transition:
    fields: dict[str, object] = {
        "transition_id": "t",
        "incident_id": "i",
        "seq": 0,
        "tenant": "acme",
        "rule": "orders failing",
        "rule_kind": "failure_rate",
        "rules_version": 1,
        "key": {"flow": "orders"},
        "from_state": "inactive",
        "to_state": "firing",
        "at_ms": 0,
        "opened_at_ms": 0,
        "reason": "above",
    }
    return Transition(**(fields | changes))  # type: ignore[arg-type]  # the fields are named above


told = st.builds(
    transition,
    tenant=texts,
    rule=texts,
    key=st.dictionaries(st.sampled_from(["flow", "resource.env", "resource.env.x", "labels"]), texts),
    reason=texts,
    value=numbers,
    threshold=numbers,
    samples=st.integers(0, 2**63),
    window_ms=st.integers(0, 2**63),
    labels=st.dictionaries(st.one_of(st.just("team"), texts), texts),
    examples=st.lists(st.builds(ExampleRun, st.just(0), st.just("e"), texts), max_size=5),
    summary=templates,
)


@given(told)
def test_whatever_the_language_allows_is_one_printable_line_within_the_cap(of: Transition) -> None:
    assert check_template(of.summary) is None

    text = summarize(of)

    assert len(text.encode()) <= SUMMARY_BYTES_MAX
    assert text.isprintable()


signs = st.sampled_from(["1e999", *"{}%#|()[]'~*+-.,:abs0 \n", "{{", "}}", "{%", "%}", " if ", " for ", " in "])


@given(st.lists(signs, max_size=60).map("".join))
def test_any_text_at_all_is_refused_or_rendered_and_never_raises(template: str) -> None:
    complaint = check_template(template)

    text = render_summary(template, {"rule": "r", "state": "firing", "a": "A"})

    assert complaint is None or text == "r firing" or not template.strip()


def test_the_largest_templates_that_are_allowed_need_little_memory() -> None:
    labels = {f"{number}-{'n' * 10_000}": "ß" * 100_000 for number in range(200)}
    values = summary_values(transition(key={"flow": "ß" * 1_000_000}, labels=labels))
    big = "{{ 'x' if labels|upper|upper|join(labels)|lower == labels|join(key) }}"

    tracemalloc.start()
    try:
        for template in (
            big * (TEMPLATE_CHARS_MAX // len(big)),
            "{{ labels|upper }}",
            "{{ key|join(key)|upper }}" * 70,
        ):
            assert check_template(template) is None
            assert len(render_summary(template, values).encode()) <= SUMMARY_BYTES_MAX
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MEMORY_BYTES_MAX


@given(templates)
def test_a_name_that_is_shown_is_one_that_the_summary_names(template: str) -> None:
    named = {name.partition(".")[0] for name in names_in(template)}

    shown = {name for name in ("flow", "value", "samples", "runs", "nope") if shown_by(template, name)}

    assert shown <= named


@given(st.text(max_size=20), st.text(max_size=20))
@example("work-pool", "name")
@example("it's", 'a "b" }} {% \\ 0\n')
@example("if", "not")
def test_a_name_as_it_is_written_is_one_that_a_summary_can_have(role: str, label: str) -> None:
    template = f"{{{{ {written_name(('related', role, label))} }}}}"

    assert check_template(template) is None
    assert names_in(template) == [f"related.{role}.{label}"]
    assert render_summary(template, {"related": {role: {label: "yes"}}}) == "yes"
