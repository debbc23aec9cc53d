"""Which rows stay out because their tenant was erased. Pure.

The log keeps records longer than an erasure takes, and a sink that finds its place lost, or an insert pending, reads
them again. What such a record says is of a time before the erasure: when it was appended, and for what is told of
other records (transitions, deliveries, dead letters) when that was.
"""

from collections.abc import Mapping, Sequence

import msgspec

from flowgauge.sinks.clickhouse.rows import Row

AHEAD_MS = 5_000  # a broker's clock may run ahead of ours by so much: what it stored by then goes too


class _Whose(msgspec.Struct, frozen=True, gc=False):
    tenant: str = ""


class _Told(_Whose, frozen=True, gc=False):
    at_ms: int = 0


# Of an event only the tenant: what else it calls by these names is its own.
_whose = msgspec.json.Decoder(_Whose).decode
_told = msgspec.json.Decoder(_Told).decode


def kept_rows(rows: Sequence[Row], erased: Mapping[str, int], *, tell_of_others: bool) -> Sequence[Row]:
    """Return the rows that are of no tenant in `erased`, or of a time after it was.

    `erased` says before when rows of a tenant are gone, in ms. `rows` are of one partition, in its order, so rows
    that were appended after every erasure are not even looked into, unless they `tell_of_others`.
    """
    if not erased or not rows:
        return rows
    if not tell_of_others and rows[0].append_ms >= max(erased.values()):
        return rows
    is_erased = _tells_of_erased if tell_of_others else _is_erased
    return [each for each in rows if not is_erased(each, erased)]


def _is_erased(row: Row, erased: Mapping[str, int]) -> bool:
    return row.append_ms < erased.get(_whose(row.value()).tenant, 0)


def _tells_of_erased(row: Row, erased: Mapping[str, int]) -> bool:
    told = _told(row.value())
    before_ms = erased.get(told.tenant, 0)
    return row.append_ms < before_ms or 0 < told.at_ms < before_ms
