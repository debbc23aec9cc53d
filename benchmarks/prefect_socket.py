"""The gateway, as Prefect's clients stream to it: an event a WebSocket message, a pong at each checkpoint."""

import gzip
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from benchmarks.http_paths import cpu_of
from benchmarks.measure import Line, line_of
from benchmarks.sockets import gateway_process
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

RECORDING = Path(__file__).parents[1] / "tests" / "data" / "prefect-outage-extract.jsonl.gz"
CHECKPOINT_EVENTS = 700  # as Prefect's clients ping
PATIENCE_S = 60.0
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def bench_gateway_socket(events: int) -> Line:
    """One connection; CPU of the gateway's process only: frames, mapping, canonical, append with SQLite."""
    said = list(islice(_said(), events))
    with tempfile.TemporaryDirectory(prefix="flowgauge-bench-") as folder, gateway_process(Path(folder)) as url:
        cpu_seconds = _stream(url, said)
    return line_of("gateway-socket", events, cpu_seconds).noting(event_bytes=sum(map(len, said)) / events)


def _stream(url: str, said: Sequence[str]) -> float:
    where = url.replace("http", "ws") + "/api/events/in"
    with (
        httpx2.Client(base_url=url, timeout=30, trust_env=False) as http,
        connect(where, subprotocols=[Subprotocol("prefect")], proxy=None) as socket,
    ):
        socket.send('{"type":"auth","token":null}')
        assert socket.recv() == '{"type":"auth_success"}'
        before = cpu_of(http)
        for at in range(0, len(said), CHECKPOINT_EVENTS):
            for each in said[at : at + CHECKPOINT_EVENTS]:
                socket.send(each)
            assert socket.ping().wait(PATIENCE_S), "no pong"
        return cpu_of(http) - before


def _said() -> Iterator[str]:
    """Yield the recorded events of task runs, which Prefect's clients tell, again and again under ids of their own."""
    with gzip.open(RECORDING) as lines:
        recorded = [message["data"] for message in map(_decode, lines) if message["topic"] == "events"]
    told = [event for event in recorded if event["event"].startswith("prefect.task-run.")]
    occurred = rfc3339(now_ms())
    for number, event in enumerate(cycle(told)):
        event.pop("received", None)
        yield _encode({**event, "id": str(uuid.UUID(int=number)), "occurred": occurred}).decode()
