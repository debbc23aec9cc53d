"""Ask a month of events: each question many times, each time a little else. Nothing is answered from memory of answers.

one client       chDB in this process: its calls never overlap
more clients     chDB behind the tests' front, over HTTP, each client a connection: they do overlap
cold             each asking in a process of its own, after the system has let go of the files
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import msgspec
from tests.clickhouse_front import Front

from benchmarks import processes
from benchmarks.questions.askings import INCIDENT, INCIDENTS, Facts, Question
from benchmarks.questions.figures import Asked, Kept, asked_of, together
from flowgauge.sinks.clickhouse.call_settings import QUERY_S_MAX
from flowgauge.sinks.clickhouse.client import CONNECTIONS_MAX, Client, Result, Server, connect, open_engine
from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.incidents import incident, incidents
from flowgauge.sinks.clickhouse.metric import InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer
from flowgauge.sinks.clickhouse.store import ClickHouseStore

SECONDS_MAX: Final = 20.0  # of one question; one that is slow is asked fewer times
ASKINGS_MIN: Final = 3
COLD_S_MAX: Final = 120  # of one process
FACTS_MAX: Final = 200  # of a kind
FORGETFUL: Final[dict[str, object]] = {"use_query_condition_cache": 0, "use_query_cache": 0}

_STAND_STILL = "SYSTEM STOP MERGES"  # what is merged meanwhile is asked of nobody
_READ = (
    "SELECT sumIf(value, event = 'SelectedRows'), sumIf(value, event = 'SelectedBytes') FROM system.events "
    "WHERE event IN ('SelectedRows', 'SelectedBytes')"
)
_LARGEST = "SELECT tenant FROM flowgauge.events GROUP BY tenant ORDER BY count() DESC, tenant LIMIT 1"
_SPAN = "SELECT toUnixTimestamp64Milli(min(occurred)), toUnixTimestamp64Milli(max(occurred)) + 1 FROM flowgauge.events"
# What a run is known by, told again; its tenant is one of which something came since the last fold (ADR 17).
_NEWS = (
    "INSERT INTO flowgauge.runs (tenant, run, seen_first, seen_last, append_last) "
    "SELECT tenant, run, seen_first, seen_last, append_last FROM flowgauge.runs WHERE tenant = {tenant:String} LIMIT 1"
)
_TENANT = "WHERE tenant = {tenant:String}"
_WEEK = (
    f"{_TENANT} AND occurred >= fromUnixTimestamp64Milli({{since_ms:Int64}}, 'UTC') "
    "AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')"
)
_SOME = f"LIMIT {FACTS_MAX}"
_OF_LINES = (  # of one run in fifty
    f"SELECT DISTINCT extract(message, '<pattern>') AS found FROM flowgauge.events {_WEEK} AND kind = 'log' "
    f"AND cityHash64(run) % 50 = 7 AND found != '' ORDER BY cityHash64(found) {_SOME}"
)
_FACTS: Final = {
    "flows": f"SELECT DISTINCT flow FROM flowgauge.run_ends_hourly {_TENANT} ORDER BY flow",
    "runs": f"SELECT DISTINCT run FROM flowgauge.runs {_TENANT} ORDER BY cityHash64(run) {_SOME}",
    "tasks": f"SELECT any(resource['id']) FROM flowgauge.events {_WEEK} AND kind = 'task-run' "
    f"GROUP BY run ORDER BY cityHash64(run) {_SOME}",
    "marks": _OF_LINES.replace("<pattern>", "Checksum ([0-9a-f]+) agrees"),
    "customers": _OF_LINES.replace("<pattern>", "of customer [0-9]+ done"),
    "incidents": f"SELECT DISTINCT incident_id FROM flowgauge.transitions {_TENANT} {_SOME}",
}
_TABLES = (
    "SELECT table, '', sum(rows), sum(bytes_on_disk) FROM system.parts "
    "WHERE active AND database = 'flowgauge' GROUP BY table HAVING sum(rows) > 0"
)
_COLUMNS = (
    "SELECT table, name, 0, data_compressed_bytes + marks_bytes FROM system.columns "
    "WHERE database = 'flowgauge' AND data_compressed_bytes > 0"
)
_INDEXES = (
    "SELECT table, concat('index ', name), 0, data_compressed_bytes + marks_bytes FROM system.data_skipping_indices "
    "WHERE database = 'flowgauge'"
)


class _Forgetful:
    """A client that remembers no conditions and no answers."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def query(
        self, query: str, parameters: dict[str, object] | None = None, settings: dict[str, object] | None = None
    ) -> Result:
        """Answer a question as if none had been asked before."""
        return self._client.query(query, parameters, {**(settings or {}), **FORGETFUL})


def _forgetful(client: Client) -> Client:
    return cast("Client", _Forgetful(client))


@dataclass(slots=True)
class Asker:
    """Who asks: stores, a client of theirs, and what their engine has spent and read until now."""

    stores: Sequence[ClickHouseStore]
    client: Client
    cpu_seconds: Callable[[], float]
    disk_bytes: Callable[[], int]

    @property
    def read(self) -> tuple[int, int]:
        """Rows and bytes of tables."""
        rows, count_bytes = self.client.query(_READ).result_rows[0]
        return int(str(rows)), int(str(count_bytes))


