"""The sensor that tells flowgauge what stands in Dagster's event log.

A code location adds it to its Definitions:

    from flowgauge.producers.dagster.sensor import flowgauge_sensor

    defs = dagster.Definitions(..., sensors=[flowgauge_sensor()])

    FLOWGAUGE_URL, FLOWGAUGE_TOKEN      where flowgauge is, and who we are there; or FLOWGAUGE_KAFKA_…, see KafkaTarget

It runs in the process that serves the code location, never in a run, and reads the runs of the whole instance. Its
cursor moves on only over what flowgauge has answered for: while flowgauge is away it stands, and nothing is lost that
Dagster's log still holds. What is read again has the same ids.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from time import monotonic
from typing import Any, Final

from flowgauge.producers.connector_event import EventJson, utc
from flowgauge.producers.dagster.emitting import FLUSH_MS_MAX, emitted
from flowgauge.producers.dagster.mapping import RunLabels, labels_of, mapped
from flowgauge.producers.dagster.position import OVERLAP_S, Position, Seen, decoded, encoded
from flowgauge.producers.publisher import Publisher
from flowgauge.transport.wall_clock import now_ms

__all__ = ["flowgauge_sensor"]

TICK_S_MAX: Final = 30.0  # Dagster ends a tick that takes over a minute; what is left is told in the next
PAGE_RECORDS: Final = 1_000  # of one run's log
BATCH_EVENTS: Final = 1_000  # told between two answers: so much is told again after a crash
RUNS_MAX = 5_000  # that go on at once: the cursor names them. Others are told when some of them have ended

_UNREAD: Final = (
    "the sensor's cursor is none of flowgauge's (%d so far): runs that change after %s are told. For those before, "
    "give flowgauge_sensor a `since` and reset the cursor: what is told again changes no answer"
)
_log = logging.getLogger("flowgauge.dagster")
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
    levels = logging.getLevelNamesMapping()
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
        before, odd = teller.begin(context.cursor, start)
        after, told, answered = teller.tell(context.instance, before)
        said = f"{told} events told" if answered else f"{told} events told; flowgauge did not answer for the rest"
        return _dagster.SensorResult(cursor=encoded(after), skip_reason=f"{said}; {odd}" if odd else said)

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
        self.cursors_unread = 0

    def begin(self, cursor: str | None, start: float) -> tuple[Position, str]:
        """Return the position of a cursor, and what is odd about it. Without one it is `start`, in seconds since 1970.

        So it is with one that is none of ours, which is counted in `cursors_unread`, and said.
        """
        position = decoded(cursor) if cursor else Position(start)
        if position is not None:
            return position, ""
        self.cursors_unread += 1
        odd = _UNREAD % (self.cursors_unread, datetime.fromtimestamp(start, UTC))
        _log.warning(odd)
        return Position(start), odd

    def tell(self, instance: Any, position: Position) -> tuple[Position, int, bool]:
        """Tell what came after `position`; return the new one, how much was told, and whether all was answered."""
        publisher = self._publisher = self._publisher or Publisher()
        told, waiting, reached = 0, 0, position
        if not publisher.flush(FLUSH_MS_MAX):  # what the last tick said still waits: say no more
            return position, told, False
        for reached, events in self._read(instance, position):
            if not emitted(publisher, events):
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
        changed, known = _changed(instance, position), _known(instance, position)
        records = {**changed, **known}
        position = position.seen(_seen(known), _seen(changed), runs_max=RUNS_MAX)
        yield position, []
        for name in list(position.runs):
            labels, more = labels_of(records[name].dagster_run), True
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


def _changed(instance: Any, position: Position) -> dict[str, Any]:
    """Return the records of the runs that changed, earliest first: as many as there may be room for."""
    after = datetime.fromtimestamp(position.updated - OVERLAP_S, UTC)
    return _by_run(
        instance.get_run_records(
            _dagster.RunsFilter(updated_after=after),
            limit=len(position.runs) + RUNS_MAX,
            order_by="update_timestamp",
            ascending=True,
        )
    )


def _known(instance: Any, position: Position) -> dict[str, Any]:
    """Return the records of the runs that the position names."""
    names = list(position.runs)
    return _by_run(instance.get_run_records(_dagster.RunsFilter(run_ids=names))) if names else {}


def _by_run(records: Iterable[Any]) -> dict[str, Any]:
    return {one.dagster_run.run_id: one for one in records}


def _seen(records: Mapping[str, Any]) -> dict[str, Seen]:
    return {name: Seen(one.update_timestamp.timestamp(), one.dagster_run.is_finished) for name, one in records.items()}
