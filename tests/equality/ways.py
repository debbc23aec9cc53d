"""The ways of a history through flowgauge, each as its users run it: the same files in, lines of transitions out.

    replay      `flowgauge replay`, one pass, one partition
    lived       a SQLite log of five partitions: events come while matcher and detector work, killed and restarted
    embedded    `flowgauge up --load`: SQLite log, four partitions, all parts in one process, rows in ClickHouse
    backtests   `flowgauge rules backtest` of the file, and of what ClickHouse has, tenant by tenant
    kafka       `flowgauge match` and `flowgauge detect` as processes on a real broker, at work before the history comes

Every way has the same append times: they stand in the file. On Kafka they travel in a header of each record, as `load`
writes it, because the broker's own stamp is of today.
"""

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.equality.comparison import Said, lines_of
from tests.equality.costs import NO_COST, Cost, cost_so_far, waited_for
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
# The history is not of today, and nothing may be trimmed before it was compared.
UP_ENV = {"FLOWGAUGE_RETENTION_DAYS": "3650"}
ROOT = Path(__file__).parents[2]
SEED = 20_261_130
LOOK_S = 0.2
STILL_S_MAX = 300.0  # without any progress of a group: it hangs
WAIT_S_MAX = 7_200.0  # for two million events on a machine that others keep busy


@dataclass(frozen=True, slots=True)
class History:
    """What goes each way: a file of `lines` event lines, appended in [`begin_ms`, `end_ms`], and a folder of rules."""

    file: Path
    rules: Path
    lines: int
    begin_ms: int
    end_ms: int


def replayed(history: History) -> Said:
    """Return what `flowgauge replay` prints."""
    began = time.monotonic()
    out, counted, cost = printed("replay", str(history.file), "--rules", str(history.rules), "--format", "jsonl")
    return Said(out.splitlines(), time.monotonic() - began, cost, {"counted": counted})


def printed(*arguments: str) -> tuple[bytes, str, Cost]:
    """Run a command to its end; return what it printed, what it said on standard error, and what it cost."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        with subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=errors, env=environment()) as process:
            cost = waited_for(process)
        out.seek(0)
        errors.seek(0)
        said = errors.read().decode().strip()
        assert process.returncode == 0, said
        return out.read(), said, cost


def lived(history: History, folder: Path, *, kills: int) -> Said:
    """Append it while matcher and detector are at work, and kill all of them so often; return what the log holds."""
    began, chance, cost = time.monotonic(), random.Random(SEED), NO_COST
    folder.mkdir()
    for number, die_at in enumerate([*sorted(chance.sample(range(history.lines * 9 // 10), kills)), None]):
        places = {"data": folder / "data", "history": history.file, "rules": history.rules, "seed": number}
        arguments = [f"--{name}={value}" for name, value in places.items()]
        if die_at is not None:
            arguments.append(f"--die-at={die_at}")
        with (folder / "lives.err").open("ab") as errors:
            command = [sys.executable, "-m", "tests.equality.lives", *arguments]
            with subprocess.Popen(command, stdout=errors, stderr=errors, env=environment(), cwd=ROOT) as process:
                cost = cost.with_(waited_for(process))
        expected = 0 if die_at is None else -signal.SIGKILL
        assert process.returncode == expected, (folder / "lives.err").read_text()[-2_000:]
    told = asyncio.run(_told_in(folder / "data"))
    return Said(lines_of(told), time.monotonic() - began, cost, {"kills": kills})


def up_arguments(history: History) -> list[str]:
    """Return how `flowgauge up` is started with its rules."""
    partitions = ["--partitions", str(PARTITIONS), "--samples-partitions", str(EMBEDDED_SAMPLES_PARTITIONS)]
    return ["--rules", str(history.rules), *partitions]


def embedded(history: History, folder: Path) -> Said:
    """Load it into a new `flowgauge up`; return what its log holds once everything is detected and stored."""
    began = time.monotonic()
    folder.mkdir()
    with running_up(folder / "data", *up_arguments(history), "--load", str(history.file), env=UP_ENV) as up:
        wait_for(lambda: _has_detected(up), "the history to pass detection", wait_s=WAIT_S_MAX)
        seconds = time.monotonic() - began
        wait_for(lambda: _rows(up) >= history.lines, "every event in ClickHouse", wait_s=WAIT_S_MAX)
        rows, cost = _rows(up), cost_so_far([up.process.pid])
    assert rows == history.lines
    return Said(lines_of(asyncio.run(_told_in(folder / "data"))), seconds, cost, {"rows": rows})


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
        cost = cost_so_far(each.process.pid for each in roles)
    assert all(shares.values()), f"a process had no share in it: {shares}"
    return Said(lines_of(told), seconds, cost, {"shares": shares})


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
