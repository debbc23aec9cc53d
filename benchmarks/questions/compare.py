"""Fill the alternatives with the events of a month, some hours at a time, and note what each takes. Behind ADR 16.

Every turn begins with another alternative: what neighbours on the machine take falls on all alike. The engine merges
nothing meanwhile, so that the CPU time of an insert is its own. It goes on where it ended: an insert whose note is
missing is made again, and changes nothing.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.questions.alternatives import (
    ARRIVED,
    DATABASE,
    NOW,
    QUESTIONS,
    SORTED,
    Alternative,
    alternatives,
    asked_sql,
)
from benchmarks.questions.ask import FORGETFUL
from benchmarks.questions.askings import STEP_MS
from benchmarks.questions.figures import Compared
from benchmarks.questions.month import DAY_MS, HOUR_MS
from flowgauge.sinks.clickhouse.client import Client, open_engine

TURN_MS: Final = DAY_MS // 10  # of append time: 0.7 M rows, about 1 GB in memory
ROUNDS: Final = 3  # of the questions

_NOTES: Final = f"{DATABASE}.notes"  # which alternative has had which turn, and what that took
_SETTINGS: Final[dict[str, object]] = {
    "max_threads": 1,
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 2_000_000,
    "min_insert_block_size_bytes": 0,
    "max_insert_block_size": 2_000_000,
    "max_partitions_per_insert_block": 0,
    "deduplicate_insert": "enable",
}
_MERGED: Final = 2**32 - 1  # in place of a turn
_PARTITIONS = """
SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = 'alternatives' AND table = {table:String}
"""
_SIZES = """
WITH (
    SELECT sum(bytes_on_disk) FROM system.projection_parts
    WHERE active AND database = 'alternatives' AND table = {table:String}
) AS projections
SELECT
    sum(rows),
    sum(bytes_on_disk),
    sum(secondary_indices_compressed_bytes + secondary_indices_marks_bytes) + projections
FROM system.parts WHERE active AND database = 'alternatives' AND table = {table:String}
"""
_TAKEN = f"""
SELECT
    medianExactIf(cpu_us / rows, turn != {_MERGED}),
    sumIf(cpu_us, turn = {_MERGED}) / greatest(1, maxIf(rows, turn = {_MERGED}))
FROM {_NOTES} WHERE name = {{name:String}}
"""
# Runs of the largest tenants that ended long before the last, and a word that one line of theirs has.
_ABOUT = """
SELECT tenant, run, toUnixTimestamp64Milli(min(occurred)), toUnixTimestamp64Milli(max(occurred)),
    anyIf(extract(message, 'Checksum ([0-9a-f]+)'), startsWith(message, 'Checksum '))
FROM {table} WHERE tenant IN ('team-00', 'team-01')
GROUP BY tenant, run ORDER BY tenant, cityHash64(run, 1) LIMIT {rounds:UInt32}
"""
# The log numbers the records of a partition as they are appended; month.sql numbers them by run.
_ARRIVED = f"""
CREATE OR REPLACE TABLE {ARRIVED} ENGINE = Memory AS
SELECT *, toUInt64(({{turn:UInt32}} * 1000000 + rowNumberInAllBlocks()) / 16) AS logged
FROM (
    SELECT *, message, level, logger FROM flowgauge.events
    WHERE occurred >= fromUnixTimestamp64Milli({{first_ms:Int64}} - 3600000, 'UTC')
        AND occurred < fromUnixTimestamp64Milli({{end_ms:Int64}} + 3600000, 'UTC')
        AND _append >= fromUnixTimestamp64Milli({{first_ms:Int64}}, 'UTC')
        AND _append < fromUnixTimestamp64Milli({{end_ms:Int64}}, 'UTC')
    ORDER BY _append
)
"""
_BEGIN = "SELECT toUnixTimestamp64Milli(min(_append)) FROM flowgauge.events"
_SORTED = f"""
CREATE OR REPLACE TABLE {SORTED} ENGINE = Memory AS SELECT
    *,
    toUInt64(bitShiftRight(toUInt128(id), 64)) AS high_of_id,
    toUInt64(bitAnd(toUInt128(id), 18446744073709551615)) AS low_of_id
