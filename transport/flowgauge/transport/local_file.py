"""The file of the SQLite log: its tables, how it is opened, and what its errors mean.

    log.db       blocks of records, groups, state
    log.db-wal   what is committed and not yet copied over; part of the log, never to be deleted by hand

Durability: WAL with synchronous=FULL, so a commit that returned survives a power cut.
"""

import sqlite3
import uuid
from collections.abc import Mapping
from pathlib import Path

from flowgauge.schemas.errors import BadEnvironment, FlowgaugeError, InvariantBroken, LogMismatch, Transient

FILE_NAME = "log.db"
FORMAT_VERSION = 1
APPLICATION_ID = 0x666C6F67  # "flog", so that a foreign SQLite file is told apart
PAGE_BYTES = 8_192  # blocks span many pages, state records few: larger pages cost the latter write volume
WAL_PAGES_MAX = 2_048  # 16 MiB of WAL, then it is copied into the file: bounds disk and restart time
WAL_BYTES_KEPT = 32 * 1_048_576  # a WAL that a burst made longer is cut back to this
BUSY_TIMEOUT_MS = 5_000  # another process may hold the write lock for one commit, not longer

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0, last_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, number));
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, partition_id INTEGER NOT NULL, base_offset INTEGER NOT NULL,
    last_offset INTEGER NOT NULL, last_ms INTEGER NOT NULL, records BLOB NOT NULL,
    UNIQUE (partition_id, last_offset));
CREATE TABLE compacted (
    partition_id INTEGER NOT NULL, "offset" INTEGER NOT NULL, append_ms INTEGER NOT NULL,
    kind INTEGER NOT NULL, key TEXT NOT NULL, value BLOB,
    UNIQUE (partition_id, key), UNIQUE (partition_id, "offset"));
CREATE TABLE groups (
    name TEXT NOT NULL, topic TEXT NOT NULL, generation INTEGER NOT NULL,
    PRIMARY KEY (name, topic)) WITHOUT ROWID;
CREATE TABLE offsets (
    group_name TEXT NOT NULL, partition_id INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0, metadata TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (group_name, partition_id)) WITHOUT ROWID;
CREATE TABLE state (
    group_name TEXT NOT NULL, partition_id INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    UNIQUE (group_name, partition_id, key));
"""

_LATER = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_NOMEM", "SQLITE_CANTOPEN")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def open_file(folder: Path, partitions: Mapping[str, int], *, page_count_max: int | None = None) -> sqlite3.Connection:
    """Open or create the log in `folder` for writing.

    Raises LogMismatch for a foreign, damaged or otherwise partitioned log, BadEnvironment for a folder that
    cannot be written, Transient when there is no room to create it.
    """
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = connect(path)
    except (OSError, sqlite3.Error) as error:
        raise BadEnvironment(f"cannot open the log {path}: {error}; make the folder writable") from error
    try:
        _prepare(connection, path, partitions, page_count_max)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise _explain_opening(error, path) from error
        raise
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Open one connection; the caller sees to it that one thread at a time uses it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return connection


def explain(error: Exception, path: str) -> FlowgaugeError:
    """Return what a failed use of the file means: try later, or stop."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_LATER):
        return Transient(f"the log {path} cannot be used now: {error}: free disk space; nothing was changed")
    if name.startswith(_DAMAGED):
        return InvariantBroken(f"the log {path} is damaged: {error}: restore it from a backup or move it away")
    return InvariantBroken(f"the log {path} failed: {error!r}")


def _explain_opening(error: sqlite3.Error, path: Path) -> FlowgaugeError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DAMAGED):
        return LogMismatch(
            f"{path} is not a flowgauge log, or is damaged ({error}): restore it from a backup, or move it and "
            f"its -wal file away to begin a new log"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return BadEnvironment(f"cannot write the log {path}: {error}; make the folder writable")
    return explain(error, str(path))


def _prepare(
    connection: sqlite3.Connection, path: Path, partitions: Mapping[str, int], page_count_max: int | None
) -> None:
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    if (tables or application) and application != APPLICATION_ID:
        raise LogMismatch(f"{path} is no flowgauge log: move it away, or choose another data folder")
    if not tables:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    if page_count_max is not None:
        connection.execute(f"PRAGMA max_page_count = {page_count_max}")
    connection.execute("BEGIN IMMEDIATE")
    _create_or_check(connection, path)
    _apply_partitions(connection, path, partitions)
    connection.execute("COMMIT")


def _create_or_check(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables unless they exist, inside the caller's transaction, so that two openers agree."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('log_id', ?)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT_VERSION:
        raise LogMismatch(
            f"{path} has format {version}, this flowgauge reads {FORMAT_VERSION}: "
            f"use the flowgauge that wrote it, or move it away"
        )


def _apply_partitions(connection: sqlite3.Connection, path: Path, partitions: Mapping[str, int]) -> None:
    rows = connection.execute("SELECT topic, count(*) FROM partitions GROUP BY topic").fetchall()
    stored: dict[str, int] = dict(rows)
    for topic, count in partitions.items():
        if stored.get(topic, count) != count:
            raise LogMismatch(
                f"{path} has {stored[topic]} partitions of {topic}, the settings ask for {count}: "
                f"set it back to {stored[topic]}, or begin a new log in another data folder"
            )
        if topic not in stored:
            numbers = [(topic, number) for number in range(count)]
            connection.executemany("INSERT INTO partitions (topic, number) VALUES (?, ?)", numbers)
