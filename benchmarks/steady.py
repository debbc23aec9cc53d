"""`python -m benchmarks.steady --rate 2300 --minutes 10`: what each process costs when all goes on as usual.

    sender ─HTTP─► gateway ─► Kafka ─► match ─► detect ─► notify ─► webhook receiver
                     pulse ─►   └─► sink ─► ClickHouse (the tests' front over chDB)

Every role is a process of its own. JSON lines: what is left when the sender ends, one a process, the latencies, the
counts. Ends with 1 when an event or an alert is missing or a process ended. See docs/benchmarks.md.

    accepted → row       from the gateway's answer to the end of the insert with the last event of the body
    accepted → webhook   from the gateway's answer to the arrival of the message about a failed run, told at once
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from tests.clickhouse_front import Front
from tests.integration.audit_log import left_of
from tests.integration.role_processes import Roles, kafka_environment
from tests.integration.up_process import wait_for
from tests.integration.webhook_receiver import WebhookReceiver
from tests.kafka_broker import running_broker

from benchmarks.processes import below, cpu_seconds, name_of, resident_bytes
from benchmarks.rules import fifty_rules_text
from benchmarks.steady_figures import Insert, Looks, StoredAt, cost_of, inserts_in, spread, warm_s
from benchmarks.steady_sender import Body
from flowgauge.schemas.topics import EVENTS, SAMPLES
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection

PARTITIONS, SAMPLES_PARTITIONS = 4, 1
SAMPLE_S = 2.0
DRAIN_S_MAX = 300.0
IDS_MAX = 500  # of one question
PLACES = "SELECT toString(id), _partition, _offset FROM flowgauge.events WHERE id IN ({ids})"
AT_ONCE = "each failure"
RULES = (
    fifty_rules_text()
    + f"""
  - name: {AT_ONCE}
    match: {{kind: flow-run, state: failed}}
    for_each: [flow]
    when: {{event: {{}}}}
    notify: [ops]
  - name: many failures
    when: {{failure_rate: {{above: 4%, within: 1m, min_samples: 20, clear_below: 3%}}}}
    keep_firing_for: 30s
    notify: [ops]
