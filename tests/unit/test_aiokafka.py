"""What we use of aiokafka that it does not promise: another version that has it otherwise is noticed here.

pyproject.toml names the versions that are allowed; requirements.lock the one that this runs with.
"""

import inspect
import re
from importlib import import_module
from typing import Any

from aiokafka.errors import for_code
from aiokafka.record.default_records import DefaultRecordBatch

from flowgauge.schemas.topics import RecordKind
from flowgauge.transport.kafka_batch import RecordBatch, batches_of
from flowgauge.transport.kafka_client import FencedInstanceId
from flowgauge.transport.kafka_records import KIND_HEADER
from flowgauge.transport.log import Outgoing


def test_a_batch_of_ours_has_all_that_the_accumulator_asks_of_one() -> None:
    accumulator = "aiokafka.producer.message_accumulator"
    sources = source(f"{accumulator}:MessageBatch") + source(f"{accumulator}:MessageAccumulator")
    asked = set(re.findall(r"_builder\.(\w+)", sources))

    (batch,) = batches_of([Outgoing(0, "run", b"value")], 1, is_transactional=False)

    assert asked == {"append", "closed", "close", "record_count", "_set_producer_state", "_build"}
    assert all(callable(getattr(batch, name)) for name in asked)


def test_a_batch_is_one_that_aiokafka_reads_packed_with_its_producer_and_headers() -> None:
    given = [Outgoing(0, f"run-{n}", b"value" * 50, RecordKind(n % 2)) for n in range(100)]

    (batch,) = batches_of(given, 1_700_000_000_000, is_transactional=True)
    asked_of(batch, "_set_producer_state", 7, 3, 50)
    built = asked_of(batch, "_build")
    read = DefaultRecordBatch(built)

    assert read.validate_crc()
    assert (read.compression_type, read.is_transactional) == (DefaultRecordBatch.CODEC_LZ4, True)
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (7, 3, 50)
    assert len(built) < 50 * len(given)
    assert [(r.offset, (r.key or b"").decode(), r.value, r.headers) for r in read] == [
        (n, g.key, g.value, [(KIND_HEADER, b"1")] if n % 2 else []) for n, g in enumerate(given)
    ]
    assert asked_of(batch, "_build") is built  # sent again, it is the same


def test_what_packing_makes_no_smaller_is_sent_as_it_is() -> None:
    (batch,) = batches_of([Outgoing(0, "", b"x")], 1, is_transactional=False)

    read = DefaultRecordBatch(asked_of(batch, "_build"))

    assert read.validate_crc()
    assert read.compression_type == DefaultRecordBatch.CODEC_NONE
    assert [r.value for r in read] == [b"x"]


def test_a_full_batch_begins_the_next_and_a_large_record_has_one_of_its_own() -> None:
    sizes = [400_000, 400_000, 400_000, 3_000_000, 10]

    batches = batches_of([Outgoing(0, "", b"x" * size) for size in sizes], 1, is_transactional=False)

    assert [batch.record_count() for batch in batches] == [2, 1, 1, 1]


def test_the_private_names_that_we_read_are_there() -> None:
    """Each is in the source of what holds it."""
    wanted = {
        "aiokafka.consumer.consumer:AIOKafkaConsumer": ["_fetcher = Fetcher(", "_coordinator = GroupCoordinator("],
        "aiokafka.consumer.fetcher:Fetcher": ["_records = collections.OrderedDict()"],
        "aiokafka.consumer.fetcher:FetchResult": [
            "_partition_records = partition_records",
            "for msg in self._partition_records:",
        ],
        "aiokafka.consumer.fetcher:PartitionRecords": [
            "_records_iterator = self._unpack_records()",
            "_consumer_record(tp, record)",
        ],
        "aiokafka.consumer.group_coordinator:GroupCoordinator": [
            "generation = OffsetCommitRequest.DEFAULT_GENERATION_ID",
            "def check_errors(self)",
        ],
        "aiokafka.conn:OAuthAuthenticator": ["_token_sent = True", "async def step(self, payload)"],
        "aiokafka.producer.producer:AIOKafkaProducer": ["_txn_manager = "],
        "aiokafka.producer.transaction_manager:TransactionManager": ["def wait_for_transaction_end(self)"],
        "aiokafka.admin.client:AIOKafkaAdminClient": ["def _send_request("],
    }

    missing = [f"{place}: {text}" for place, texts in wanted.items() for text in texts if text not in source(place)]

    assert missing == []


def test_a_code_that_we_add_is_the_one_that_it_looks_up() -> None:
    assert for_code(FencedInstanceId.errno) is FencedInstanceId


def test_what_takes_the_place_of_a_partitions_records_is_asked_no_more_than_it_has() -> None:
    asked = set(re.findall(r"_partition_records\.(\w+)", source("aiokafka.consumer.fetcher:FetchResult")))

    assert asked == {"next_fetch_offset"}


def asked_of(batch: RecordBatch, name: str, *arguments: int) -> Any:
    """Call what the accumulator calls."""
    return getattr(batch, name)(*arguments)


def source(place: str) -> str:
    """Return the source of `module:class`."""
    module, _, name = place.partition(":")
    return inspect.getsource(getattr(import_module(module), name))
