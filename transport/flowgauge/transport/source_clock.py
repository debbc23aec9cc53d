"""Moves a source's clock over a record of the events: the same for matchers, sinks and whoever asks later. Pure."""

from flowgauge.schemas.clock import PartitionClock
from flowgauge.schemas.control_records import read_pulse
from flowgauge.schemas.errors import LogMismatch
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.log import Record

_PULSE = RecordKind.PULSE  # at hand: looking up a member costs more than comparing it


def see(clock: PartitionClock, record: Record, source: int, log_id: str) -> int:
    """Move the clock of `source` over `record`; return its trusted append time.

    Raises Unreadable for a pulse that cannot be read, LogMismatch for one of another log than `log_id`.
    """
    if record.kind == _PULSE and record.value is not None:
        where = f"{EVENTS} partition {source} offset {record.offset}"
        pulse = read_pulse(record.value, where)
        if pulse.log_id != log_id:
            raise LogMismatch(
                f"{where}: a pulse of log {pulse.log_id} in log {log_id}: the topic was restored or recreated; start "
                "with a new data folder or topic"
            )
        return clock.see_pulse(record.append_ms, pulse.sent_ms)
    return clock.see_record(record.append_ms)