"""
)
CHANNELS = 'channels:\n  - {name: ops, webhook: {url: "http://ADDRESS/hook", secret: {env: HOOK_SECRET}}}\n'

_decode_body = msgspec.json.Decoder(Body).decode


class Steady:
    """Everything that runs."""

    def __init__(self, roles: Roles, front: Front, receiver: WebhookReceiver, connection: Connection) -> None:
        self.roles = roles
        self.front = front
        self.receiver = receiver
        self._connection = connection
        self._store = ClickHouseStore.connect(Server(front.url, front.user, front.password))

    def processes(self, sender: int) -> dict[str, int]:
        """Return the number of each process by its name. A broker that others started is not among them."""
        java = next((each for each in below(os.getpid()) if name_of(each) == "java"), None)
        return {
            **{each.instance: each.process.pid for each in self.roles},
            "clickhouse": self.front.pid,
            **({"broker": java} if java else {}),
            "sender": sender,
            "receiver": os.getpid(),
        }

    def ask(self, sql: str) -> Sequence[Sequence[Any]]:
        """Return the rows that answer `sql`."""
        return asyncio.run(self._store.query(sql, seen=EVERY_TENANT)).rows

    def left(self) -> dict[str, int]:
        """Return how many records matcher and detector have not passed."""
        return asyncio.run(self._left())

    def close(self) -> None:
        """Let go of ClickHouse."""
        self._store.close()

    async def _left(self) -> dict[str, int]:
        log = await open_kafka_log(self._connection)
        try:
            return {
                "match_records": await left_of(log, EVENTS, "matcher"),
                "detect_messages": await left_of(log, SAMPLES, "detector"),
            }
        finally:
            await log.close()


@contextmanager
def running(folder: Path, *, matchers: int, console: bool) -> Generator[Steady]:
    """Start everything and yield it when all roles are ready and the rules are in force."""
    with running_broker() as bootstrap, Front(folder / "clickhouse") as front, WebhookReceiver() as receiver:
        prefix = f"steady-{uuid.uuid4().hex[:8]}"  # the broker may be anybody's
        env = kafka_environment(bootstrap, prefix, partitions=PARTITIONS, samples_partitions=SAMPLES_PARTITIONS)
        env |= front.environment | {"FLOWGAUGE_EGRESS_ALLOW": receiver.address, "HOOK_SECRET": receiver.secret}
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        (folder / "channels").mkdir()
        (folder / "channels" / "ops.yaml").write_text(CHANNELS.replace("ADDRESS", receiver.address), encoding="utf-8")
        with Roles(env, folder) as roles:
            _command(roles, "topics", "apply")
            for role in ("gateway", "pulse", "detect", "sink", *["console"] * console):
                roles.start(role, f"{role}-1")
            for number in range(matchers):
                roles.start("match", f"match-{number + 1}")
            roles.start("notify", "notify-1", "--rules", "channels")
            for each in roles:
                each.wait_until_answers()
            _command(roles, "rules", "apply", "rules.yaml")  # before: without rules a console has no clock to show
            for each in roles:
                each.wait_until_ready()
            steady = Steady(roles, front, receiver, Connection(bootstrap=bootstrap, prefix=prefix, instance="steady"))
            try:
                yield steady
            finally:
                steady.close()


def _command(roles: Roles, *arguments: str) -> None:
    done = roles.run(*arguments)
    assert done.returncode == 0, done.stderr


def measure(steady: Steady, folder: Path, *, rate: int, minutes: float) -> bool:
    """Send, look, compare and print; return whether nothing is missing."""
    file, url = folder / "bodies.jsonl", next(iter(steady.roles)).wait_until_answers()
    with _sender(url, rate, minutes * 60, file) as sender:
        wait_for(lambda: file.exists() and file.stat().st_size, "the first events", wait_s=DRAIN_S_MAX)
        looks = _watch(steady, sender)
        left = steady.left()
        stored, told = _stored(steady), len(_alerts(steady.receiver))
    assert sender.returncode == 0, "the sender failed"
    bodies = [_decode_body(line) for line in file.read_bytes().splitlines()]
    sent, failed = sum(body.events for body in bodies), [event for body in bodies for event in body.failed]
    left |= {"rows": sent - stored, "alerts": len(failed) - told}
    _print("left at the end", **left, drained_s=_drained(steady, sent, failed))
    wait_for(steady.front.is_idle, "the end of the last insert", wait_s=DRAIN_S_MAX)  # its rows are seen before
    looks.inserts += inserts_in(steady.front.take_seen())
    per_second = sent / (bodies[-1].acked_ms - bodies[0].acked_ms) * 1_000
    _print_costs(steady, looks, per_second)
    warm = [body for body in bodies if body.acked_ms >= bodies[0].acked_ms + warm_s(minutes * 60) * 1_000]
    _print("accepted to row", **spread(_to_rows(steady, looks.inserts, warm)))
    _print("accepted to webhook", **spread(_to_webhook(steady.receiver, warm)))
    counts = {"sent": sent, "rows": _stored(steady), "failures": len(failed), "alerts": len(_alerts(steady.receiver))}
    _print("counts", **counts, per_second=round(per_second), bodies=len(bodies))
    return counts["sent"] == counts["rows"] and counts["failures"] == counts["alerts"]


@contextmanager
def _sender(url: str, rate: int, seconds: float, file: Path) -> Generator["subprocess.Popen[str]"]:
    """Yield the sender when its first event is due soon; what goes wrong in the block ends it."""
    command = [sys.executable, "-m", "benchmarks.steady_sender", url, str(rate), str(seconds), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        try:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "ready\n", "the sender failed"
            yield sender
        finally:
            sender.kill()


def _print_costs(steady: Steady, looks: Looks, per_second: float) -> None:
    costs = {name: cost_of(looks, name) for name in looks.resident[0]}
    for name, cost in costs.items():
        _print("process", process=name, **cost)
    percent = sum(costs[each.instance]["cpu_percent"] for each in steady.roles)
    _print("all roles", cpu_percent=round(percent, 2), us_per_event=round(percent * 1e4 / per_second, 1))


def _watch(steady: Steady, sender: "subprocess.Popen[str]") -> Looks:
    """Look at all processes until the sender ends."""
    looks, processes, began = Looks(), steady.processes(sender.pid), time.monotonic()
    while sender.poll() is None:
        ended = [each for each in steady.roles if not each.is_running()]
        assert not ended, {each.instance: each.text()[-1_000:] for each in ended}
        looks.seconds.append(time.monotonic() - began)
        looks.resident.append({name: resident_bytes(process) for name, process in processes.items()})
        looks.cpu.append({name: cpu_seconds(process) for name, process in processes.items()})
        looks.inserts += inserts_in(steady.front.take_seen())
        try:
            sender.wait(SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
    return looks


def _stored(steady: Steady) -> int:
    return int(steady.ask("SELECT count() FROM flowgauge.events")[0][0])


def _drained(steady: Steady, sent: int, failed: Sequence[str]) -> float:
    """Return after how many seconds every event is stored and every failure told, DRAIN_S_MAX at most."""
    began = time.monotonic()
    while time.monotonic() < began + DRAIN_S_MAX:
        if _stored(steady) >= sent and len(_alerts(steady.receiver)) >= len(failed):
            break
        time.sleep(0.2)
    return round(time.monotonic() - began, 1)


def _to_rows(steady: Steady, inserts: Sequence[Insert], bodies: Sequence[Body]) -> list[int]:
    """Return for each body the ms from its acknowledgement until its last event was a row."""
    places: dict[str, tuple[int, int]] = {}
    for start in range(0, len(bodies), IDS_MAX):
        ids = ", ".join(f"'{body.last}'" for body in bodies[start : start + IDS_MAX])
        rows = steady.ask(PLACES.format(ids=ids))
        places |= {str(event): (int(partition), int(offset)) for event, partition, offset in rows}
    stored = StoredAt(inserts)
    return [stored.at_ms(*places[body.last]) - body.acked_ms for body in bodies]


def _to_webhook(receiver: WebhookReceiver, bodies: Sequence[Body]) -> list[int]:
    """Return for each failed run the ms from its acknowledgement until its message came."""
    acked_ms = {event: body.acked_ms for body in bodies for event in body.failed}
    return [came_ms - acked_ms[event] for event, came_ms in _alerts(receiver).items() if event in acked_ms]


def _alerts(receiver: WebhookReceiver) -> dict[str, int]:
    """Return when the message about each failed run came first, by the event's id."""
    found: dict[str, int] = {}
    for message in list(receiver.received):
        data = msgspec.json.decode(message.body)["data"]
        if message.verified and data["rule"] == AT_ONCE:
            found.setdefault(data["examples"][0]["event_id"], receiver.came_ms[message.message_id])
    return found


def _print(part: str, **figures: object) -> None:
    print(msgspec.json.encode({"name": "steady", "part": part, **figures}).decode(), flush=True)


def main() -> int:
    """Run it; return 1 when something is missing, 3 where there is no broker."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steady", description=__doc__)
    parser.add_argument("--rate", type=int, default=2_300, help="events a second")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--matchers", type=int, default=1)
    parser.add_argument("--console", action="store_true", help="with the console role, which looks at lags")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="flowgauge-steady-", ignore_cleanup_errors=True) as folder,
            running(Path(folder), matchers=asked.matchers, console=asked.console) as steady,
        ):
            return 0 if measure(steady, Path(folder), rate=asked.rate, minutes=asked.minutes) else 1
    except pytest.skip.Exception as skipped:
        print(skipped, file=sys.stderr)
        return 3


def _end(number: int, frame: object) -> NoReturn:  # noqa: ARG001  # what a handler is given
    """End in order: what was started ends too."""
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
