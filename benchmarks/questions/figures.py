"""What asking says: one JSON object a line, and the same as tables in Markdown. Pure."""

import statistics
from collections.abc import Iterable, Sequence

import msgspec

from benchmarks.markdown import table

TROUBLE_CHARS_MAX = 120
SHOWN_BYTES_MIN = 0.01  # an event, in the table; the lines have all


class Asked(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="part", tag="question"):
    """One question of some clients. Milliseconds are what a client waits; the others are means of an asking."""

    name: str
    of: str
    clients: int
    askings: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms: float  # of the engine; with one client also of the program that asks
    rows_read: int = 0  # 0 over HTTP: the front does not tell
    bytes_read: int = 0
    disk_bytes: int = 0  # that were not in the system's memory
    answer_rows: float = 0.0
    is_cold: bool = False
    troubles: int = 0
    trouble: str = ""  # the first


class Kept(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="part", tag="kept"):
    """What a column, or an index, of a table takes on disk; `name` is "" for the whole table."""

    table: str
    name: str
    rows: int
    bytes: int
    bytes_per_event: float


class Compared(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="part", tag="alternative"):
    """Another table for the same events: what it takes to write, to keep and to ask."""

    name: str
    rows: int
    bytes_per_row: float
    insert_us: float  # CPU a row, the middle of all turns
    index_bytes_per_row: float = 0.0  # of this, its skipping indexes and projections
    merge_us: float = 0.0  # CPU a row, all parts of a day into one
    p50_ms: dict[str, float] = {}
    cpu_ms: dict[str, float] = {}


def asked_of(
    whose: tuple[str, str],
    *,
    clients: int,
    took_ms: Sequence[float],
    cpu_seconds: float,
    read: tuple[int, int],
    disk_bytes: int = 0,
    answer_rows: int = 0,
    troubles: Sequence[str] = (),
) -> Asked:
    """Return the figures of some askings, at least one, of the question `whose` name and tenant this is.

    CPU, rows and bytes are given as sums, and divided here.
    """
    count = len(took_ms)
    return Asked(
        *whose,
        clients,
        count,
        p50_ms=round(statistics.median(took_ms), 1),
        p99_ms=round(quantile(took_ms, 0.99), 1),
        max_ms=round(max(took_ms), 1),
        cpu_ms=round(cpu_seconds * 1e3 / count, 1),
        rows_read=round(read[0] / count),
        bytes_read=round(read[1] / count),
        disk_bytes=round(disk_bytes / count),
        answer_rows=round(answer_rows / count, 1),
        troubles=len(troubles),
        trouble=troubles[0][:TROUBLE_CHARS_MAX] if troubles else "",
    )


def together(lines: Sequence[Asked]) -> Asked:
    """Return the figures of askings that were each made alone, by cold processes."""
    first = lines[0]
    found = asked_of(
        (first.name, first.of),
        clients=1,
        took_ms=[line.p50_ms for line in lines],
        cpu_seconds=sum(line.cpu_ms for line in lines) / 1e3,
        read=(sum(line.rows_read for line in lines), sum(line.bytes_read for line in lines)),
        disk_bytes=sum(line.disk_bytes for line in lines),
        answer_rows=round(sum(line.answer_rows for line in lines)),
        troubles=[line.trouble for line in lines if line.trouble],
    )
    return msgspec.structs.replace(found, is_cold=True)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not pass."""
    return sorted(values)[max(0, -(-len(values) * round(share * 1000) // 1000) - 1)]


def tables(lines: Iterable[Asked | Kept | Compared]) -> dict[str, str]:
    """Return the tables that these lines fill by name, in Markdown: questions by tenant, bytes, alternatives."""
    found = list(lines)
    asked = [line for line in found if isinstance(line, Asked)]
    compared = [line for line in found if isinstance(line, Compared)]
    kept = [line for line in found if isinstance(line, Kept) and line.bytes_per_event >= SHOWN_BYTES_MIN]
    rows_of = {
        **{of: _of_questions([line for line in asked if line.of == of]) for of in dict.fromkeys(x.of for x in asked)},
        "bytes": _of_bytes(sorted(kept, key=lambda line: (line.table, -line.bytes))) if kept else "",
        "alternatives": _of_alternatives([line for line in compared if line.p50_ms]) if compared else "",
        "columns": _of_alternatives([line for line in compared if not line.p50_ms]) if compared else "",
    }
    return {name: text for name, text in rows_of.items() if text}


def _of_bytes(lines: Sequence[Kept]) -> str:
    head = ["table", "column or index", "rows", "MB", "bytes an event"]
    rows = [
        [
            line.table,
            line.name or "**all**",
            f"{line.rows:,}" if line.rows else "",
            f"{line.bytes / 1e6:,.1f}",
            f"{line.bytes_per_event:.2f}",
        ]
        for line in lines
    ]
    return table(head, rows)


def _of_questions(lines: Sequence[Asked]) -> str:
    """Return a row a question: warm alone, warm with the most clients, cold."""
    most = max((line.clients for line in lines), default=1)
    alone = {line.name: line for line in lines if line.clients == 1 and not line.is_cold}
    crowd = {line.name: line for line in lines if line.clients == most > 1 and not line.is_cold}
    cold = {line.name: line for line in lines if line.is_cold}
    head = ["question", "p50 ms", "p99", "CPU ms", "rows read", "MB read"]
    head += [f"{most} clients, p50", "p99", "cold, p50", "longest", "MB from disk"]
    rows = [
        [
            name,
            *_cells(alone.get(name), "p50_ms", "p99_ms", "cpu_ms", "rows_read", "bytes_read"),
            *_cells(crowd.get(name), "p50_ms", "p99_ms"),
            *_cells(cold.get(name), "p50_ms", "max_ms", "disk_bytes"),
        ]
        for name in dict.fromkeys(line.name for line in lines)
    ]
    return table(head, rows)


def _of_alternatives(lines: Sequence[Compared]) -> str:
    asked = list(dict.fromkeys(name for line in lines for name in line.p50_ms))
    head = ["table", "rows", "bytes a row", "of this indexes", "insert, µs a row", "merge, µs a row", *asked]
    rows = [
        [
            line.name,
            f"{line.rows:,}",
            f"{line.bytes_per_row:.2f}",
            f"{line.index_bytes_per_row:.2f}",
            f"{line.insert_us:.2f}",
            f"{line.merge_us:.2f}",
            *(f"{line.p50_ms.get(name, 0):,.0f}" for name in asked),
        ]
        for line in lines
    ]
    return table(head, rows)


def _cells(line: Asked | None, *fields: str) -> list[str]:
    if line is None:
        return [""] * len(fields)
    shown = {
        field: getattr(line, field) / (1e6 if field.endswith("bytes") or field == "bytes_read" else 1)
        for field in fields
    }
    cells = [
        f"{value:,.0f}" if value >= 10 or field == "rows_read" else f"{value:.1f}" for field, value in shown.items()
    ]
    return [f"{cells[0]} ({line.troubles} of {line.askings} gave up)", *cells[1:]] if line.troubles else cells