FROM {ARRIVED} ORDER BY {NOW}
"""
# A log: of a merge tree each note would be a part, and nothing is merged meanwhile.
_MAKE_NOTES = f"""
CREATE TABLE IF NOT EXISTS {_NOTES} (name String, turn UInt32, rows UInt64, cpu_us UInt64)
ENGINE = Log
"""
_EVENTS = """
SELECT create_table_query, (
    SELECT arrayStringConcat(groupArray(name), ', ') FROM (
        SELECT name FROM system.columns
        WHERE database = 'flowgauge' AND table = 'events' AND default_kind != 'MATERIALIZED' ORDER BY position
    )
)
FROM system.tables WHERE database = 'flowgauge' AND name = 'events'
"""


def compare(
    folder: Path, hours: int, rounds: int, *, only: Sequence[str], merges: bool, say: Callable[[str], None]
) -> list[Compared]:
    """Give the tables the first `hours` of the month in `folder`, ask them, and return what each takes. Blocks.

    `only`: how the names of those begin that are compared.
    """
    client, every = prepare(folder)
    found = [each for each in every if each.name.startswith(tuple(only))]
    if not found:
        raise SystemExit(f"no table's name begins so; there are {', '.join(each.name for each in every)}")
    try:
        fill(client, found, hours, say)
        if merges:
            merge(client, found)
        return compared(client, found, rounds)
    finally:
        client.close()


def prepare(folder: Path) -> tuple[Client, list[Alternative]]:
    """Open the engine over the month in `folder` and make the tables that are missing."""
    client = open_engine(folder)
    client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic")
    client.command(_MAKE_NOTES)
    create, columns = client.query(_EVENTS).result_rows[0]
    found = alternatives(str(create), str(columns))
    for each in found:
        client.command(each.create)
    client.command("SYSTEM STOP MERGES")
    return client, found


def fill(client: Client, found: Sequence[Alternative], hours: int, say: Callable[[str], None]) -> None:
    """Give every alternative the events of the first `hours` of append time, those that it has not."""
    told = client.query(f"SELECT name, turn FROM {_NOTES}").result_rows
    known = {(str(name), int(str(turn))) for name, turn in told}
    begin_ms = int(str(client.query(_BEGIN).result_rows[0][0]))
    for turn in range(-(-hours * HOUR_MS // TURN_MS)):
        todo = [each for each in _from(found, turn) if (each.name, turn) not in known]
        if todo:
            _arrive(client, turn, begin_ms + turn * TURN_MS, sorts=any(SORTED in each.insert for each in todo))
        for each in todo:
            began = time.process_time()
            client.command(each.insert, settings={**_SETTINGS, "insert_deduplication_token": f"turn {turn}"})
            _note(client, each.name, turn, cpu_seconds=time.process_time() - began, rows_of=ARRIVED)
        say(f"turn {turn + 1}")
    for table in (ARRIVED, SORTED):
        client.command(f"DROP TABLE IF EXISTS {table}")


def _arrive(client: Client, turn: int, first_ms: int, *, sorts: bool) -> None:
    """Put the events of a turn into memory, as they came and, where somebody needs it, as the table now sorts them."""
    about: dict[str, object] = {"turn": turn, "first_ms": first_ms, "end_ms": first_ms + TURN_MS}
    client.command(f"DROP TABLE IF EXISTS {SORTED}")
    client.command(_ARRIVED, parameters=about, settings=_SETTINGS)
    if sorts:
        client.command(_SORTED, settings=_SETTINGS)


def _note(client: Client, name: str, turn: int, *, cpu_seconds: float, rows_of: str) -> None:
    client.command(
        f"INSERT INTO {_NOTES} SELECT {{name:String}}, {{turn:UInt32}}, count(), {{us:UInt64}} FROM {rows_of}",
        parameters={"name": name, "turn": turn, "us": round(cpu_seconds * 1e6)},
    )


def _from(found: Sequence[Alternative], turn: int) -> Iterator[Alternative]:
    at = turn % len(found)
    yield from found[at:]
    yield from found[:at]


def merge(client: Client, found: list[Alternative]) -> None:
    """Merge every day of every table that is asked into one part, as the engine does in time, and note what it took."""
    client.command("SYSTEM START MERGES")
    for each in found:
        if not each.is_asked:
            continue
        began = time.process_time()
        for (partition,) in client.query(_PARTITIONS, parameters={"table": each.engine_name}).result_rows:
            client.command(
                f"OPTIMIZE TABLE {each.table} PARTITION ID '{partition}' FINAL",
                settings={"optimize_skip_merged_partitions": 1},
            )
        _note(client, each.name, _MERGED, cpu_seconds=time.process_time() - began, rows_of=each.table)


def compared(client: Client, found: list[Alternative], rounds: int) -> list[Compared]:
    """Ask every table, in turns, and return all that is known of each."""
    asked = _asked(client, [each for each in found if each.is_asked], rounds)
    return [_compared(client, each, asked.get(each.name, {})) for each in found]


def _asked(client: Client, found: list[Alternative], rounds: int) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return milliseconds, and those of CPU, by table and question."""
    took: dict[str, dict[str, list[tuple[float, float]]]] = {
        each.name: {name: [] for name in QUESTIONS} for each in found
    }
    for turn, about in enumerate(_abouts(client, found[0].table, rounds) if found else ()):
        for each in _from(found, turn):
            for name in QUESTIONS:
                began, cpu_began = time.perf_counter(), time.process_time()
                client.query(asked_sql(name, each), parameters=about, settings=dict(FORGETFUL))
                took[each.name][name].append(
                    ((time.perf_counter() - began) * 1e3, (time.process_time() - cpu_began) * 1e3)
                )
    return took


