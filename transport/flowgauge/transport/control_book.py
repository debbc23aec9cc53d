"""Controls in the log: written by whoever lets people act, read by whoever goes by them.

    flowgauge.controls   ack  note  silence  assign …  │ what comes
                         └──────── read at the start ──┘ └── followed

The topic is compacted and every control has a key of its own, so all are kept, and each is erased by its key.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import structlog

from flowgauge.schemas.control import Control, decode_control, encode_control
from flowgauge.schemas.controls_in_force import ControlsInForce
from flowgauge.schemas.errors import Transient, Unreadable
from flowgauge.schemas.topics import CONTROLS
from flowgauge.transport.health import Health
from flowgauge.transport.log import Log, Outgoing, Record
from flowgauge.transport.metrics import CONTROLS_DROPPED, CONTROLS_PASSED_OVER
from flowgauge.transport.patience import Patience, pause

PART = "controls"  # how health names that they cannot be read now
UNREADABLE_PART = "unreadable controls"  # and that some never can
READ_RECORDS_MAX = 1_000
LOOK_EVERY_MS = 500

log_lines = structlog.get_logger("flowgauge.controls")

Tell = Callable[[Control], None]


class ControlBook:
    """What people said, as far as the log was read. `tell` is given each control that changes something, in order.

    `is_read` is set, once, when what the log held at the start is read: before, nobody may be told of an incident,
    because a silence may stand further on.
    """

    def __init__(self, log: Log, health: Health, tell: Tell = lambda _control: None) -> None:
        self.in_force = ControlsInForce()
        self.is_read = asyncio.Event()
        self.passed_over = 0  # records that no program of this version can read
        self._log = log
        self._health = health
        self._tell = tell
        self._dropped: Counter[str] = Counter()  # of those in force, as far as they were counted
        self._next_offset = 0
        self._reading = asyncio.Lock()  # one at a time: each control is told once

    async def refresh(self) -> None:
        """Read what is new, up to what the log holds now. Raises Transient when the log cannot be read now."""
        async with self._reading:
            while records := await self._log.read(CONTROLS, 0, self._next_offset, READ_RECORDS_MAX):
                for record in records:
                    self._read(record)
                    self._next_offset = record.offset + 1
            for what, dropped in (self.in_force.dropped - self._dropped).items():
                CONTROLS_DROPPED.labels(what).inc(dropped)
            self._dropped = self.in_force.dropped.copy()
        self.is_read.set()

    async def append(self, control: Control) -> None:
        """Write a control durably; raise Transient when the log cannot take it now.

        It is in force here by then, unless the log cannot be read now: who follows reads it later.
        """
        await self._log.append(CONTROLS, [Outgoing(0, control.control_id, encode_control(control))])
        with suppress(Transient):
            await self.refresh()

    async def erase(self, tenant: str) -> int:
        """Take what was said for `tenant` out of the log, and return how much. Raises Transient when it cannot now."""
        next_offset = 0
        held: set[str] = set()  # what is compacted later stands before its tombstone
        while records := await self._log.read(CONTROLS, 0, next_offset, READ_RECORDS_MAX):
            for record in records:
                (held.add if _is_of(record, tenant) else held.discard)(record.key)
            next_offset = records[-1].offset + 1
        await self._log.append(CONTROLS, [Outgoing(0, key, None) for key in sorted(held)])
        await self.refresh()
        return len(held)

    def _read(self, record: Record) -> None:
        if record.value is None:
            self.in_force.forget(record.key)
            return
        try:
            control = decode_control(record.value)
        except Unreadable as error:
            self._pass_over(record, error)
            return
        if self.in_force.take(control):
            self._tell(control)

    def _pass_over(self, record: Record, error: Unreadable) -> None:
        self.passed_over += 1
        CONTROLS_PASSED_OVER.inc()
        where = f"{CONTROLS} partition 0 offset {record.offset}"
        log_lines.warning("control passed over", offset=record.offset, problem=str(error))
        self._health.operator_problems[UNREADABLE_PART] = (
            f"{self.passed_over} passed over, the newest at {where}: what somebody did, or a silence, does not count "
            "here; update this program if a newer one wrote it"
        )


def _is_of(record: Record, tenant: str) -> bool:
    try:
        return record.value is not None and decode_control(record.value).tenant == tenant
    except Unreadable:
        return False


async def run_controls(book: ControlBook, *, stop: asyncio.Event, health: Health) -> None:
    """Follow the controls until `stop`."""
    patiently = Patience(PART, health, stop)
    while not stop.is_set():
        await patiently(book.refresh)
        await pause(stop, LOOK_EVERY_MS)
