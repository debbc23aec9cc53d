"""The ways of a history through flowgauge, each as its users run it: the same files in, lines of transitions out.

    replay      `flowgauge replay`, one pass, one partition
    embedded    `flowgauge up --load`: SQLite log, four partitions, all parts in one process, rows in ClickHouse
    kafka       `flowgauge match` and `flowgauge detect` as processes on a real broker, at work before the history comes

Every way has the same append times: they stand in the file. On Kafka they travel in a header of each record, as `load`
writes it, because the broker's own stamp is of today.
"""

import asyncio
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.equality.comparison import Said, lines_of
from tests.integration.audit_log import left_of, transitions_in
from tests.integration.role_processes import RoleProcess, Roles, kafka_environment
from tests.integration.up_process import COMMAND, Up, environment, running_up, wait_for

from flowgauge.console.loading import Load, load
from flowgauge.processors.ruleset import load_rules
from flowgauge.schemas.errors import Transient
from flowgauge.schemas.topics import EVENTS, SAMPLES
from flowgauge.schemas.transition import Transition
from flowgauge.transport.kafka import KafkaLog, open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.local import open_local_log

PARTITIONS, EMBEDDED_SAMPLES_PARTITIONS = 4, 2
RETENTION_DAYS = 3_650  # the history is not of today, and nothing may be trimmed before it was compared
LOOK_S = 0.2
STILL_S_MAX = 300.0  # without any progress of a group: it hangs
WAIT_S_MAX = 7_200.0  # for two million events on a machine that others keep busy


@dataclass(frozen=True, slots=True)
class History:
    """What goes each way: a file of `lines` event lines with their append times, and a folder of rules."""

    file: Path
    rules: Path
    lines: int


def replayed(history: History) -> Said:
    """Return what `flowgauge replay` prints."""
    began = time.monotonic()
    command = [*COMMAND, "replay", str(history.file), "--rules", str(history.rules), "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=WAIT_S_MAX, check=False)
    counted = done.stderr.decode().strip()
    assert done.returncode == 0, counted
    return Said(done.stdout.splitlines(), time.monotonic() - began, {"counted": counted})


def embedded(history: History, folder: Path) -> Said:
    """Load it into a new `flowgauge up`; return what its log holds once everything is detected and stored."""
    began = time.monotonic()
    folder.mkdir()
    arguments = ["--rules", str(history.rules), "--load", str(history.file), "--partitions", str(PARTITIONS)]
    arguments += ["--samples-partitions", str(EMBEDDED_SAMPLES_PARTITIONS)]
    env = {"FLOWGAUGE_RETENTION_DAYS": str(RETENTION_DAYS)}
    with running_up(folder / "data", *arguments, env=env) as up:
        wait_for(lambda: _has_detected(up), "the history to pass detection", wait_s=WAIT_S_MAX)
        seconds = time.monotonic() - began
        wait_for(lambda: _rows(up) >= history.lines, "every event in ClickHouse", wait_s=WAIT_S_MAX)
        rows = _rows(up)
    assert rows == history.lines
    return Said(lines_of(asyncio.run(_told_in(folder / "data"))), seconds, {"rows": rows})


def _has_detected(up: Up) -> bool:
    health = up.get("/v1/health")
    return not health["loading"] and health["detection_unknown_since"] is None


def _rows(up: Up) -> int:
    stored: int = up.get("/v1/health")["stored"]
    return stored


async def _told_in(data: Path) -> list[Transition]:
    log = await open_local_log(data, partitions={})
    try:
        return await transitions_in(log)
    finally:
        await log.close()


def on_kafka(history: History, folder: Path, bootstrap: str, *, matchers: int, detectors: int) -> Said:
    """Start matchers and detectors on a new log, load the history; return what it holds once all have passed."""
    began, prefix = time.monotonic(), f"equal-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    env = kafka_environment(bootstrap, prefix, partitions=PARTITIONS, samples_partitions=detectors)
    with Roles(env, folder) as roles:
        applied = roles.run("topics", "apply")
        assert applied.returncode == 0, applied.stderr
        for number in range(matchers):
            roles.start("match", f"match-{number + 1}")
        for number in range(detectors):
            roles.start("detect", f"detect-{number + 1}")
        for each in roles:
            each.wait_until_ready()
        connection = Connection(bootstrap=bootstrap, prefix=prefix, instance="equality")
        told = asyncio.run(_passed(connection, history, folder, list(roles)))
        seconds = time.monotonic() - began
        shares = {each.instance: int(each.measured(DONE[each.role])) for each in roles}
    assert all(shares.values()), f"a process had no share in it: {shares}"
    return Said(lines_of(told), seconds, {"shares": shares})


DONE = {"match": "flowgauge_processors_events_total", "detect": "flowgauge_processors_samples_total"}


async def _passed(
    connection: Connection, history: History, folder: Path, roles: Sequence[RoleProcess]
) -> list[Transition]:
    """Load the history; return the transitions when matchers have passed the events, then detectors the samples."""
    log = await open_kafka_log(connection)
    try:
        await load(log, load_rules([history.rules]), Load(history.file), data=folder, stop=asyncio.Event())
        await _passes(log, EVENTS, "matcher", roles)
        await _passes(log, SAMPLES, "detector", roles)
        return await transitions_in(log)
    finally:
        await log.close()


async def _passes(log: KafkaLog, topic: str, group: str, roles: Sequence[RoleProcess]) -> None:
    """Return when `group` has committed all of `topic`."""
    seen, seen_s = -1, time.monotonic()
    while (left := await _left(log, topic, group)) != 0:
        if left not in (seen, None):
            seen, seen_s = left, time.monotonic()
        ended = [each for each in roles if not each.is_running()]
        assert not ended, {each.instance: each.text()[-1_000:] for each in ended}
        assert time.monotonic() < seen_s + STILL_S_MAX, f"{group} stands still: {left} records of {topic} are left"
        await asyncio.sleep(LOOK_S)


async def _left(log: KafkaLog, topic: str, group: str) -> int | None:
    """Return how many records the group has not passed; None when the broker cannot say now."""
    try:
        return await left_of(log, topic, group)
    except Transient:
        return None
