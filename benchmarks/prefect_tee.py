"""What the plugin costs a Prefect server for each message: recorded messages through the tee to a real gateway."""

import gzip
import itertools
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.measure import Line, Steps, line_of
from benchmarks.sockets import gateway_process
from flowgauge.producers.prefect.tee import Tee
from flowgauge.producers.publisher import Publisher

CAPTURE: Final = Path(__file__).parents[1] / "tests" / "data" / "prefect-outage-extract.jsonl.gz"
TAKEN_AT_ONCE: Final = 10_000  # below the publisher's buffer: it is measured, not overrun
FLUSH_MS: Final = 60_000


class _Captured(msgspec.Struct):
    topic: str
    data: msgspec.Raw


def bench_prefect_tee(events: int) -> Line:
    """`take` is what the server's own loop spends; the rest is the publisher's thread: gzip, HTTP, answers."""
    with gzip.open(CAPTURE) as lines:
        captured = [msgspec.json.decode(line, type=_Captured) for line in lines]
    messages = [(each.topic, bytes(each.data)) for each in captured]
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder, gateway_process(Path(folder)) as url:
        publisher = Publisher(url)
        tee = Tee(lambda: publisher)
        whole, takes = Steps(), Steps(time.thread_time)
        coming = itertools.cycle(messages)
        with whole.step("whole"):
            for start in range(0, events, TAKEN_AT_ONCE):
                with takes.step("take"):
                    for topic, message in itertools.islice(coming, min(TAKEN_AT_ONCE, events - start)):
                        tee.take(topic, message)
                assert publisher.flush(FLUSH_MS)
        publisher.close()
    assert publisher.sent == events, f"{publisher.sent} of {events} messages sent: {dict(tee.counts)}"
    cpu_seconds, take = whole.spent["whole"], takes.spent["take"]
    line = line_of("prefect-tee", events, cpu_seconds, {"take": take, "send": cpu_seconds - take})
    return line.noting(message_bytes=sum(len(message) for _, message in messages) / len(messages))
