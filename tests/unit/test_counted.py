"""One row is no rows."""

import pytest

from flowgauge.schemas.counted import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (12_345, "12,345 rows")])
def test_a_number_of_things_is_told_as_people_say_it(number: int, text: str) -> None:
    assert counted(number, "row") == text


def test_an_odd_plural_is_given() -> None:
    assert (counted(1, "query", "queries"), counted(2, "query", "queries")) == ("1 query", "2 queries")
