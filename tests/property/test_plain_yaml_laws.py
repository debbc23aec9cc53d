"""Plain YAML is read as PyYAML reads it node by node: the same data at the same places, or it is left to that."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.integration.fenced_blocks import DOCUMENTS, ROOT, blocks

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.plain_yaml import NotPlainError, read_plain
from flowgauge.schemas.yaml_places import YAML_DEPTH_MAX, YAML_NODES_MAX, read_closely

FILES = [
    file
    for folder in ("compose", "console", "tests/golden")
    for file in sorted((ROOT / folder).rglob("*.yaml"))
    if "alias_bomb" not in file.name
]
SIGNS = [*"ab-?[]{},:#|>'\"*&!%@~=é😀\x85\u2028\ufeff\x07\t"]
WORDS = [
    "name:",
    "rules:",
    "null",
    "yes",
    "0x1F",
    "1:30",
    "1_000",
    "0.5",
    ".inf",
    "-7",
    "2026-11-23",
    "<<",
    "---",
    "...",
]
PIECES = st.sampled_from(SIGNS) | st.sampled_from(WORDS)
TEXTS = st.lists(PIECES | st.sampled_from([" ", " ", "\n", "\n  ", "\n    ", ": "]), max_size=25).map("".join)


def plain(text: str) -> tuple[object, object]:
    return read_plain(text, nodes_max=YAML_NODES_MAX, depth_max=YAML_DEPTH_MAX)


@given(TEXTS)
@example("a: 1\nb: [x, {c: 'd'}]\n")
@example("- - - a\n  - b: |\n     c\n")
@example("{flow: [orders-?]}")
@example("{summary: who? me}")
@example("[<<? x]")
@example("{a ?}")
@example("{a: 1, b: yes, c: ~, d: 2026-11-23, e: 0x1F}")
def test_what_is_read_fast_is_what_is_read_closely(text: str) -> None:
    with suppress(NotPlainError):
        found = plain(text)

        closely = read_closely("a.yaml", text, YAML_NODES_MAX)
        assert found == (closely.data, closely.places)
        assert repr(found[0]) == repr(closely.data)  # 1, 1.0 and True are not the same


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_files_that_people_write_have_the_same_data_at_the_same_places(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    with suppress(NotPlainError, InvalidRules):
        closely = read_closely("a.yaml", text, YAML_NODES_MAX)
        assert plain(text) == (closely.data, closely.places)


def test_rules_of_the_documents_are_plain() -> None:
    texts = [block.text for document in DOCUMENTS for block in blocks(document, "yaml") if "rules:\n" in block.text]

    assert len(texts) >= 10
    for text in texts:
        closely = read_closely("a.yaml", text, YAML_NODES_MAX)
        assert plain(text) == (closely.data, closely.places)
