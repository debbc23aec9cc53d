"""The SQLite log in trouble: full disk, foreign and damaged files, other settings, a clock that steps back."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from flowgauge.schemas.errors import BadEnvironment, InvariantBroken, LogMismatch, Transient
from flowgauge.schemas.topics import EVENTS, RULES, TRANSITIONS
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Assigned, Outgoing, Output

PARTITIONS = {EVENTS: 1, TRANSITIONS: 1, RULES: 1}
FULL = "free disk space; nothing was changed"


async def fill(log: LocalLog) -> int:
    """Append until the disk is full; return how many records are in."""
    appended = 0
    while True:
        try:
            await log.append(EVENTS, [Outgoing(0, "run", b"x" * 10_000)] * 5)
        except Transient as error:
            assert FULL in str(error)  # noqa: PT017  # the loop is what raises at last
            return appended
        appended += 5


async def state_of(log: LocalLog) -> dict[str, bytes]:
    (assigned,) = await (await log.open_steps(EVENTS, "reading")).poll(records_max=1, timeout_ms=0)
    assert isinstance(assigned, Assigned)
    return dict(assigned.state)


async def test_an_append_on_a_full_disk_is_refused_whole_and_what_was_there_stays(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS, page_count_max=100)

    appended = await fill(log)

    assert appended > 0
    assert await log.ends(EVENTS) == {0: appended}
    assert [r.offset for r in await log.read(EVENTS, 0, 0, 1_000)] == list(range(appended))
    await log.close()


async def test_the_log_works_again_when_there_is_room_again(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS, page_count_max=100)
    appended = await fill(log)

    assert await log.trim(EVENTS, before_ms=1 << 46) == appended

    assert list(await log.append(EVENTS, [Outgoing(0, "run", b"y" * 10_000)])) == [appended]
    assert [r.value for r in await log.read(EVENTS, 0, 0, 10)] == [b"y" * 10_000]
    await log.close()


async def test_a_step_on_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS, page_count_max=100)
    steps = await log.open_steps(EVENTS, "reading")
    await steps.commit(0, next_offset=None, state={"a": b"1"}, outputs=[])
    await fill(log)

    with pytest.raises(Transient, match=FULL):
        await steps.commit(
            0,
            next_offset=1,
            state={"a": None, "b": b"2"},  # this would fit: it is the outputs that do not
            outputs=[Output(TRANSITIONS, Outgoing(0, "incident", b"x" * 200_000))],
        )

    assert await state_of(log) == {"a": b"1"}
    assert await log.read(TRANSITIONS, 0, 0, 10) == []
    await log.close()


async def test_a_record_that_cannot_be_written_spoils_none_of_its_neighbours(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)

    results = await asyncio.gather(
        log.append(EVENTS, [Outgoing(0, "good", b"1")]),
        log.append(EVENTS, [Outgoing(0, "half a character \ud800", b"2")]),
        log.append(EVENTS, [Outgoing(0, "good", b"3")]),
        return_exceptions=True,
    )

    assert [isinstance(result, InvariantBroken) for result in results] == [False, True, False]
    assert [(r.offset, r.value) for r in await log.read(EVENTS, 0, 0, 10)] == [(0, b"1"), (1, b"3")]
    await log.close()


async def test_a_wall_clock_that_steps_back_shows_as_equal_append_times(tmp_path: Path) -> None:
    clock = iter([5_000, 4_000, 6_000, 1_000])
    log = await open_local_log(tmp_path, partitions=PARTITIONS, now_ms=lambda: next(clock))
    for value in (b"a", b"b", b"c"):
        await log.append(EVENTS, [Outgoing(0, "run", value)])
    await log.close()

    log = await open_local_log(tmp_path, partitions=PARTITIONS, now_ms=lambda: next(clock))
    await log.append(EVENTS, [Outgoing(0, "run", b"d")])

    assert [r.append_ms for r in await log.read(EVENTS, 0, 0, 10)] == [5_000, 5_000, 6_000, 6_000]
    await log.close()


async def test_another_partition_count_is_refused_with_the_remedy(tmp_path: Path) -> None:
    await (await open_local_log(tmp_path, partitions=PARTITIONS)).close()

    with pytest.raises(LogMismatch, match=r"has 1 partitions of flowgauge.events, .* ask for 4: set it back to 1"):
        await open_local_log(tmp_path, partitions={EVENTS: 4})


async def test_a_new_topic_joins_an_existing_log_and_topics_not_named_stay(tmp_path: Path) -> None:
    await (await open_local_log(tmp_path, partitions={EVENTS: 2})).close()

    log = await open_local_log(tmp_path, partitions={TRANSITIONS: 3})

    assert (log.partitions(EVENTS), log.partitions(TRANSITIONS)) == (2, 3)
    with pytest.raises(InvariantBroken, match=f"no topic {RULES}"):
        log.partitions(RULES)
    await log.close()


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"my shopping list, " * 100)

    with pytest.raises(LogMismatch, match="not a flowgauge log, or is damaged"):
        await open_local_log(tmp_path, partitions=PARTITIONS)

    assert (tmp_path / "log.db").read_bytes().startswith(b"my shopping list")


async def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    foreign = sqlite3.connect(tmp_path / "log.db")
    foreign.execute("CREATE TABLE songs (title)")
    foreign.commit()
    before = (tmp_path / "log.db").read_bytes()

    with pytest.raises(LogMismatch, match="is no flowgauge log: move it away"):
        await open_local_log(tmp_path, partitions=PARTITIONS)

    foreign.close()
    assert (tmp_path / "log.db").read_bytes() == before


async def test_a_log_of_a_later_format_is_refused(tmp_path: Path) -> None:
    await (await open_local_log(tmp_path, partitions=PARTITIONS)).close()
    later = sqlite3.connect(tmp_path / "log.db")
    later.execute("PRAGMA user_version = 99")
    later.close()

    with pytest.raises(LogMismatch, match="format 99"):
        await open_local_log(tmp_path, partitions=PARTITIONS)


async def test_a_log_whose_pages_are_damaged_is_refused_with_the_remedy(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    await log.append(EVENTS, [Outgoing(0, "run", b"x" * 50_000)] * 10)
    await log.close()
    file = tmp_path / "log.db"
    file.write_bytes(file.read_bytes()[:8_192] + b"\xff" * (file.stat().st_size - 8_192))

    with pytest.raises(LogMismatch, match="restore it from a backup"):
        await open_local_log(tmp_path, partitions=PARTITIONS)


async def test_a_folder_that_cannot_be_made_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(BadEnvironment, match="make the folder writable"):
        await open_local_log(tmp_path / "file", partitions=PARTITIONS)


async def test_a_log_that_was_never_finished_being_made_is_made(tmp_path: Path) -> None:
    (tmp_path / "log.db").touch()
    begun = sqlite3.connect(tmp_path / "log.db")
    begun.execute("PRAGMA journal_mode = WAL")
    begun.close()

    log = await open_local_log(tmp_path, partitions=PARTITIONS)

    assert list(await log.append(EVENTS, [Outgoing(0, "run", b"x")])) == [0]
    await log.close()


async def test_a_closed_log_refuses_use_and_closing_again_is_fine(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    reader = await log.open_reader(EVENTS, "sink")
    await reader.poll(records_max=1, timeout_ms=0)  # the assignments
    waiting = asyncio.ensure_future(reader.poll(records_max=1, timeout_ms=60_000))
    await asyncio.sleep(0)
    await log.close()
    await log.close()

    with pytest.raises(InvariantBroken, match="closed"):
        await waiting
    with pytest.raises(InvariantBroken, match="closed"):
        await log.append(EVENTS, [Outgoing(0, "run", b"x")])
    with pytest.raises(InvariantBroken, match="closed"):
        await log.read(EVENTS, 0, 0, 1)


async def test_space_of_trimmed_records_goes_back_to_the_disk(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)
    for _ in range(20):
        await log.append(EVENTS, [Outgoing(0, "run", b"x" * 100_000)] * 10)
    await log.trim(EVENTS, before_ms=1 << 46)
    await log.close()

    assert (tmp_path / "log.db").stat().st_size < 1_000_000


async def test_a_burst_of_appends_waits_for_room_in_the_queue_and_loses_nothing(tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions=PARTITIONS)

    offsets = await asyncio.gather(*(log.append(EVENTS, [Outgoing(0, "run", b"%d" % n)]) for n in range(3_000)))

    read = await log.read(EVENTS, 0, 0, 5_000)
    assert [(r.offset, r.value) for r in read] == sorted((o[0], b"%d" % n) for n, o in enumerate(offsets))
    await log.close()