def _abouts(client: Client, table: str, rounds: int) -> list[dict[str, object]]:
    """Return what each round of askings is about, from a table that all others hold at least the rows of."""
    rows = client.query(_ABOUT.replace("{table}", table), parameters={"rounds": rounds}).result_rows
    ends = client.query(f"SELECT toUnixTimestamp64Milli(max(occurred)) FROM {table}").result_rows[0][0]
    until_ms = int(str(ends))
    return [
        {
            "tenant": tenant,
            "run": run,
            "first_ms": first_ms,
            "last_ms": last_ms,
            "word": word,
            "since_ms": until_ms - 7 * DAY_MS - at * STEP_MS,
            "until_ms": until_ms - at * STEP_MS,
        }
        for at, (tenant, run, first_ms, last_ms, word) in enumerate(rows)
    ]


def _compared(client: Client, each: Alternative, asked: dict[str, list[tuple[float, float]]]) -> Compared:
    of: dict[str, object] = {"name": each.name, "table": each.engine_name}
    rows, count_bytes, index_bytes = map(float, map(str, client.query(_SIZES, parameters=of).result_rows[0]))
    insert_us, merge_us = map(float, map(str, client.query(_TAKEN, parameters=of).result_rows[0]))
    return Compared(
        each.name,
        round(rows),
        round(count_bytes / rows, 3),
        insert_us=round(insert_us, 3),
        index_bytes_per_row=round(index_bytes / rows, 3),
        merge_us=round(merge_us, 3),
        p50_ms={name: round(statistics.median(ms for ms, _ in taken), 1) for name, taken in asked.items()},
        cpu_ms={name: round(statistics.median(ms for _, ms in taken), 1) for name, taken in asked.items()},
    )
