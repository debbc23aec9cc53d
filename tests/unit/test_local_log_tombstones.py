"""Tombstones of the SQLite log: `trim` drops them one by one.

Only this adapter can: Kafka's brokers compact by themselves, after delete.retention.ms, and drop none when asked.
"""

from pathlib import Path

from flowgauge.schemas.topics import RULES
from flowgauge.transport.local import open_local_log
from flowgauge.transport.log import Committed, Outgoing

FUTURE_MS = 1 << 46  # after anything a wall clock says


async def test_a_compacted_topic_loses_only_old_tombstones(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions={RULES: 1})
    await log.append(
        RULES,
        [
            Outgoing(0, "kept", b"1", append_ms=1_000),
            Outgoing(0, "gone", None, append_ms=1_000),
            Outgoing(0, "going", None, append_ms=9_000),
        ],
    )

    assert await log.trim(RULES, before_ms=5_000) == 1

    assert {r.key: r.value for r in await log.read(RULES, 0, 0, 10)} == {"kept": b"1", "going": None}
    await log.close()


async def test_a_tombstone_stays_until_every_group_has_passed_it(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions={RULES: 1})
    reader = await log.open_reader(RULES, "notifier")
    offsets = await log.append(RULES, [Outgoing(0, "silence", b"1"), Outgoing(0, "silence", None)])

    assert await log.trim(RULES, before_ms=FUTURE_MS) == 0
    await reader.commit({0: Committed(offsets[-1] + 1)})

    assert await log.trim(RULES, before_ms=FUTURE_MS) == 1
    assert await log.read(RULES, 0, 0, 10) == []
    await log.close()
