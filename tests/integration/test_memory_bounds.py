"""What hostile senders cost in memory: gzip bombs, and names that never come again. Measured on a process of its own.

FLOWGAUGE_NAMES=1000000 sends as many names, FLOWGAUGE_BOMBS=24 as many bombs at once; what they cost is printed (-s).
"""

import asyncio
import gzip
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.integration.test_gateway import NDJSON
from tests.integration.up_process import Up, running_up, wait_for

from flowgauge.processors.held_keys import KEYS_OF_RULE_MAX
from flowgauge.producers.gateway.batch_body import BODY_BYTES_MAX, RAW_BYTES_MAX
from flowgauge.producers.gateway.intake import BYTES_HELD_MAX
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]

MIB = 1_048_576
BOMBS = int(os.environ.get("FLOWGAUGE_BOMBS", "16"))  # at a time: four times what may be held
# What may be held, and of the one body in hand: what was just unpacked, it in one piece, and it taken apart.
BOMB_BYTES_MAX = BYTES_HELD_MAX + 4 * RAW_BYTES_MAX
NAMES = int(os.environ.get("FLOWGAUGE_NAMES", "20000"))
BATCH = 5_000
# Caches and ClickHouse at work, and by name a key of the detector, its samples, and its rows until they are merged.
NAMES_BYTES_MAX = 192 * MIB + 6_144 * min(NAMES, KEYS_OF_RULE_MAX)
RULES = """
rules:
  - name: many failures
    match: {kind: flow-run}
    for_each: [flow]
    when: {event: {times: 3, within: 1m}}
"""


def memory(up: Up, what: str) -> int:
    """Return a figure of the process in bytes: VmRSS, now, or VmHWM, the most there was."""
    lines = Path(f"/proc/{up.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) * 1_024


def bomb(raw: bytes, times: int, members: int = 1) -> bytes:
    return gzip.compress(raw * (times // members)) * members


async def thrown(up: Up, bodies: list[bytes]) -> list[int]:
    headers = {**NDJSON, "Content-Encoding": "gzip"}
    limits = httpx2.Limits(max_connections=len(bodies))
    async with httpx2.AsyncClient(timeout=300, trust_env=False, limits=limits) as client:
        posts = (client.post(f"{up.url}/v1/events", content=body, headers=headers) for body in bodies)
        return [answer.status_code for answer in await asyncio.gather(*posts)]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc: Linux only")
def test_gzip_bombs_are_unpacked_no_further_than_may_be_held(tmp_path: Path) -> None:
    fits = bomb(b" " * MIB, RAW_BYTES_MAX // MIB - 1)
    over = bomb(b" " * MIB, RAW_BYTES_MAX // MIB + 64)
    joined = bomb(b" " * MIB, RAW_BYTES_MAX // MIB - 1, members=63)
    lines = gzip.compress(b"{}\n" * 49_999)
    assert len(fits) * 900 < RAW_BYTES_MAX  # 1,000 to 1, nearly

    with running_up(tmp_path / "data") as up:
        asyncio.run(thrown(up, [lines]))
        before = memory(up, "VmRSS")
        statuses = asyncio.run(thrown(up, [fits, over, joined, lines] * (BOMBS // 4)))
        cost = memory(up, "VmHWM") - before
        print(f"{BOMBS} bombs at once: {sorted(set(statuses))}, {cost / MIB:.0f} MiB")
        assert up.get("/v1/health")["ok"] in (True, False)

    assert set(statuses) <= {200, 400, 413, 503}
    assert cost < BOMB_BYTES_MAX + BODY_BYTES_MAX


def batches() -> Iterator[bytes]:
    """Yield NAMES events, each of a flow, a run and an event name that come once."""
    for start in range(0, NAMES, BATCH):
        occurred = rfc3339(now_ms())
        yield b"\n".join(
            msgspec.json.encode(
                {
                    "id": str(uuid.uuid4()),
                    "occurred": occurred,
                    "event": f"event-{number}",
                    "kind": "flow-run",
                    "state": "failed",
                    "flow": f"flow-{number}",
                    "run": f"run-{number}",
                    "resource": {"id": f"run-{number}", f"label-{number}": "x"},
                    "payload": {"message": f"error of {number}"},
                }
            )
            for number in range(start, min(start + BATCH, NAMES))
        )


def stored(up: Up) -> int:
    count: int = up.get("/v1/health")["stored"]
    return count


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc: Linux only")
def test_names_that_never_come_again_cost_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES, encoding="utf-8")
    with running_up(tmp_path / "data", "--rules", str(rules)) as up:
        first = next(batches())
        up.http.post("/v1/events", content=first, headers=NDJSON).raise_for_status()
        wait_for(lambda: stored(up) >= 1, "the first events in ClickHouse")
        before, sent = memory(up, "VmRSS"), first.count(b"\n") + 1
        for body in batches():
            response = up.http.post("/v1/events", content=body, headers=NDJSON)
            assert response.json()["accepted"] == body.count(b"\n") + 1
            sent += body.count(b"\n") + 1
        wait_for(lambda: stored(up) == sent, "every event in ClickHouse", wait_s=60 + NAMES / 500)
        assert up.get("/v1/metrics/runs", since="1h", limit="10")["rows"]
        cost = memory(up, "VmHWM") - before
        print(f"{NAMES} names: {cost / MIB:.0f} MiB")

    assert cost < NAMES_BYTES_MAX
