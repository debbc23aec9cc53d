"""What ClickHouse says, and what it means for a batch. The messages are the engine's own."""

import pytest

from flowgauge.sinks.clickhouse.errors import PASSING, QUARANTINED, STOPPING, Refusal, refusal_in, trouble
from flowgauge.sinks.clickhouse.upkeep import no_tables

BAD_UUID = (
    "Code: 376. DB::Exception: Code: 376. DB::Exception: Cannot parse UUID from String: invalid format, expected 32 "
    "hexadecimal digits: (while reading the value of key id): (at row 2)\n: (in file/uri /tmp/x.raw): While executing"
)
CONSTRAINT = (
    "Code: 469. DB::Exception: Constraint `has_tenant` for table flowgauge.events (4153) is violated at row 43. "
    "Expression: (tenant != ''). Column values: tenant = ''. (VIOLATED_CONSTRAINT)"
)


@pytest.mark.parametrize(
    ("message", "index", "detail"),
    [
        (BAD_UUID, 1, "Cannot parse UUID from String: invalid format, expected 32 hexadecimal digits"),
        (
            f"Received ClickHouse exception, code: 376, server response: {BAD_UUID}",
            1,
            "Cannot parse UUID from String: invalid format, expected 32 hexadecimal digits",
        ),
        (CONSTRAINT, 42, CONSTRAINT.removeprefix("Code: 469. DB::Exception: ")),
    ],
)
def test_an_error_that_names_a_row_refuses_that_row(message: str, index: int, detail: str) -> None:
    assert refusal_in(None, message) == Refusal(index, detail)


def test_an_error_that_names_no_row_refuses_none() -> None:
    assert refusal_in(243, "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space") is None


def test_a_full_disk_is_somebodys_to_mend_and_a_new_error_an_unknown_trouble() -> None:
    full, new = (
        trouble(243, "Code: 243. DB::Exception: Cannot reserve"),
        trouble(9_999, "Code: 9999. DB::Exception: Odd"),
    )

    assert (str(full), full.kind) == ("ClickHouse: the disk is full (code 243): make room", "person")
    assert (str(new), new.kind) == ("ClickHouse: Odd (code 9999)", "unknown")


def test_no_code_stands_in_two_tables() -> None:
    assert len({*PASSING, *STOPPING, *QUARANTINED}) == len(PASSING) + len(STOPPING) + len(QUARANTINED)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (243, "the disk is full (code 243): make room"),
        (497, "(let the user CREATE, ALTER, DROP VIEW, INSERT and SELECT there)"),
        (12_345, "(let the user CREATE, ALTER, DROP VIEW, INSERT and SELECT there)"),
    ],
)
def test_what_keeps_tables_from_being_made_is_told_with_one_remedy(code: int, end: str) -> None:
    said = str(no_tables(Exception(f"Code: {code}. DB::Exception: it cannot be. (NAME)")))

    assert said.startswith("the tables cannot be looked at or made: ClickHouse: ")
    assert said.endswith(end)
