"""Laws of the SQLite log: packing loses nothing, and any history of appends, trims and restarts reads as a list."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.transport import local_blocks
from flowgauge.transport.local import open_local_log
from flowgauge.transport.local_blocks import (
    chunks,
    cut_block,
    decode_block,
    encode_block,
    offsets_in_call_order,
    pack_request,
    stamp,
)
from flowgauge.transport.log import Assigned, Batch, Committed, Outgoing, Record

LOGS = 30  # examples of the laws that make a log each: some 20 ms of disk

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
TIMES = st.none() | st.integers(0, 5_000)
RECORDS = st.builds(Outgoing, st.integers(0, 2), KEYS, st.binary(max_size=30), st.sampled_from(RecordKind), TIMES)


@given(records=st.lists(RECORDS, max_size=30), bases=st.tuples(*[st.integers(0, 1_000)] * 3))
def test_every_record_of_a_call_gets_the_offset_of_its_place_in_its_partition(
    records: list[Outgoing], bases: tuple[int, int, int]
) -> None:
    request = pack_request(records)
    ends = list(bases)
    expected: list[int] = []
    for record in records:
        expected.append(ends[record.partition])
        ends[record.partition] += 1

    offsets = offsets_in_call_order(request, [bases[partition] for partition, _ in request.parts])

    assert list(offsets) == expected if records else not request.parts


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a few records fill several."""
    monkeypatch.setattr(local_blocks, "BLOCK_RECORDS_MAX", 4)
    monkeypatch.setattr(local_blocks, "BLOCK_BYTES_MAX", 64)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, min_size=1, max_size=30), now_ms=st.integers(0, 5_000), last_ms=st.integers(0, 5_000))
@pytest.mark.usefixtures("small_blocks")
def test_blocks_give_back_what_was_packed(records: list[Outgoing], now_ms: int, last_ms: int) -> None:
    same = [record._replace(partition=0) for record in records]
    ((_, columns),) = pack_request(same).parts

    stamps, newest_ms = stamp(columns, now_ms=now_ms, last_ms=last_ms)
    unpacked: list[Record] = []
    for part in chunks(columns):
        data = encode_block(columns, stamps, part)
        block = decode_block(100 + part.start, data)
        size = sum(len(record.value or b"") for record in block)
        assert len(block) <= 4
        assert size <= 64 or len(block) == 1
        for cut in range(len(block)):
            assert decode_block(block[cut].offset, cut_block(block[0].offset, data, block[cut].offset)) == block[cut:]
        unpacked += block

    assert [(r.kind, r.key, r.value) for r in unpacked] == [(r.kind, r.key, r.value) for r in same]
    assert [r.offset for r in unpacked] == list(range(100, 100 + len(same)))
    for before, (given_, read) in zip(_newest_before(unpacked, last_ms), zip(same, unpacked, strict=True), strict=True):
        assert read.append_ms == (max(now_ms, before) if given_.append_ms is None else given_.append_ms)
    assert newest_ms == max(last_ms, *(record.append_ms for record in unpacked))


def _newest_before(records: Sequence[Record], last_ms: int) -> list[int]:
    """Return the newest stamp that the partition had before each record."""
    newest = [last_ms]
    for record in records:
        newest.append(max(newest[-1], record.append_ms))
    return newest[:-1]


APPEND = st.tuples(st.just("append"), st.lists(st.integers(0, 9).map(lambda n: n * 100), min_size=1, max_size=12))
COMMIT = st.tuples(st.just("commit"), st.integers(0, 60).map(lambda n: [n]))
TRIM = st.tuples(st.just("trim"), st.integers(0, 10).map(lambda n: [n * 100]))
RESTART = st.tuples(st.just("restart"), st.just([0]))


@settings(max_examples=LOGS, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(actions=st.lists(st.one_of(APPEND, APPEND, COMMIT, TRIM, RESTART), max_size=15), records_max=st.integers(1, 9))
@pytest.mark.usefixtures("small_blocks")
async def test_any_history_of_appends_trims_and_restarts_reads_as_a_list(
    tmp_path: Path, actions: list[tuple[str, list[int]]], records_max: int
) -> None:
    folder = tmp_path / uuid4().hex
    log = await open_local_log(folder, partitions={EVENTS: 1})
    reader = await log.open_reader(EVENTS, "sink")
    model: list[tuple[int, int]] = []  # offset, append time
    end = passed = 0

    for action, numbers in actions:
        if action == "append":
            records = [Outgoing(0, "run", b"%d" % (end + n), append_ms=at) for n, at in enumerate(numbers)]
            assert list(await log.append(EVENTS, records)) == list(range(end, end + len(numbers)))
            model += [(end + n, at) for n, at in enumerate(numbers)]
            end += len(numbers)
        elif action == "commit":
            passed = min(numbers[0], end)
            await reader.commit({0: Committed(passed)})
        elif action == "trim":
            dropped = 0
            while model and model[0][1] < numbers[0] and model[0][0] < passed:
                model.pop(0)
                dropped += 1
            assert await log.trim(EVENTS, before_ms=numbers[0]) == dropped
        else:
            await log.close()
            log = await open_local_log(folder, partitions={EVENTS: 1})
            reader = await log.open_reader(EVENTS, "sink")
    polled: list[Record] = []
    reader = await log.open_reader(EVENTS, "sink")
    assert await reader.poll(records_max=records_max, timeout_ms=0) == [Assigned(0, passed)]
    await reader.seek(0, 0)
    while items := await reader.poll(records_max=records_max, timeout_ms=0):
        (batch,) = items
        assert isinstance(batch, Batch)
        assert len(batch.records) <= records_max
        polled += batch.records

    assert [(r.offset, r.append_ms) for r in polled] == model
    assert [r.value for r in polled] == [b"%d" % offset for offset, _ in model]
    assert await log.read(EVENTS, 0, 0, 1_000) == polled
    await log.close()


@settings(max_examples=LOGS, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    appends=st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.binary(max_size=3)), min_size=1, max_size=5),
        max_size=8,
    )
)
async def test_a_compacted_topic_reads_as_the_last_record_of_each_key(
    tmp_path: Path, appends: list[list[tuple[str, bytes | None]]]
) -> None:
    log = await open_local_log(tmp_path / uuid4().hex, partitions={RULES: 1})
    model: dict[str, tuple[int, bytes | None]] = {}

    for records in appends:
        offsets = await log.append(RULES, [Outgoing(0, key, value) for key, value in records])
        for offset, (key, value) in zip(offsets, records, strict=True):
            model[key] = (offset, value)

    read = await log.read(RULES, 0, 0, 100)
    assert [(r.offset, r.key, r.value) for r in read] == sorted((at, key, value) for key, (at, value) in model.items())
    await log.close()
