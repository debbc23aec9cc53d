"""Log lines as text for people: the part of each message around what was found, marked, and groups apart. Pure."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from flowgauge.console.text_table import CELL_CHARS_MAX, printable, text_table

MARK_BEGINS, MARK_ENDS = "\x1b[1;31m", "\x1b[0m"  # bold red, as grep does
BETWEEN_GROUPS = "--"
LEAD_CHARS = 40  # shown before a match that lies beyond the width
COLUMNS = ("time", "level", "flow", "run", "logger", "message")

Span: TypeAlias = tuple[int, int]


class _Line(msgspec.Struct):
    time: str
    level: str
    flow: str
    run: str
    logger: str
    message: str
    matches: list[Span]
    hit: int | None
    group: int
    cursor: str
    tenant: str = ""  # told of all tenants together


def log_text(rows: Sequence[Mapping[str, object]], *, has_context: bool, has_colours: bool) -> str:
    """Return the rows of the question `logs` as a table; with context hits are told apart and groups stand apart.

    Of all tenants together each line says whose it is.
    """
    lines = msgspec.convert(rows, list[_Line])
    shown = [excerpt(line.message, line.matches) for line in lines]
    is_told = {"hit": has_context, "tenant": any(line.tenant for line in lines)}
    before = [name for name in is_told if is_told[name]]
    cells = [
        (
            *({"hit": ">" * bool(line.hit), "tenant": line.tenant}[name] for name in before),
            *(line.time, line.level, line.flow, line.run, line.logger, message),
        )
        for line, (message, _) in zip(lines, shown, strict=True)
    ]
    table = text_table((*before, *COLUMNS), cells).split("\n")
    if not lines:
        return table[0]
    marked = [
        _marked(text, message, spans) if has_colours else text
        for text, (message, spans) in zip(table[2:], shown, strict=True)
    ]
    groups = [[text for text, line in zip(marked, lines, strict=True) if line.group == n] for n in _groups(lines)]
    between = f"\n{BETWEEN_GROUPS}\n" if has_context else "\n"
    return "\n".join([*table[:2], between.join("\n".join(group) for group in groups)])


def older(rows: Sequence[Mapping[str, object]], limit: int) -> str:
    """Return the cursor of the oldest hit where there may be older ones, else nothing."""
    hits = {line.hit: line.cursor for line in msgspec.convert(rows, list[_Line]) if line.hit}
    return hits.get(limit, "")


def _groups(lines: Sequence[_Line]) -> list[int]:
    return list(dict.fromkeys(line.group for line in lines))


def excerpt(message: str, matches: Sequence[Span]) -> tuple[str, list[Span]]:
    """Return what of `message` fits a cell, printable, and where in that the matches stand."""
    first = matches[0] if matches else (0, 0)
    start = 0 if first[1] < CELL_CHARS_MAX else max(0, first[0] - LEAD_CHARS)
    text = ("…" * (start > 0) + printable(message[start:])).rstrip()
    moved = [(begin - start + (start > 0), end - start + (start > 0)) for begin, end in matches]
    if len(text) > CELL_CHARS_MAX:
        text = text[: CELL_CHARS_MAX - 1] + "…"
    return text, [(begin, min(end, len(text))) for begin, end in moved if begin < len(text)]


def _marked(text: str, message: str, spans: Sequence[Span]) -> str:
    """Return the table's line `text`, which ends with `message`, with what lies in `spans` of that marked."""
    at = len(text) - len(message)
    for begin, end in reversed(spans):
        text = f"{text[: at + begin]}{MARK_BEGINS}{text[at + begin : at + end]}{MARK_ENDS}{text[at + end :]}"
    return text
