"""Odd input through the real engine: the row is exact or a letter names the reason, and the neighbours are stored."""

import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.clickhouse.running_sink import NOW_MS, Tenant, new_log, running_sink, stored, until

from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX, decode_dead_letter
from flowgauge.schemas.topics import DLQ, EVENTS
from flowgauge.sinks.clickhouse.batch import LIMITS
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.log import Outgoing

pytestmark = pytest.mark.timeout(180)

RETRIES_MAX = 1
REFUSED = {
    "occurred in 1899": ("clock far off", {"occurred": "1899-12-31T23:59:59Z"}),
    "occurred in 2500": ("clock far off", {"occurred": "2500-01-01T00:00:00Z"}),
    "scheduled in 1899": ("wrong field", {"scheduled_for": "1899-12-31T23:59:59Z"}),
    "scheduled in 2500": ("wrong field", {"scheduled_for": "2500-01-01T00:00:00Z"}),
    "ten megabytes": ("too large", {"payload": {"text": "x" * 10_000_000}}),
    "time of lower case": ("refused by ClickHouse", {"occurred": "2026-11-18t11:00:00z"}),
}
RAW_REFUSED = {
    "invalid UTF-8": ("not UTF-8", b'"text":"\xff\xfe"'),
    "UTF-8 of a surrogate": ("not UTF-8", b'"text":"\xed\xa0\x80"'),
    "a bare NUL": ("not JSON", b'"text":"\x00"'),
    "a key twice": ("duplicate key", b'"text":1,"text":2'),
    "a key twice, escaped": ("duplicate key", b'"text":1,"te\\u0078t":2'),
    "deep nesting": ("too deep", b'"text":' + b"[" * 10_000 + b"]" * 10_000),
    "a lone surrogate": ("not JSON", b'"text":"\\ud800"'),
}
RAW_EXACT = {
    "an escaped NUL": b'"text":"\\u0000"',
    "a pair of surrogates": b'"text":"\\ud83d\\ude00"',
    "a number beyond 64 bits": b'"text":123456789012345678901234567890',
    "a number of many digits": b'"text":0.1234567890123456789012345678901234567890',
    "a large exponent": b'"text":1e300',
    "the largest numbers of 64 bits": b'"text":[18446744073709551615,-9223372036854775808]',
    "5,000 keys": b",".join(b'"k%d":%d' % (n, n) for n in range(5_000)),
    "nesting that is allowed": b'"text":' + b"[" * 40 + b"]" * 40,
    "words of the engine": b'"text":"NULL","nan":"\\\\N","dotted.key":{"a.b":1}',
}


@dataclass
class Counting:
    """The store, and how often events were inserted."""

    store: ClickHouseStore
    inserts: list[str] = field(default_factory=list[str])

    async def insert(self, table: str, body: bytes, token: str) -> None:
        if table == "flowgauge.events":
            self.inserts.append(token)
        await self.store.insert(table, body, token)

    async def held(self, table: str, span: Span) -> Set[int]:
        return await self.store.held(table, span)

    async def erased(self) -> Mapping[str, int]:
        return await self.store.erased()

    async def fold_again(self, table: str, span: Span) -> None:
        await self.store.fold_again(table, span)


def raw(tenant: Tenant, payload: bytes) -> bytes:
    return tenant.event(1, payload={}).replace(b'"payload":{}', b'"payload":{' + payload + b"}")


async def letters_after(
    store: ClickHouseStore, path: Path, odd: Sequence[bytes], tenant_name: str
) -> tuple[list[tuple[int, str, int]], int, int]:
    """Store each of `odd` before an event; return the letters, the retries, and the rows."""
    async with new_log(path) as log:
        tenant, counting = Tenant(log, tenant_name), Counting(store)
        values = [value for n, each in enumerate(odd) for value in (each, tenant.event(n))]
        await log.append(EVENTS, [Outgoing(0, "", value, append_ms=NOW_MS) for value in values])
        async with running_sink(log, counting) as health:
            await until(lambda: health.sink_behind == 0)
        found = [decode_dead_letter(record.value or b"") for record in await log.read(DLQ, 0, 0, 100)]
        told = [(letter.source_offset, letter.reason, letter.size) for letter in found]
        assert all(len(letter.value) == min(letter.size, DEAD_LETTER_BYTES_MAX) for letter in found)
        return told, len(counting.inserts) - len(set(counting.inserts)), (await stored(store, tenant_name))[0]


async def test_values_that_no_event_has_are_letters(store: ClickHouseStore, tmp_path: Path) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    odd = [Tenant(None, name).event(1, **fields) for _, fields in REFUSED.values()]  # type: ignore[arg-type]  # it only makes bytes here

    letters, retries, rows = await letters_after(store, tmp_path, odd, name)

    reasons = [reason for reason, _ in REFUSED.values()]
    assert letters == [(2 * n, *each) for n, each in enumerate(zip(reasons, map(len, odd), strict=True))]
    assert (retries, rows) == (RETRIES_MAX, len(odd))


async def test_bytes_that_no_event_has_are_letters(store: ClickHouseStore, tmp_path: Path) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    odd = [raw(Tenant(None, name), payload) for _, payload in RAW_REFUSED.values()]  # type: ignore[arg-type]  # it only makes bytes here

    letters, retries, rows = await letters_after(store, tmp_path, odd, name)

    reasons = [reason for reason, _ in RAW_REFUSED.values()]
    assert letters == [(2 * n, *each) for n, each in enumerate(zip(reasons, map(len, odd), strict=True))]
    assert (retries, rows) == (0, len(odd))


async def test_odd_bytes_of_events_are_stored_as_they_came(store: ClickHouseStore, tmp_path: Path) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    odd = [raw(Tenant(None, name), payload) for payload in RAW_EXACT.values()]  # type: ignore[arg-type]  # it only makes bytes here

    letters, retries, rows = await letters_after(store, tmp_path, odd, name)

    found = await store.query(
        "SELECT payload FROM flowgauge.events WHERE tenant = {t:String} AND _offset % 2 = 0 ORDER BY _offset",
        {"t": name},
        seen=EVERY_TENANT,
    )
    assert (letters, retries, rows) == ([], 0, 2 * len(odd))
    assert [str(payload).encode() for payload in found.column("payload")] == [
        b"{%b}" % each for each in RAW_EXACT.values()
    ]


async def test_one_bad_row_among_25_000_costs_one_retry_and_no_neighbour(
    store: ClickHouseStore, tmp_path: Path
) -> None:
    async with new_log(tmp_path) as log:
        tenant, counting = Tenant(log), Counting(store)
        # One batch, however slowly it is read.
        limits = replace(LIMITS, rows_max=25_000, age_max_ms=600_000, backlog_age_max_ms=600_000)
        values = [tenant.event(n) for n in range(limits.rows_max)]
        values[12_345] = tenant.event(12_345, occurred="2026-11-18t11:00:00z")
        await log.append(EVENTS, [Outgoing(0, "", value, append_ms=NOW_MS) for value in values])

        async with running_sink(log, counting, limits) as health:
            await until(lambda: health.sink_behind == 0)

        letters = [decode_dead_letter(record.value or b"") for record in await log.read(DLQ, 0, 0, 100)]
        assert [(letter.source_offset, letter.reason) for letter in letters] == [(12_345, "refused by ClickHouse")]
        assert letters[0].value == values[12_345]
        assert (await stored(store, tenant.name))[0] == limits.rows_max - 1
        assert len(counting.inserts) == 1 + RETRIES_MAX
