"""The table of kinds in docs/rules.md says what each kind's file says, in the order of the registry.

FLOWGAUGE_UPDATE_GOLDEN=1 writes the table anew, to be read in review.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from flowgauge.processors.kinds import KINDS
from flowgauge.processors.kinds.kind import Kind

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"
HEAD = "| kind | fires | looks at | value |\n|---|---|---|---|\n"
UNITS = {"share": "a share", "count": "a count", "seconds": "seconds", None: "by the rule"}
TABLE = re.compile(re.escape(HEAD) + r"(?:\|.*\|\n)*")
SAYS = re.compile(r"`(\w+)`: fires (.+?)[.\n]")


def says(kind: type[Kind]) -> str:
    """Return when `kind` fires: the first sentence of its file."""
    found = SAYS.match(sys.modules[kind.__module__].__doc__ or "")
    assert found
    assert found[1] == kind.name
    return found[2]


def row(kind: type[Kind]) -> str:
    looks_at = ", ".join(f"`{each}`" for each in kind.default_event_kinds or ()) or "what matches"
    return f"| [`{kind.name}`](#{kind.name}) | {says(kind)} | {looks_at} | {UNITS[kind.unit]} |\n"


def test_the_table_of_kinds_is_made_of_their_files() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = HEAD + "".join(row(kind) for kind in KINDS.values())
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN"):
        DOCUMENT.write_text(TABLE.sub(lambda _: table, text), encoding="utf-8")
        pytest.skip("written")

    assert table in text
    assert [each for each in KINDS if f"\n### `{each}`\n" not in text] == []
