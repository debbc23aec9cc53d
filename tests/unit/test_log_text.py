"""Log lines for people: what was found is marked, and shown however far into its message it stands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.log_text import MARK_BEGINS, MARK_ENDS, excerpt, log_text, older
from flowgauge.console.text_table import CELL_CHARS_MAX


def line(message: str, matches: list[list[int]], hit: int | None, group: int = 1) -> dict[str, Any]:
    told = {"time": "T", "level": "INFO", "flow": "f", "run": "r", "logger": "app", "message": message}
    return {**told, "matches": matches, "hit": hit, "group": group, "cursor": f"{hit}-x"}


def test_matches_are_marked_where_there_are_colours() -> None:
    rows = [line("a b a", [[0, 1], [4, 5]], 1)]

    marked = log_text(rows, has_context=False, has_colours=True)

    a = f"{MARK_BEGINS}a{MARK_ENDS}"
    assert marked.split("\n")[2] == f"T     INFO   f     r    app     {a} b {a}"
    assert log_text(rows, has_context=False, has_colours=False).split("\n")[2].endswith("a b a")


def test_groups_stand_apart_and_hits_are_told_from_their_context() -> None:
    rows = [line("before", [], None), line("hit", [], 1), line("other", [], 2, group=2)]

    text = log_text(rows, has_context=True, has_colours=False)

    assert [each[:2].strip() for each in text.split("\n")[2:]] == ["", ">", "--", ">"]


def test_nothing_found_says_so() -> None:
    assert log_text([], has_context=True, has_colours=True) == "nothing found"


def test_a_message_cannot_colour_or_break_lines_itself() -> None:
    text = log_text([line("\x1b[31mred\n2026 forged", [[5, 8]], 1)], has_context=False, has_colours=True)

    assert text.count("\x1b") == 2
    assert text.endswith(f" [31m{MARK_BEGINS}red{MARK_ENDS} 2026 forged")


def test_the_cursor_of_the_oldest_hit_goes_on_where_the_page_is_full() -> None:
    rows = [line("a", [], 2), line("b", [], None), line("c", [], 1)]

    assert (older(rows, 2), older(rows, 3), older([], 2)) == ("2-x", "", "")


@given(st.text(max_size=300), st.data())
def test_an_excerpt_fits_and_its_marks_lie_in_it(message: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(begin, min(begin + 200, len(message))))

    text, spans = excerpt(message, [(begin, end)])

    assert len(text) <= CELL_CHARS_MAX
    assert all(0 <= start <= stop <= len(text) for start, stop in spans)


def test_a_match_that_is_longer_than_the_width_is_shown_from_its_beginning() -> None:
    text, spans = excerpt("ab" + "x" * 200, [(2, 202)])

    assert text.startswith("abxxx")
    assert spans == [(2, CELL_CHARS_MAX)]


@pytest.mark.parametrize("lead", [0, 100, 119, 500])
def test_what_was_found_is_in_its_excerpt(lead: int) -> None:
    message = f"{'x' * lead} needle {'y' * 300}"

    text, ((begin, end),) = excerpt(message, [(lead + 1, lead + 7)])

    assert text[begin:end] == "needle"


def test_of_all_tenants_together_each_line_says_whose_it_is() -> None:
    rows = [line("refused", [], hit) | {"tenant": whose} for hit, whose in enumerate(("acme", "beta"), 1)]

    lines = log_text(rows, has_context=False, has_colours=False).split("\n")

    assert [each.split()[0] for each in lines] == ["tenant", "------", "acme", "beta"]
