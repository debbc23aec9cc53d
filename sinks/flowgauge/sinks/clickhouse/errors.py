"""What ClickHouse's errors mean for a batch. Pure.

names a row (376, 41, 27, 117, 469 …)   that row goes to the dlq, the rest is inserted again
room, memory, time, files, connections  wait and try again
anything else                            try again too and say so loudly: a lossless sink never drops the unknown
"""

import re
from dataclasses import dataclass
from typing import Literal

from flowgauge.schemas.errors import Transient

# A failed insert writes no row and does not use up its token, and both kinds of error name the 1-based row.
_PARSE_ROW = re.compile(r"\(at row (\d+)\)")
_CONSTRAINT_ROW = re.compile(r"is violated at row (\d+)")
# The driver's own words, where ClickHouse is a server.
_OVER_HTTP = re.compile(r"^(Received ClickHouse exception, code: \d+, server response: |HTTP driver received )")

_KNOWN_TRANSIENT = {
    159: "the time limit of an insert or query is over",
    241: "memory is short",
    243: "the disk is full",
    252: "too many parts wait to be merged",
    74: "a file cannot be read",
    75: "a file cannot be written",
    76: "a file cannot be opened",
    202: "too many queries run at a time",
    216: "the same insert is still running",
    236: "the server is shutting down",
    242: "the table is read-only",
    516: "the user or its password is refused",
}
REFUSES_USER = (516, 192, 193, 194)  # no such user, wrong or missing password
Kind = Literal["known", "unknown"]


class RowRefused(Exception):
    """ClickHouse cannot read a row, or a constraint forbids it; nothing was inserted."""

    def __init__(self, index: int, detail: str) -> None:
        super().__init__(f"row {index}: {detail}")
        self.index = index  # 0-based
        self.detail = detail


class EngineTrouble(Transient):
    """ClickHouse could not do it now. `kind` tells whether the cause is in our table of causes."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind: Kind = kind


@dataclass(frozen=True, slots=True)
class Refusal:
    """The row, 0-based, that an insert's error names."""

    index: int
    detail: str


def refusal_in(message: str) -> Refusal | None:
    """Return the row that an insert's error message names, if it names one."""
    found = _PARSE_ROW.search(message) or _CONSTRAINT_ROW.search(message)
    if found is None:
        return None
    return Refusal(int(found[1]) - 1, cause_of(message))


def trouble(code: int | None, message: str) -> EngineTrouble:
    """Return the error to retry on, with one line that says what is wrong."""
    known = _KNOWN_TRANSIENT.get(code or 0)
    if known is not None:
        return EngineTrouble(f"ClickHouse: {known} (code {code})", "known")
    numbered = "" if code is None else f" (code {code})"
    return EngineTrouble(f"ClickHouse: {cause_of(message)}{numbered}", "unknown")


def cause_of(message: str) -> str:
    """Return what an error's message says, on one line and without what is around it."""
    text = _OVER_HTTP.sub("", message.splitlines()[0]) if message else "no message"
    while text.startswith(("Code: ", "DB::Exception: ")):
        text = text.split(": ", 1)[1] if text.startswith("DB") else text.split(". ", 1)[-1]
    return text.split("(while reading the value of key", 1)[0].strip(" :")[:300]
