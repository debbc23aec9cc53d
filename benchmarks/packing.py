"""How small lz4 makes events: the bytes of record batches as our producer sends and the broker keeps them."""

import tempfile
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.generator import made_events
from benchmarks.measure import Line, line_of
from flowgauge.producers.prefect.convert import convert_file

LZ4 = 3  # Kafka's number for it
CAPTURES = Path(__file__).parents[2] / "shared" / "data"  # the full captures, where they lie beside the checkout
EXTRACTS = Path(__file__).parents[1] / "tests" / "data"
BATCHES = {"16k": 16_384, "64k": 65_536, "1m": 1_048_576}  # a quiet partition, a busy one, as large as we let them be


def bench_packing(events: int) -> Line:
    """Pack recorded Prefect events, then generated ones; notes hold bytes an event and how many times smaller."""
    recorded = recorded_events()
    generated = [item.value for item in made_events(events)]
    began = time.process_time()
    packed = {f"recorded_{name}": packed_bytes(recorded, size) / len(recorded) for name, size in BATCHES.items()}
    packed |= {f"generated_{name}": packed_bytes(generated, size) / len(generated) for name, size in BATCHES.items()}
    cpu_seconds = time.process_time() - began
    plain = {
        "recorded": sum(map(len, recorded)) / len(recorded),
        "generated": sum(map(len, generated)) / len(generated),
    }
    ratios = {f"{name}_times": plain[name.partition("_")[0]] / size for name, size in packed.items()}
    passed = len(BATCHES) * (len(recorded) + len(generated))
    return line_of("packing", passed, cpu_seconds).noting(**plain, **packed, **ratios)


def recorded_events() -> list[bytes]:
    """Return what the recorded Prefect server published as our events: all of it, else the extracts."""
    folder = CAPTURES if CAPTURES.is_dir() else EXTRACTS
    found: list[bytes] = []
    for capture in sorted(folder.glob("*.jsonl.gz")):
        with tempfile.TemporaryFile() as out:
            convert_file(capture, out, StringIO())
            out.seek(0)
            found += [line.rstrip(b"\n") for line in out]
    return found


def packed_bytes(values: Sequence[bytes], batch_bytes: int) -> int:
    """Return how many bytes `values` take in lz4 batches of up to `batch_bytes` each, or of one larger value."""
    total, start = 0, 0
    while start < len(values):
        builder = DefaultRecordBatchBuilder(2, LZ4, 0, -1, -1, -1, batch_bytes)
        offset = 0
        while start < len(values) and builder.append(offset, 0, None, values[start], []) is not None:
            start, offset = start + 1, offset + 1
        total += len(builder.build())
    return total
