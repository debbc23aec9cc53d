"""A notifier that may be killed or frozen, with the log, the people and the receiver around it."""

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path

from tests.integration import killed_notifier as killed
from tests.integration.flaky_receiver import FlakyReceiver
from tests.integration.notifier_story import Story

from flowgauge.schemas import topics
from flowgauge.schemas.control import Control, encode_control
from flowgauge.schemas.delivery import Delivery, decode_delivery
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.transition import Transition, encode_transition
from flowgauge.sinks.webhooks.notifier_app import GROUP
from flowgauge.transport.log import Log, Outgoing

PARTITIONS = {
    **dict.fromkeys((topics.DELIVERIES, topics.DLQ, topics.CONTROLS, topics.EVENTS), 1),
    topics.TRANSITIONS: 2,
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTLE_S_MAX = 120.0
LOOK_S = 0.05
FILE = """
channels:
  - name: hook
    webhook: {{url: "http://127.0.0.1:{port}/hook", secret: {{env: NOTIFIER_TEST_SECRET}}}}
  - name: chat
    slack: {{url: "http://127.0.0.1:{port}/chat"}}
    group: {{wait: 1s, interval: 15s}}
actions:
  - name: once
    http: {{url: "http://127.0.0.1:{port}/once"}}
    limit: {{count: 1000, per: 1s}}
  - name: again
    http: {{url: "http://127.0.0.1:{port}/again"}}
    idempotent: true
    limit: {{count: 1000, per: 1s}}
"""


@dataclass
class Scene:
    """The log as the test sees it, the receiver, and the notifier's process."""

    folder: Path
    log: Log
    receiver: FlakyReceiver
    story: Story
    start_ms: int
    records: list[Delivery] = field(default_factory=list[Delivery])
    kills: Counter[str] = field(default_factory=Counter[str])
    early: list[str] = field(default_factory=list[str])  # told while it was hidden

    @property
    def clock(self) -> Callable[[], int]:
        return killed.fast_clock(self.start_ms)

    @contextlib.asynccontextmanager
    async def running(
        self, place: str = killed.NEVER, nth: int = 1, *loading: str, sent: str = "SIGKILL", where: str = ""
    ) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Run a notifier until the block ends, on the log in the folder if not elsewhere."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NOTIFIER_TEST_SECRET": SECRET}
        arguments = [where or self.folder, self.folder / "places.yaml", self.start_ms, sent, place, nth, *loading]
        with (self.folder / "notifier.err").open("a") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.integration.killed_notifier", *map(str, arguments)),
                env=environ,
                stderr=errors,
                stdout=errors,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def tell(self, transitions: Iterable[Transition]) -> None:
        spread = self.log.partitions(topics.TRANSITIONS)
        await self.log.append(
            topics.TRANSITIONS,
            [
                Outgoing(events_partition(each.incident_id, spread), each.incident_id, encode_transition(each))
                for each in transitions
            ],
        )

    async def say(self, *controls: Control) -> None:
        await self.log.append(
            topics.CONTROLS, [Outgoing(0, each.control_id, encode_control(each)) for each in controls]
        )

    async def look(self) -> None:
        """Read what was recorded since."""
        offset = len(self.records)
        while read := await self.log.read(topics.DELIVERIES, 0, offset, 1_000):
            self.records += [decode_delivery(record.value or b"") for record in read]
            offset = len(self.records)

    async def has_read_all(self) -> bool:
        """Tell whether the notifier has committed all transitions."""
        ends = await self.log.ends(topics.TRANSITIONS)
        committed = await self.log.committed(topics.TRANSITIONS, GROUP)
        return all(committed[each].next_offset == end for each, end in ends.items())

    async def expire(self, names: Sequence[str]) -> None:
        """End silences; what they hid must not have been told."""
        told = {str(each.body["data"]["incident_id"]) for each in self.receiver.at("/hook")}
        hidden = {each.id for each in self.story.incidents if each.hidden_by in names}
        self.early += sorted(told & hidden)
        await self.say(*[self.story.expire(name, self.clock()) for name in names])


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(SETTLE_S_MAX):
        while True:
            found = condition()
            if await found if isawaitable(found) else found:
                return
            await asyncio.sleep(LOOK_S)


def is_stopped(process: int) -> bool:
    """Tell whether the kernel has it stopped."""
    state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    return state in "Tt"


def newest_of(records: Iterable[Delivery]) -> dict[str, Delivery]:
    """Return how each delivery stands, by id."""
    found: dict[str, Delivery] = {}
    for each in records:
        known = found.get(each.delivery_id)
        if known is None or (known.attempt, known.at_ms) < (each.attempt, each.at_ms):
            found[each.delivery_id] = each
    return found
