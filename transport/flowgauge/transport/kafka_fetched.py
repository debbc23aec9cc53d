"""What aiokafka has fetched comes out of getmany as Records: one object a record is made, not two.

    FetchResult ──► PartitionRecords: a generator that makes a ConsumerRecord of each raw record
                    └── given `reader_of`, it makes our Record at once, and is asked without a call between

aiokafka has no hook for this, so it goes by its private names, which tests/unit/test_aiokafka.py holds against the
installed version. Where they are not as expected, records come out as aiokafka's own: slower, and no less right.
"""

from collections.abc import Iterator
from typing import Any, cast

from flowgauge.transport.kafka_records import reader_of
from flowgauge.transport.log import Record


class _Unpacked:
    """Takes the place of a PartitionRecords."""

    def __init__(self, unpacked: Any, where: str) -> None:
        self._unpacked = unpacked
        unpacked._consumer_record = reader_of(where)  # noqa: SLF001  # see the file's docstring

    def __iter__(self) -> Iterator[Record]:
        """Go on where the last one stopped."""
        return cast("Iterator[Record]", self._unpacked._records_iterator)  # noqa: SLF001  # as above

    @property
    def next_fetch_offset(self) -> int:
        """The offset after the last record that came out."""
        return cast("int", self._unpacked.next_fetch_offset)


def read_as_records(consumer: object) -> None:
    """Let what waits in `consumer` come out as Records; what a getmany has to wait for comes as aiokafka's own."""
    for at, result in cast("Any", consumer)._fetcher._records.items():  # noqa: SLF001  # as above
        unpacked = getattr(result, "_partition_records", None)
        if hasattr(unpacked, "_consumer_record"):
            result._partition_records = _Unpacked(unpacked, f"{at.topic} partition {at.partition}")  # noqa: SLF001
