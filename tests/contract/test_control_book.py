"""Controls through every adapter of the log: written, read from the beginning, followed."""

import asyncio

from prometheus_client import REGISTRY
from tests.contract.contract_log import OpenLog

from flowgauge.schemas.control import Acknowledged, Control, Noted, encode_control
from flowgauge.schemas.controls_in_force import ACTS_MAX
from flowgauge.schemas.topics import CONTROLS
from flowgauge.transport.control_book import UNREADABLE_PART, ControlBook, run_controls
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log, Outgoing


def dropped_acts() -> float:
    return REGISTRY.get_sample_value("flowgauge_transport_controls_dropped_total", {"what": "acts"}) or 0.0


def acknowledged(number: int) -> Control:
    return Acknowledged(control_id=f"c{number}", tenant="acme", at_ms=number, by="ann", incident_id="i")


async def test_what_was_written_is_read_by_another_from_the_beginning_and_said_once(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    writing = ControlBook(log, Health())
    for number in range(3):
        await writing.append(acknowledged(number))
    told: list[Control] = []
    reading = ControlBook(other, Health(), told.append)

    was_read = reading.is_read.is_set()
    await reading.refresh()
    await reading.refresh()

    assert (was_read, reading.is_read.is_set(), told) == (False, True, [acknowledged(number) for number in range(3)])
    assert reading.in_force.handling("acme", "i") == writing.in_force.handling("acme", "i")


async def test_an_empty_log_is_read_at_once(log: Log) -> None:
    book = ControlBook(log, Health())

    await book.refresh()

    assert book.is_read.is_set()


async def test_a_control_that_cannot_be_read_is_shown_and_passed_over(log: Log) -> None:
    health = Health()
    newer = b'{"act": "applaud", "control_id": "x"}'
    records = [Outgoing(0, "x", newer), Outgoing(0, "c1", encode_control(acknowledged(1)))]
    await log.append(CONTROLS, records)
    book = ControlBook(log, health)

    await book.refresh()

    handling = book.in_force.handling("acme", "i")
    assert (handling.acts, book.passed_over) == ((acknowledged(1),), 1)
    assert (
        "1 passed over, the newest at flowgauge.controls partition 0 offset 0"
        in (health.operator_problems[UNREADABLE_PART])
    )


async def test_what_no_longer_finds_room_is_counted_once(log: Log) -> None:
    book = ControlBook(log, Health())
    before = dropped_acts()
    await log.append(CONTROLS, [Outgoing(0, f"c{n}", encode_control(acknowledged(n))) for n in range(ACTS_MAX + 2)])

    await book.refresh()
    await book.refresh()

    assert dropped_acts() - before == 2


async def test_an_erased_control_no_longer_counts(log: Log) -> None:
    book = ControlBook(log, Health())
    await book.append(acknowledged(1))
    note = Noted(control_id="c2", tenant="acme", at_ms=2, by="ann", incident_id="i", text="looked")
    await book.append(note)

    await log.append(CONTROLS, [Outgoing(0, "c1", None)])
    await book.refresh()

    assert book.in_force.handling("acme", "i").acts == (note,)


async def test_what_a_tenant_said_is_erased_and_what_others_said_stays(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    book, following = ControlBook(log, Health()), ControlBook(other, Health())
    stays = Acknowledged(control_id="c9", tenant="zoo", at_ms=9, by="ann", incident_id="i")
    for control in (acknowledged(1), stays, acknowledged(2)):
        await book.append(control)
    await log.append(CONTROLS, [Outgoing(0, "x", b"no control")])
    await following.refresh()

    erased = [await book.erase("acme"), await book.erase("acme")]

    await following.refresh()
    assert erased == [2, 0]
    for each in (book, following):
        assert (each.in_force.handling("acme", "i").acts, each.in_force.handling("zoo", "i").acts) == ((), (stays,))


async def test_who_follows_hears_of_what_others_write_later(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    heard: asyncio.Queue[Control] = asyncio.Queue()
    health, stop = Health(), asyncio.Event()
    following = ControlBook(other, health, heard.put_nowait)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_controls(following, stop=stop, health=health))
        await following.is_read.wait()
        await ControlBook(log, Health()).append(acknowledged(1))
        first = await heard.get()
        stop.set()

    assert first == acknowledged(1)
