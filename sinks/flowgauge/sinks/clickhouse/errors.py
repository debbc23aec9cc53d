"""What ClickHouse's errors mean for a batch. Pure.

QUARANTINED    of such a code, and the error names the row     that row goes to the dlq, the rest is inserted again
PASSING        room, memory, time, connections                 wait and try again
STOPPING       tables, rights, settings                        the same, and say what somebody must do
anything else                                                  as STOPPING: a lossless sink never drops the unknown
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from flowgauge.schemas.errors import Transient

# A failed insert writes no row and does not use up its token, and both kinds of error name the 1-based row. What people
# wrote stands before the row in a parser's error, so there the last counts, and after it in a constraint's.
_PARSE_ROW = re.compile(r"\(at row (\d+)\)")
_CONSTRAINT_ROW = re.compile(r"is violated at row (\d+)")
_CODE = re.compile(r"\bCode: (\d+)")
# The driver's own words, where ClickHouse is a server.
_OVER_HTTP = re.compile(r"^(Received ClickHouse exception, code: \d+, server response: |HTTP driver received )")

_CONSTRAINT: Final = 469
QUARANTINED: Mapping[int, str] = {
    6: "a text cannot be read",
    25: "an escape in a text cannot be read",
    26: "a text in quotes cannot be read",
    27: "other characters were expected",
    32: "a value ends too early",
    33: "a value is cut",
    38: "a date cannot be read",
    41: "a time cannot be read",
    53: "a value is of another type",
    69: "a value is out of its bounds",
    70: "a value cannot be converted",
    72: "a number cannot be read",
    117: "a value cannot be read",
    128: "a list is too long",
    130: "a list cannot be read",
    131: "a text is too long",
    321: "a number is out of its type's range",
    349: "a value is missing",
    376: "an id cannot be read",
    407: "a number is out of its type's range",
    441: "a value of a domain cannot be read",
    467: "a boolean cannot be read",
    _CONSTRAINT: "a constraint of the table forbids it",
    563: "a map cannot be read",
    632: "more follows after a value",
    675: "an address cannot be read",
    676: "an address cannot be read",
    691: "a name is none of its enum",
}
PASSING: Mapping[int, str] = {
    74: "a file cannot be read",
    75: "a file cannot be written",
    76: "a file cannot be opened",
    95: "a connection of the server broke",
    96: "a connection of the server broke",
    159: "the time limit of an insert or query is over",
    160: "an insert or query is too slow",
    173: "memory is short",
    198: "a name of the server's cannot be resolved",
    201: "the user's quota is used up",
    202: "too many queries run at a time",
    203: "no connection is free",
    209: "a connection of the server timed out",
    210: "a connection of the server broke",
    216: "the same insert is still running",
    236: "the server is shutting down",
    241: "memory is short",
    242: "the table is read-only",
    252: "too many parts wait to be merged",
    279: "no connection of the server succeeded",
    319: "whether the insert ran is not known",
    364: "too many requests",
    384: "a part is locked",
    394: "the insert was cancelled",
    425: "the server's system failed",
    473: "the table is locked",
    692: "too many mutations wait",
    700: "the user has too many sessions",
    710: "a fault was injected",
    733: "the table is being restarted",
    735: "the insert was cancelled",
    745: "the server is overloaded",
    749: "too many connections",
    762: "too many connections",
    999: "the keeper does not answer",
}
_APPLY: Final = "run `flowgauge schema apply`, or undo what changed the tables"
GRANT: Final = "let the user INSERT and SELECT there, and change settings of its queries"
_USER: Final = "correct clickhouse.user and clickhouse.password"
STOPPING: Mapping[int, tuple[str, str]] = {
    8: ("a column is missing", _APPLY),
    10: ("a column is missing", _APPLY),
    16: ("a column is missing", _APPLY),
    20: ("the columns are others", _APPLY),
    40: ("a file of the server is damaged", "restore it"),
    44: ("a column cannot be written", _APPLY),
    46: ("the server lacks a function", "upgrade it"),
    47: ("a column is missing", _APPLY),
    60: ("a table is missing", _APPLY),
    81: ("the database is missing", _APPLY),
    115: ("the server does not know a setting", "upgrade it"),
    164: ("the user or the server is read-only", GRANT),
    192: ("the user or its password is refused", _USER),
    193: ("the user or its password is refused", _USER),
    194: ("the user or its password is refused", _USER),
    195: ("this address is refused", "let the user come from here"),
    218: ("the table is being dropped", _APPLY),
    243: ("the disk is full", "make room"),
    246: ("a file of the server is damaged", "restore it"),
    291: ("the user may not use the database", GRANT),
    452: ("the user may not change a setting", GRANT),
    472: ("the user may not change a setting", GRANT),
    497: ("the user may not do this", GRANT),
    516: ("the user or its password is refused", _USER),
    720: ("the user has expired", _USER),
    774: ("the table is read-only for good", "see the server's log"),
}
_TOO_MUCH = (159, 241, 396)  # time, memory, answer
REFUSES_USER = (516, 192, 193, 194)  # no such user, wrong or missing password
Kind = Literal["known", "person", "unknown"]
"""It passes by itself; somebody must act; it is in no table of ours."""


class RowRefused(Exception):
    """ClickHouse cannot read a row, or a constraint forbids it; nothing was inserted."""

    def __init__(self, index: int, detail: str) -> None:
        super().__init__(f"row {index}: {detail}")
        self.index = index  # 0-based
        self.detail = detail


class EngineTrouble(Transient):
    """ClickHouse could not do it now. `kind` tells whether that passes, `is_too_much` whether less can be done."""

    def __init__(self, message: str, kind: Kind, *, is_too_much: bool = False) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.is_too_much = is_too_much


@dataclass(frozen=True, slots=True)
class Refusal:
    """The row, 0-based, that an insert's error names."""

    index: int
    detail: str


def refusal_in(code: int | None, message: str) -> Refusal | None:
    """Return the row that an insert's error refuses; None where its code says nothing of a row, or it names none."""
    code = code or _code_in(message)
    if code not in QUARANTINED:
        return None
    found = _CONSTRAINT_ROW.findall(message)[:1] if code == _CONSTRAINT else _PARSE_ROW.findall(message)[-1:]
    return Refusal(int(found[0]) - 1, cause_of(message)) if found else None


def trouble(code: int | None, message: str) -> EngineTrouble:
    """Return the error to retry on, with one line that says what is wrong, and what is to be done where we know."""
    code = code or _code_in(message)
    if code is not None and code in PASSING:
        return EngineTrouble(f"ClickHouse: {PASSING[code]} (code {code})", "known", is_too_much=code in _TOO_MUCH)
    if code is not None and code in STOPPING:
        what, remedy = STOPPING[code]
        return EngineTrouble(f"ClickHouse: {what} (code {code}): {remedy}", "person")
    numbered = "" if code is None else f" (code {code})"
    return EngineTrouble(f"ClickHouse: {cause_of(message)}{numbered}", "unknown", is_too_much=code in _TOO_MUCH)


def cause_of(message: str) -> str:
    """Return what an error's message says, on one line and without what is around it."""
    text = _OVER_HTTP.sub("", message.splitlines()[0]) if message else "no message"
    while text.startswith(("Code: ", "DB::Exception: ")):
        text = text.split(": ", 1)[1] if text.startswith("DB") else text.split(". ", 1)[-1]
    return text.split("(while reading the value of key", 1)[0].strip(" :")[:300]


def _code_in(message: str) -> int | None:
    found = _CODE.search(message)
    return int(found[1]) if found else None
