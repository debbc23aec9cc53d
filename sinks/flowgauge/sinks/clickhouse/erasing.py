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
    at_ms: int = 0


_whose = msgspec.json.Decoder(_Whose).decode


def kept_rows(rows: Sequence[Row], erased: Mapping[str, int], *, tell_of_others: bool) -> Sequence[Row]:
    """Return the rows that are of no tenant in `erased`, or of a time after it was.

    `erased` says before when rows of a tenant are gone, in ms. `rows` are of one partition, in its order, so rows
    that were appended after every erasure are not even looked into, unless they `tell_of_others`.
    """
    if not erased or not rows:
        return rows
    if not tell_of_others and rows[0].append_ms >= max(erased.values()):
        return rows
    return [each for each in rows if not _is_erased(each, erased)]


def _is_erased(row: Row, erased: Mapping[str, int]) -> bool:
    whose = _whose(row.value())
    before_ms = erased.get(whose.tenant, 0)
    return row.append_ms < before_ms or 0 < whose.at_ms < before_ms
