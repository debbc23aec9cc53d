"""A steady load: runs of some flows, sent to the gateways in batches, each sent again until it is acknowledged.

Each flow in turn has its bad seconds, some runs crash, some start late. Ids are numbers, so a batch that is sent again
has the ids that it had.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

import httpx2

from flowgauge.schemas.times import rfc3339
from flowgauge.transport.wall_clock import now_ms

FLOWS = tuple(f"flow-{number}" for number in range(6))
BAD_MS = 7_000  # how long each flow fails in its turn
FAILED, CRASHED, LATE = 0.9, 0.015, 0.02  # shares: of a bad flow's runs, of all runs, of all runs
LATE_MS = 5_000
EVERY_S = 0.2
RUNS = 8  # a batch, about 24 events
SEND_S_MAX = 4.0  # a frozen gateway is given up after so long
PAUSE_S = 0.05


class Load:
    """Sends until `finish`. `urls` gives the gateways that may answer now; `all_fail` leaves only failed ends."""

    def __init__(self, seed: int, urls: Callable[[], Sequence[str]], *, all_fail: bool = False) -> None:
        self._all_fail = all_fail
        self._chance = random.Random(seed)
        self._urls = urls
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._waiting: deque[tuple[int, dict[str, object]]] = deque()  # starts of late runs
        self._number = 0
        self.acked: list[str] = []
        self.refused: list[str] = []  # answers that are neither an ack nor trouble
        self.sent_again = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Send what has begun until it is acknowledged, then end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx2.Client(timeout=SEND_S_MAX, trust_env=False) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                batch = self._batch(now_ms())
                while not self._send(client, batch):
                    self.sent_again += 1
                    time.sleep(PAUSE_S)
                time.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))

    def _send(self, client: httpx2.Client, batch: list[dict[str, object]]) -> bool:
        urls = self._urls()
        if not urls:
            return False
        try:
            answer = client.post(f"{self._chance.choice(urls)}/v1/events", json=batch)
        except httpx2.HTTPError:
            return False
        if answer.status_code != 200:
            if answer.status_code < 500 and answer.status_code != 429:
                self.refused.append(answer.text[:200])
            return False
        if answer.json()["accepted"] != len(batch):
            self.refused.append(answer.text[:200])
        self.acked += [str(event["id"]) for event in batch]
        return True

    def _batch(self, at_ms: int) -> list[dict[str, object]]:
        events: list[dict[str, object]] = []
        while self._waiting and self._waiting[0][0] <= at_ms:
            events.append(self._waiting.popleft()[1] | {"occurred": rfc3339(at_ms)})
        for _ in range(RUNS):
            events += self._run_events(at_ms)
        return events

    def _run_events(self, at_ms: int) -> list[dict[str, object]]:
        chance = self._chance
        flow = chance.choice(FLOWS)
        is_bad = self._all_fail or FLOWS[at_ms // BAD_MS % len(FLOWS)] == flow
        end = "failed" if is_bad and chance.random() < FAILED else "completed"
        end = "crashed" if chance.random() < CRASHED else end
        run = f"{flow}/{self._number}"
        if self._all_fail:
            return [self._event(flow, run, end, at_ms)]
        scheduled = self._event(flow, run, "scheduled", at_ms) | {"scheduled_for": rfc3339(at_ms)}
        running = self._event(flow, run, "running", at_ms)
        if chance.random() < LATE:
            self._waiting.append((at_ms + LATE_MS, running))
            return [scheduled]
        return [scheduled, running, self._event(flow, run, end, at_ms)]

    def _event(self, flow: str, run: str, state: str, at_ms: int) -> dict[str, object]:
        self._number += 1
        return {
            "id": str(UUID(int=self._number)),
            "occurred": rfc3339(at_ms),
            "event": f"flow-run.{state}",
            "kind": "flow-run",
            "flow": flow,
            "run": run,
            "state": state,
            "resource": {"id": f"flow-run.{run}"},
            "payload": {"message": f"{flow} says {state}"},
        }
