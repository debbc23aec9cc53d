"""YAML with places: what it reads, and what it refuses before it costs anything."""

import pytest

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.yaml_places import YAML_BYTES_MAX, dotted, read_yaml


def refused(text: str) -> str:
    with pytest.raises(InvalidRules) as error:
        read_yaml("a.yaml", text)
    return str(error.value)


def test_each_value_knows_its_line_and_column() -> None:
    document = read_yaml("a.yaml", "rules:\n  - name: one\n    when: {event: {}}\n")

    assert document.data == {"rules": [{"name": "one", "when": {"event": {}}}]}
    assert document.place(("rules", 0, "name")) == (2, 5)
    assert document.place(("rules", 0, "when", "event")) == (3, 12)
    assert document.place(("rules", 0, "when", "missing")) == (3, 5)  # its parent's


def test_times_and_tags_of_their_own_stay_the_text_that_was_written() -> None:
    assert read_yaml("a.yaml", "a: 2026-11-23\nb: !x 5").data == {"a": "2026-11-23", "b": "5"}


def test_nothing_written_is_nothing() -> None:
    assert read_yaml("a.yaml", "# only a comment\n").data is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1, 2", "a.yaml:1:9: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\na: 2", "a.yaml:2:1: a: the key stands twice (remove one)"),
        ("? [1]\n: 2", "a key must be plain text"),
        ("a: *b", 'a.yaml:1:4: not valid YAML: `*` begins the name of an alias (quote a glob: "*b")'),
        ("a: [x, *]", 'a.yaml:1:8: not valid YAML: `*` begins the name of an alias (quote a glob: "*")'),
        ("a: !b-*", 'a.yaml:1:4: a: `!` begins a tag (quote what is not to match: "!b-*")'),
        ("a: b\x00c", "a.yaml:1:5: not valid YAML: the character U+0000 is not allowed (remove it)"),
        ("a: 1\nb: !!int x", "a.yaml:2:4: b: 'x' is not what its tag says"),
        ("a: !!bool x", "'x' is not what its tag says"),
        ("a: !!int ''", "'' is not what its tag says"),
        ("a: .nan", "a.yaml:1:4: a: .nan is no number that can be kept"),
        ("a: " + "9" * 5_000, "is not what its tag says"),
        ("[" * 5_000 + "]" * 5_000, "nested too deep"),
        ("a: &a [*a, *a, *a]", "nested too deeply or too large"),
        ("x" * (YAML_BYTES_MAX + 1), "the file is larger than 4194304 bytes (split it)"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, complaint: str) -> None:
    assert complaint in refused(text)


def test_aliases_that_grow_without_end_make_one_complaint() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))

    assert refused(bomb).count("nested too deeply or too large") == 1


def test_a_few_aliases_are_fine() -> None:
    assert read_yaml("a.yaml", "a: &a {x: 1}\nb: [*a, *a]").data == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]}


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted(("rules", 0, "when", "failure_rate")) == "rules[0].when.failure_rate"
