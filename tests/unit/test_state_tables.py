"""docs/states.md says what the connectors' own tables say.

FLOWGAUGE_UPDATE_GOLDEN=1 writes it anew, to be read in review.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from flowgauge.producers.state_table import StateTable
from flowgauge.producers.state_tables import STATE_TABLES
from flowgauge.schemas.event import STATES

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = DOCS / "states.md"
MARK = "<!-- made of the connectors by tests/unit/test_state_tables.py -->\n"

Words = Mapping[str, str | None]


def cell(words: Words, state: str | None) -> str:
    return ", ".join(f"`{word}`" for word, ours in words.items() if ours == state) or "–"


def rows(title: str, words: Callable[[StateTable], Words], tables: tuple[StateTable, ...]) -> Iterator[str]:
    yield f"\n## States of {title}\n\n"
    yield "| here | " + " | ".join(f"[{table.orchestrator}]({table.page})" for table in tables) + " |\n"
    yield "|---" * (len(tables) + 1) + "|\n"
    for state in STATES:
        yield f"| `{state}` | " + " | ".join(cell(words(table), state) for table in tables) + " |\n"
    if any(None in words(table).values() for table in tables):
        yield "| no state | " + " | ".join(cell(words(table), None) for table in tables) + " |\n"


def made() -> str:
    lines = [MARK]
    lines += rows("flow runs", lambda table: table.runs, STATE_TABLES)
    lines += rows("task runs", lambda table: table.tasks, tuple(table for table in STATE_TABLES if table.tasks))
    lines.append(
        "\n## Times\n\n| orchestrator | when a run was to start: `scheduled_for` | when it happened: `occurred` |\n"
    )
    lines.append("|---|---|---|\n")
    lines += [f"| {table.orchestrator} | {table.scheduled_for} | {table.occurred} |\n" for table in STATE_TABLES]
    lines.append("\n## What each cannot tell\n\n")
    lines += [f"- {table.orchestrator}: {sentence}\n" for table in STATE_TABLES for sentence in table.cannot_tell]
    return "".join(lines)


def test_the_page_of_states_is_made_of_the_connectors() -> None:
    head, mark, _ = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    assert mark
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN"):
        DOCUMENT.write_text(head + made(), encoding="utf-8")
        pytest.skip("written")

    assert DOCUMENT.read_text(encoding="utf-8") == head + made()


@pytest.mark.parametrize("table", STATE_TABLES, ids=lambda table: table.orchestrator)
def test_a_table_uses_our_states_and_names_a_page(table: StateTable) -> None:
    ours = {*table.runs.values(), *table.tasks.values()} - {None}

    assert ours <= set(STATES)
    assert (DOCS / table.page).is_file()
    assert table.cannot_tell
