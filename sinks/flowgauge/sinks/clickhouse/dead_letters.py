"""The dead letters of a tenant, as people look at them: when, why, from where, and how each begins."""

import base64
import codecs
from collections.abc import Sequence
from typing import cast

from flowgauge.schemas.times import rfc3339
from flowgauge.sinks.clickhouse.call_settings import ROWS_MAX
from flowgauge.sinks.clickhouse.questions import question
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.table import Table
from flowgauge.sinks.clickhouse.tenancy import only

COLUMNS = ("letter", "time", "reason", "origin", "size", "detail", "value")
VALUE_BYTES_SHOWN = 240  # enough to know one's own event by; the dlq topic keeps 64 KiB
_BASE64_CHARS = VALUE_BYTES_SHOWN // 3 * 4


async def dead_letters(store: ClickHouseStore, *, tenants: Sequence[str], since_ms: int, limit: int) -> Table:
    """Return the newest dead letters since `since_ms`, at most `limit`.

    `letter` is its name, None where no tenant is known of it: such a one cannot be sent again. `size` is how many
    bytes there were; `value` is their beginning as printable text: what is no visible character is a space, what is no
    UTF-8 is U+FFFD.
    """
    found = await store.query(
        question("dead_letters"),
        {
            "tenants": list(tenants),
            "since_ms": since_ms,
            "limit": min(limit, ROWS_MAX),
            "value_chars": _BASE64_CHARS,
        },
        seen=only(*tenants),
    )
    return Table(list(COLUMNS), [_row(row) for row in found.rows])


def beginning(encoded: str, size: int) -> str:
    """Return the text that `size` bytes begin with, of which `encoded` is the first in base64."""
    raw = base64.b64decode(encoded)
    is_cut = size > len(raw)
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(raw, final=not is_cut)
    return _printable(text) + ("…" if is_cut else "")


def _row(row: Sequence[object]) -> tuple[object, ...]:
    letter, at_ms, reason, origin, size, detail, value = cast("tuple[str, int, str, str, int, str, str]", tuple(row))
    return letter or None, rfc3339(at_ms), reason, origin, size, _printable(detail), beginning(value, size)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