@contextmanager
def embedded(folder: Path) -> Generator[Asker]:
    """Open chDB in this process."""
    threads = ThreadPoolExecutor(1)
    client = _forgetful(threads.submit(open_engine, folder).result())
    store = ClickHouseStore(client, client, threads, None)
    client.command(_STAND_STILL)
    try:
        yield Asker([store], client, time.process_time, lambda: processes.disk_bytes_read(os.getpid()))
    finally:
        store.close()


@contextmanager
def served(folder: Path, clients: int) -> Generator[Asker]:
    """Open chDB behind the front; a store has CONNECTIONS_MAX connections."""
    with Front(folder) as front:
        server = Server(front.url, front.user, front.password)
        clients_of = [
            _forgetful(connect(server, answer_s_max=QUERY_S_MAX * clients))
            for _ in range(-(-clients // CONNECTIONS_MAX))
        ]
        clients_of[0].command(_STAND_STILL)
        stores = [ClickHouseStore(each, each, ThreadPoolExecutor(CONNECTIONS_MAX), server) for each in clients_of]
        try:
            yield Asker(
                stores,
                clients_of[0],
                lambda: processes.cpu_seconds(front.pid),
                lambda: processes.disk_bytes_read(front.pid),
            )
        finally:
            for store in stores:
                store.close()


def ask(asker: Asker, question: Question, clients: int, *, warm: bool = True) -> Asked:
    """Ask one question in all its ways, by some clients at once, for at most SECONDS_MAX; `warm`: once before."""
    if warm:
        asyncio.run(_ask(asker, replace(question, askings=question.askings[:1]), 1))
    return asyncio.run(_ask(asker, question, clients))


async def _ask(asker: Asker, question: Question, clients: int) -> Asked:
    rows_began, bytes_began = asker.read
    began, cpu_began, disk_began = time.perf_counter(), asker.cpu_seconds(), asker.disk_bytes()
    waiting = iter(question.askings)
    took_ms: list[float] = []
    troubles: list[str] = []
    answered = 0

    async def client(store: ClickHouseStore) -> None:
        nonlocal answered
        for query in waiting:
            at = time.perf_counter()
            try:
                rows = await _answer(store, question, query)
                answered += rows
            except (EngineTrouble, InvalidQuestion) as trouble:
                troubles.append(str(trouble))
            took_ms.append((time.perf_counter() - at) * 1e3)
            if time.perf_counter() - began > SECONDS_MAX and len(took_ms) >= ASKINGS_MIN:
                return

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(client(asker.stores[number % len(asker.stores)]))
    cpu_seconds, disk_bytes = asker.cpu_seconds() - cpu_began, asker.disk_bytes() - disk_began
    rows_read, bytes_read = asker.read
    return asked_of(
        (question.name, question.of),
        clients=clients,
        took_ms=took_ms,
        cpu_seconds=cpu_seconds,
        read=(rows_read - rows_began, bytes_read - bytes_began),
        disk_bytes=disk_bytes,
        answer_rows=answered,
        troubles=troubles,
    )


async def _answer(store: ClickHouseStore, question: Question, query: MetricQuery) -> int:
    """Return how many rows the answer has."""
    if question.metric == INCIDENTS:
        return len(await incidents(store, query.tenant, query.limit))
    if question.metric == INCIDENT:
        return int(await incident(store, query.tenant, query.text) is not None)
    return len((await answer(store, question.metric, query)).rows)


def ask_cold(folder: Path, facts: Path, question: Question) -> Asked:
    """Ask in processes that have just begun, of files that are not in the system's memory (Linux)."""
    return together([_asked_apart(folder, facts, question, at) for at in range(len(question.askings))])


def _asked_apart(folder: Path, facts: Path, question: Question, at: int) -> Asked:
    forget_files(folder)
    command = [sys.executable, "-m", "benchmarks.questions", "ask", "--data", str(folder), "--facts", str(facts)]
    command += ["--only", question.name, "--of", question.of, "--askings", "1", "--first", str(at)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=COLD_S_MAX, check=True)
    return msgspec.json.decode(run.stdout.splitlines()[0], type=Asked)


def forget_files(folder: Path) -> None:
    """Let the system forget what it has of these files; what is not on disk yet it keeps."""
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def facts_of(client: Client) -> Facts:
    """Look up what askings name."""
    (tenant,) = _column(client, _LARGEST)
    since_ms, until_ms = client.query(_SPAN).result_rows[0]
    about = {"tenant": tenant, "since_ms": int(str(until_ms)) - 7 * 86_400_000, "until_ms": until_ms}
    found = {name: [str(value) for value in _column(client, sql, about)] for name, sql in _FACTS.items()}
    return Facts(since_ms=int(str(since_ms)), until_ms=int(str(until_ms)), tenant=str(tenant), **found)


def tell_something(client: Client, facts: Facts) -> None:
    """Let something come of a run of the tenant that is asked about: as the last fold left it is not enough then."""
    client.command(_NEWS, {"tenant": facts.tenant})


def kept(client: Client) -> list[Kept]:
    """Return what each table, column and index takes on disk, by event."""
    events = int(str(client.query("SELECT count() FROM flowgauge.events").result_rows[0][0])) or 1
    rows = [row for sql in (_TABLES, _COLUMNS, _INDEXES) for row in client.query(sql).result_rows]
    return [
        Kept(str(table), str(name), int(str(count)), int(str(size)), round(int(str(size)) / events, 3))
        for table, name, count, size in rows
    ]


def _column(client: Client, sql: str, about: dict[str, object] | None = None) -> list[object]:
    return [row[0] for row in client.query(sql, parameters=about).result_rows]
