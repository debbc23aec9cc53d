"""The sensor that tells flowgauge what stands in Dagster's event log.

A code location adds it to its Definitions:

    from flowgauge.producers.dagster.sensor import flowgauge_sensor

    defs = dagster.Definitions(..., sensors=[flowgauge_sensor()])

    FLOWGAUGE_URL, FLOWGAUGE_TOKEN      where flowgauge is, and who we are there; or FLOWGAUGE_KAFKA_…, see KafkaTarget

It runs in the process that serves the code location, never in a run, and reads the runs of the whole instance. Its
cursor moves on only over what flowgauge has answered for: while flowgauge is away it stands, and nothing is lost that
Dagster's log still holds. What is read again has the same ids.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from logging import getLevelNamesMapping
from time import monotonic
from typing import Any, Final

from flowgauge.producers.connector_event import utc
from flowgauge.producers.dagster.mapping import EventJson, RunLabels, labels_of, mapped
from flowgauge.producers.dagster.position import OVERLAP_S, Position, decoded, encoded
from flowgauge.producers.publisher import Publisher
from flowgauge.transport.wall_clock import now_ms

__all__ = ["flowgauge_sensor"]

TICK_S_MAX: Final = 30.0  # Dagster ends a tick that takes over a minute; what is left is told in the next
FLUSH_MS_MAX: Final = 5_000  # how long a tick waits for an answer
PAGE_RECORDS: Final = 1_000  # of one run's log
BATCH_EVENTS: Final = 1_000  # told between two answers: so much is told again after a crash
RUNS_MAX: Final = 5_000  # that go on at once: the cursor names them. Others are told when some of them have ended

_dagster: Any = import_module("dagster")


def flowgauge_sensor(
    name: str = "flowgauge",
    *,
    minimum_interval_seconds: int = 5,
    logs: str = "INFO",
    since: datetime | None = None,
) -> Any:
    """Return a sensor that tells flowgauge all that happens in the Dagster instance. It is on from the start.

    `logs` is the least level of log lines that are told, or `off`. It begins with runs that change after `since`, or
    after its first tick. Raises ValueError for a level that there is none of, and TypeError for a `since` that is no
    datetime.
    """
    levels = getLevelNamesMapping()
    if logs != "off" and logs.upper() not in levels:
        raise ValueError(f"logs: expected a level such as INFO, or off; got {logs!r}")
    try:
        utc(since)
    except AttributeError:
        said = f"since: expected a datetime such as datetime(2026, 11, 29, tzinfo=UTC); got {since!r}"
        raise TypeError(said) from None
    teller = _Teller(levels.get(logs.upper()))

    def evaluate(context: Any) -> Any:
        start = now_ms() / 1000 if since is None else (utc(since) or since).timestamp()
        before = decoded(context.cursor, start)
        after, told, answered = teller.tell(context.instance, before)
        said = f"{told} events told" if answered else f"{told} events told; flowgauge did not answer for the rest"
        return _dagster.SensorResult(cursor=encoded(after), skip_reason=said)

    return _dagster.SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        minimum_interval_seconds=minimum_interval_seconds,
        description="Tells flowgauge what happens in this Dagster instance.",
        default_status=_dagster.DefaultSensorStatus.RUNNING,
    )


class _Teller:
    """Tells what is new in an instance's log. Its publisher is the process's own, made at the first tick."""

    def __init__(self, level_min: int | None) -> None:
        self._level_min = level_min
        self._publisher: Publisher | None = None

    def tell(self, instance: Any, position: Position) -> tuple[Position, int, bool]:
        """Tell what came after `position`; return the new one, how much was told, and whether all was answered."""
        publisher = self._publisher = self._publisher or Publisher()
        told, waiting, reached = 0, 0, position
        if not publisher.flush(FLUSH_MS_MAX):  # what the last tick said still waits: say no more
            return position, told, False
        for reached, events in self._read(instance, position):
            if not _emitted(publisher, events):
                return position, told, False
            waiting += len(events)
            if waiting >= BATCH_EVENTS:
                if not publisher.flush(FLUSH_MS_MAX):
                    return position, told, False
                position, told, waiting = reached, told + waiting, 0
        if not publisher.flush(FLUSH_MS_MAX):
            return position, told, False
        return reached.forgotten(), told + waiting, True

    def _read(self, instance: Any, position: Position) -> Iterator[tuple[Position, list[EventJson]]]:
        """Yield what is new, page by page, each with the position after it, until the tick's time is over."""
        deadline = monotonic() + TICK_S_MAX
        runs = _runs(instance, position)
        position = position.seen({run: (at, ended) for run, (_, at, ended) in runs.items()})
        yield position, []
        for name in list(position.runs):
            labels, more = labels_of(runs[name][0]), True
            while more:
                page = instance.get_records_for_run(name, cursor=position.runs[name].cursor, limit=PAGE_RECORDS)
                more = page.has_more
                position = position.told(name, page.cursor, whole=not more)
                yield position, self._mapped(labels, page.records)
                if monotonic() > deadline:
                    return

    def _mapped(self, labels: RunLabels, records: Sequence[Any]) -> list[EventJson]:
        told = (mapped(labels, one.storage_id, one.event_log_entry, level_min=self._level_min) for one in records)
        return [event for event in told if event is not None]


def _emitted(publisher: Publisher, events: Sequence[EventJson]) -> bool:
    """Put events into the buffer, waiting for an answer where it is full; return False when none comes."""
    for event in events:
        dropped = publisher.dropped
        if not publisher.emit(event) and publisher.dropped > dropped:
            if not publisher.flush(FLUSH_MS_MAX):
                return False
            publisher.emit(event)  # one that is none for good is said and counted by the publisher
    return True


def _runs(instance: Any, position: Position) -> dict[str, tuple[Any, float, bool]]:
    """Return the runs that may go on and those that changed, each with when it was updated and whether it has ended."""
    after = datetime.fromtimestamp(position.updated - OVERLAP_S, UTC)
    changed = instance.get_run_records(
        _dagster.RunsFilter(updated_after=after),
        limit=len(position.runs) + RUNS_MAX,
        order_by="update_timestamp",
        ascending=True,
    )
    known = list(position.runs)
    records = list(instance.get_run_records(_dagster.RunsFilter(run_ids=known))) if known else []
    room = RUNS_MAX - len(records)
    for record in changed:
        if record.dagster_run.run_id not in position.runs:
            if not room:
                break  # this one and what was updated after it is found again when there is room
            records.append(record)
            room -= 1
    return {
        one.dagster_run.run_id: (one.dagster_run, one.update_timestamp.timestamp(), one.dagster_run.is_finished)
        for one in records
    }
