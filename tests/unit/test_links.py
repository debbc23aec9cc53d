"""Every link of a document that stays in the repository leads to a file, and to a heading in it."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.integration.fenced_blocks import DOCUMENTS, ROOT, prose

ALL = [*DOCUMENTS, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs" / "adr").glob("*.md"))]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@cache
def anchors(document: Path) -> frozenset[str]:
    """Return the names that GitHub gives the headings of a document."""
    seen: Counter[str] = Counter()

    def names() -> Iterator[str]:
        for heading in _HEADING.findall(prose(document)):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
            name = _NOT_IN_ANCHORS.sub("", text.lower()).replace(" ", "-")
            yield f"{name}-{seen[name]}" if seen[name] else name
            seen[name] += 1

    return frozenset(names())


def is_dead(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / unquote(path) if path else document
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target.resolve())


@pytest.mark.parametrize("document", ALL, ids=lambda document: document.name)
def test_links_and_images_lead_to_files_and_headings_that_exist(document: Path) -> None:
    links = [link for link in _LINK.findall(prose(document)) if "://" not in link and not link.startswith("mailto:")]

    assert [link for link in links if is_dead(document, link)] == []


def test_a_heading_has_the_name_that_links_to_it_use(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# `GET /v1/x`, or not?\n\n## A b\n## A b\n\n```sh\n# no heading\n```\n", encoding="utf-8")

    assert anchors(document) == {"get-v1x-or-not", "a-b", "a-b-1"}
    assert [is_dead(document, link) for link in ("#a-b", "page.md#a-b-1", "#a-c", "none.md")] == [
        False,
        False,
        True,
        True,
    ]
