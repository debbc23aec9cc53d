"""History into a new log: `up --load FILE`.

    each partition:   [ RULES marker ][ history, with its recorded append times … ][ LOADED ]

The marker stands first, so that the history is matched by the rules of today. Nothing else writes meanwhile: no
pulses, no gateway. A load that was stopped or killed leaves its mark in the data folder, and the folder is refused
until it is removed: half a history would be told as if it were whole.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from flowgauge.console.history import Entry, Unreadable, entries, is_capture, last_append_ms
from flowgauge.processors.ruleset import RuleSet
from flowgauge.processors.ruletopic import publish_rules
from flowgauge.producers.event_file import read_lines, refuse_pipe
from flowgauge.producers.prefect.capture import Problem, convert
from flowgauge.schemas.delivery import DEAD_LETTER_BYTES_MAX, DeadLetter, encode_dead_letter
from flowgauge.schemas.errors import BadInput, FlowgaugeError, LogMismatch
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.topics import DLQ, EVENTS, RecordKind
from flowgauge.transport.log import Log, Outgoing

APPEND_RECORDS_MAX = 2_000  # in one append: few transactions, little memory

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Load:
    """A file of history; with `end_ms`, its times move so that its last append is then."""

    file: Path
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brought."""

    events: int
    unreadable: int
    last_append_ms: int


class LoadStopped(FlowgaugeError):
    """The load was told to stop before its end."""


def refuse_half_loaded(data: Path) -> None:
    """Raise LogMismatch when a load into this folder was interrupted."""
    if _mark(data).exists():
        raise LogMismatch(f"a load into {data} was interrupted: remove the folder and load again")


async def load(log_: Log, ruleset: RuleSet, history: Load, *, data: Path, stop: asyncio.Event) -> Loaded:
    """Append the history between its marker and its end.

    Raises LogMismatch when the log is not empty, and LoadStopped soon after `stop`.
    """
    if any((await log_.ends(EVENTS)).values()):
        raise LogMismatch(f"the log in {data} is not empty: history enters a new log only, choose another --data")
    try:
        shift_ms = await asyncio.to_thread(shift_of, history, stop)
    except _Stopped:
        raise LoadStopped("stopped before anything was loaded: start it again as it was") from None
    _mark(data).touch()
    log.info("loading history", file=str(history.file))
    try:
        loaded = await _append_all(log_, ruleset, entries(_until(stop, event_lines(history.file)), shift_ms=shift_ms))
    except _Stopped:
        raise LoadStopped(
            f"stopped while it loaded {history.file}: the next start refuses {data}, remove it and load again"
        ) from None
    ends = [Outgoing(p, "", b"{}", RecordKind.LOADED, loaded.last_append_ms) for p in range(log_.partitions(EVENTS))]
    await log_.append(EVENTS, ends)
    _mark(data).unlink()
    log.info("history loaded", events=loaded.events, unreadable=loaded.unreadable)
    return loaded


class _Stopped(Exception):  # not an error: what the reader of lines is told
    """`stop` was set between two lines."""


def _until(stop: asyncio.Event, lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        if stop.is_set():  # also read from a thread: it only ever goes from False to True
            raise _Stopped
        yield line


def shift_of(history: Load, stop: asyncio.Event | None = None) -> int:
    """Return by how much its times move, in ms; raise BadInput for a pipe, and for a file without events."""
    refuse_pipe(history.file)
    lines = event_lines(history.file)
    last_ms = last_append_ms(lines if stop is None else _until(stop, lines))
    if not last_ms:
        raise BadInput(f"{history.file}: no events in it")
    return 0 if history.end_ms is None else history.end_ms - last_ms


async def _append_all(log_: Log, ruleset: RuleSet, history: Iterator[Entry | Unreadable]) -> Loaded:
    events = unreadable = append_ms = 0
    partitions = log_.partitions(EVENTS)
    batch: list[Outgoing] = []
    for item in history:
        append_ms = item.append_ms
        if events + unreadable == 0:
            await publish_rules(log_, ruleset, first_append_ms=dict.fromkeys(range(partitions), append_ms))
        if isinstance(item, Unreadable):
            unreadable += 1
            log.warning("line not loaded", line=item.line, reason=item.reason, detail=item.detail)
            await log_.append(DLQ, [Outgoing(0, item.tenant, _letter(item), append_ms=append_ms)])
            continue
        events += 1
        batch.append(Outgoing(events_partition(item.key, partitions), item.key, item.value, append_ms=append_ms))
        if len(batch) >= APPEND_RECORDS_MAX:
            await log_.append(EVENTS, batch)
            batch = []
    if batch:
        await log_.append(EVENTS, batch)
    return Loaded(events, unreadable, append_ms)


def _letter(item: Unreadable) -> bytes:
    return encode_dead_letter(
        DeadLetter(
            tenant=item.tenant,
            reason=item.reason,
            detail=item.detail,
            origin="load",
            at_ms=item.append_ms,
            value=item.raw[:DEAD_LETTER_BYTES_MAX],
            size=len(item.raw),
        )
    )


def event_lines(file: Path) -> Iterator[bytes]:
    """Yield event lines: a capture is converted on the way; the file may be gzipped."""
    lines = read_lines(file)
    first = next(lines, b"")
    if is_capture(first):
        for converted in convert(_chain(first, lines)):
            if isinstance(converted, Problem):
                log.warning("line not converted", line=converted.line, reason=converted.reason)
            else:
                yield converted
        return
    yield from _chain(first, lines)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _mark(data: Path) -> Path:
    return data / "loading"
