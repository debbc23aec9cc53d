"""Folding: what is known of each run is kept as one row, so that a question folds only what came since.

    runs ─── folded every five minutes ───► runs_folded        all that came before `until`
      └─────────── what came since ───────► a question

A question is right however old `until` is, only slower. Folding may be done by many at once, again, or be killed: the
newest row of a run counts, and `until` moves on last. It stays behind by what an insert may take to be seen.
"""

import asyncio
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from weakref import WeakKeyDictionary

import structlog

from flowgauge.schemas.errors import Transient
from flowgauge.sinks.clickhouse.call_settings import INSERT_S_MAX
from flowgauge.sinks.clickhouse.schema import RUNS
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.sinks.metrics import FOLD_FAILURES, FOLDED_RUNS, FULL_RUNS
from flowgauge.transport.patience import pause

FOLD_EVERY_S = 300  # so long a question folds itself: some thousand runs of a busy day
AGAIN_MS = 3_600_000  # folded once more each time: heals what stood still amid an insert for up to that long
SEEN_AFTER_MS = (INSERT_S_MAX + 30) * 1000  # an insert that began earlier is seen, or was given up
USED_MAX = (
    100_000  # events of a run that tell what it used, as the tables say (0030): of five millions no fold has room
)
RUNS_AT_ONCE = 50_000  # about a second; nothing else is asked of an engine in this process meanwhile
LOOK_EVERY_S = 10.0  # an older `until` is right as well, and a look takes a tenth of what a question does
_LOOKED: "WeakKeyDictionary[ClickHouseStore, tuple[float, int]]" = WeakKeyDictionary()  # when, and what was found

log_lines = structlog.get_logger(__name__)


async def keep_folded(store: ClickHouseStore, *, stop: asyncio.Event) -> None:
    """Fold every FOLD_EVERY_S until `stop`; what ClickHouse cannot do now is done the next time."""
    while not stop.is_set():
        try:
            await fold(store)
        except Transient as trouble:
            FOLD_FAILURES.inc()
            log_lines.warning("runs not folded", error=str(trouble))
        await pause(stop, FOLD_EVERY_S * 1000)


async def fold(
    store: ClickHouseStore, *, every_ms: int = FOLD_EVERY_S * 1000, seen_after_ms: int = SEEN_AFTER_MS
) -> int:
    """Fold what came since the last time, unless that is less than `every_ms` ago.

    Returns of how many runs something came, whether or not their state is known. Everything that was inserted more
    than `seen_after_ms` ago is in it. Raises EngineTrouble.
    """
    await store.synchronize(f"flowgauge.{RUNS}")
    until_ms, now_ms = await _until(store)
    to_ms = now_ms - seen_after_ms
    if to_ms < until_ms + every_ms:
        return 0
    since_ms = max(0, until_ms - AGAIN_MS)
    due = (await store.look(_sql("fold_due"), {"since_ms": since_ms, "used_max": USED_MAX})).rows
    counts = {str(tenant): int(str(runs)) for tenant, runs, _ in due}
    _tell_full({str(tenant): int(str(full)) for tenant, _, full in due})
    for tenants in shares(counts, RUNS_AT_ONCE):
        is_large = len(tenants) == 1 and counts[tenants[0]] > RUNS_AT_ONCE
        await _fold_share(store, tenants, since_ms, is_large=is_large)
    await store.command(_sql("folded_to"), {"to_ms": to_ms})
    _LOOKED.pop(store, None)
    FOLDED_RUNS.inc(sum(counts.values()))
    return sum(counts.values())


async def folded_ms(store: ClickHouseStore) -> int:
    """Return `until` in ms since 1970 of ClickHouse's clock; 0 before the first fold.

    What another process folded in the last LOOK_EVERY_S may be missing.
    """
    looked_s, until_ms = _LOOKED.get(store, (-math.inf, 0))
    if time.monotonic() >= looked_s + LOOK_EVERY_S:
        looked_s, (until_ms, _) = time.monotonic(), await _until(store)
        _LOOKED[store] = (looked_s, until_ms)
    return until_ms


def shares(counts: Mapping[str, int], at_once: int) -> Iterator[Sequence[str]]:
    """Yield tenants to fold together, given how many runs each has: `at_once` at most, or one tenant alone."""
    some: list[str] = []
    total = 0
    for tenant, runs in counts.items():
        if some and total + runs > at_once:
            yield some
            some, total = [], 0
        some.append(tenant)
        total += runs
    if some:
        yield some


def _tell_full(full: Mapping[str, int]) -> None:
    """Count the runs by tenant of which not all usage is kept, and say whose they are."""
    FULL_RUNS.inc(sum(full.values()))
    tenants = [tenant for tenant, runs in full.items() if runs]
    if tenants:
        remedy = "end such a run sometimes, or let it tell what it used less often"
        log_lines.warning("not all that runs used is kept", tenants=tenants[:10], events_max=USED_MAX, remedy=remedy)


async def _fold_share(store: ClickHouseStore, tenants: Sequence[str], since_ms: int, *, is_large: bool) -> None:
    """Fold the runs of `tenants`; those of a large one some at a time, in the order in which the table has them."""
    after = ""
    while True:
        upto = ""
        if is_large:
            asked = {"tenant": tenants[0], "after": after, "since_ms": since_ms, "at_once": RUNS_AT_ONCE}
            upto = str((await store.look(_sql("fold_next"), asked)).rows[0][0])
            if not upto:
                return
        part = {"tenants": list(tenants), "after": after, "upto": upto, "since_ms": since_ms}
        await store.command(_sql("fold_runs"), part)
        if not is_large:
            return
        after = upto


async def _until(store: ClickHouseStore) -> tuple[int, int]:
    ((until_ms, now_ms),) = (await store.query(_sql("folded_until"), seen=EVERY_TENANT)).rows
    return int(str(until_ms)), int(str(now_ms))


@cache
def _sql(name: str) -> str:
    return (files("flowgauge.sinks.clickhouse") / "queries" / f"{name}.sql").read_text("utf-8")
