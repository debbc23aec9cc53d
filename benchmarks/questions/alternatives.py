"""Other tables for the same events, and the questions that each is asked. Pure; `compare` fills and asks them.

Whole tables and slices of the table get the rows as they arrive and sort them; columns get them in the order of the
table as it is now, because only their codec is asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DATABASE: Final = "alternatives"
ARRIVED: Final = f"{DATABASE}.arrived"  # some runs' events as they come
SORTED: Final = f"{DATABASE}.sorted"  # the same as the table now keeps them
NOW: Final = "tenant, kind, toStartOfHour(occurred), run, occurred"

ORDERS: Final[Mapping[str, str]] = {
    "whole, now": NOW,
    "whole, hour first": "tenant, toStartOfHour(occurred), kind, run, occurred",
    "whole, run first": "tenant, run, occurred",
}
_SLICE = """(
    tenant LowCardinality(String), kind LowCardinality(String), occurred DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    event {word}, flow {word}, run String CODEC(ZSTD(1)), state LowCardinality(String),
    level LowCardinality(String), message String CODEC(ZSTD(1)){index}
) ENGINE = MergeTree PARTITION BY {partition} ORDER BY ({key})
SETTINGS index_granularity = {granularity}, non_replicated_deduplication_window = 10000"""
_SLICE_AS: Final = {
    "word": "LowCardinality(String)",
    "index": "",
    "partition": "toDate(occurred)",
    "key": NOW,
    "granularity": "8192",
}
_SLICE_COLUMNS = "tenant, kind, occurred, event, flow, run, state, level, message"
_TEXT = ", INDEX ix message TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(message))"
# What differs from the slice without an index.
SLICES: Final[Mapping[str, Mapping[str, str]]] = {
    "slice": {},
    "slice, hour first": {"key": ORDERS["whole, hour first"]},
    "slice, run first": {"key": ORDERS["whole, run first"]},
    "slice, text index": {"index": _TEXT},
    "slice, token bloom": {"index": ", INDEX ix message TYPE tokenbf_v1(16384, 2, 0) GRANULARITY 1"},
    "slice, run bloom": {"index": ", INDEX ix run TYPE bloom_filter(0.01) GRANULARITY 1"},
    "slice, run bloom over 4 granules": {"index": ", INDEX ix run TYPE bloom_filter(0.01) GRANULARITY 4"},
    "slice, run projection": {"index": ", PROJECTION by_run (SELECT tenant, run, _part_offset ORDER BY tenant, run)"},
    "slice, by week": {"partition": "toMonday(occurred)"},
    "slice, plain words": {"word": "String CODEC(ZSTD(1))"},
    "slice, granules of 2048": {"granularity": "2048"},
    "slice, granules of 32768": {"granularity": "32768"},
}

_OFFSET = "logged"  # what the log would give: the records of a partition by when they are appended
_OTHER_LABELS = "mapFilter((name, value) -> name != 'id', resource)"
_NAMED = ("id", "role", "name")
_APART = (
    "Array(String) CODEC(ZSTD(1)), role Array(LowCardinality(String)), name Array(String) CODEC(ZSTD(1)), "
    "rest Array(Map(String, String)) CODEC(ZSTD(3))"
)
_REST = f"arrayMap(each -> mapFilter((name, value) -> name NOT IN {_NAMED}, each), related)"
_RELATED_APART = ", ".join(f"arrayMap(each -> each['{name}'], related)" for name in _NAMED)
# By column: what it is stored as, and what makes it.
COLUMNS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "id": (
        ("UUID", "id"),
        ("UUID CODEC(NONE)", "id"),
        ("UUID CODEC(ZSTD(1))", "id"),
        ("UInt64 CODEC(Delta(8), ZSTD(1)), low UInt64 CODEC(NONE)", "high_of_id, low_of_id"),
        ("UInt64 CODEC(T64, ZSTD(1)), low UInt64 CODEC(NONE)", "high_of_id, low_of_id"),
    ),
    "occurred": tuple(
        (f"DateTime64(6, 'UTC') CODEC({codec})", "occurred")
        for codec in ("Delta(8), ZSTD(1)", "DoubleDelta, ZSTD(1)", "ZSTD(1)", "T64, ZSTD(1)", "Delta(8), LZ4")
    ),
    "_append": (
        *(
            (f"DateTime64(3, 'UTC') CODEC({codec})", "_append")
            for codec in ("Delta(8), ZSTD(1)", "DoubleDelta, ZSTD(1)", "ZSTD(1)", "T64, ZSTD(1)")
        ),
        ("Int64 CODEC(T64, ZSTD(1))", "toUnixTimestamp64Milli(_append) - toUnixTimestamp64Milli(occurred)"),
    ),
    "_offset": tuple(
        (f"UInt64 CODEC({codec})", _OFFSET)
        for codec in ("Delta(8), ZSTD(1)", "DoubleDelta, ZSTD(1)", "ZSTD(1)", "T64, ZSTD(1)")
    ),
    "_partition": (("UInt16 CODEC(ZSTD(1))", "_partition"), ("UInt16", "_partition")),
    "run": (
        ("String CODEC(ZSTD(1))", "run"),
        ("String CODEC(ZSTD(3))", "run"),
        ("String CODEC(LZ4)", "run"),
        ("LowCardinality(String)", "run"),
    ),
    "task": (
        ("String CODEC(ZSTD(1))", "task"),
        ("String CODEC(ZSTD(3))", "task"),
        ("LowCardinality(String)", "task"),
    ),
    "follows": (
        ("Nullable(UUID) CODEC(ZSTD(1))", "follows"),
        ("Nullable(UUID) CODEC(NONE)", "follows"),
        ("UUID CODEC(ZSTD(1))", "ifNull(follows, toUUID('00000000-0000-0000-0000-000000000000'))"),
    ),
    "scheduled_for": (
        ("Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1))", "scheduled_for"),
        ("Nullable(DateTime64(6, 'UTC')) CODEC(Delta(8), ZSTD(1))", "scheduled_for"),
    ),
    "message": tuple((f"String CODEC({codec})", "message") for codec in ("ZSTD(1)", "ZSTD(3)", "LZ4")),
    "payload": tuple((f"String CODEC({codec})", "payload") for codec in ("ZSTD(3)", "ZSTD(1)", "ZSTD(6)", "LZ4")),
    "resource": (
        ("Map(String, String) CODEC(ZSTD(3))", "resource"),
        ("Map(String, String) CODEC(ZSTD(1))", "resource"),
        ("Map(LowCardinality(String), String) CODEC(ZSTD(3))", "resource"),
        ("String CODEC(ZSTD(3))", "toJSONString(resource)"),
        (
            "String CODEC(ZSTD(1)), rest Map(String, String) CODEC(ZSTD(3))",
            f"resource['id'], {_OTHER_LABELS}",
        ),
    ),
    "related": (
        ("Array(Map(String, String)) CODEC(ZSTD(3))", "related"),
        ("Array(Map(String, String)) CODEC(ZSTD(1))", "related"),
        ("Array(Map(LowCardinality(String), String)) CODEC(ZSTD(3))", "related"),
        ("String CODEC(ZSTD(3))", "toJSONString(related)"),
        (_APART, f"{_RELATED_APART}, {_REST}"),
    ),
}

_WEEK = (
    "occurred >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC') "
    "AND occurred < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')"
)
_TENANT = "tenant = {tenant:String}"
_ENDS = "kind = 'flow-run' AND state IN ('completed', 'failed', 'crashed')"
_BY_HOUR = (
    "SELECT toStartOfHour(occurred) AS hour, uniqExact(run), uniqExactIf(run, state != 'completed') FROM {table} WHERE"
)
_BY_ERROR = (
    "SELECT replaceRegexpAll(message, '[0-9a-f-]{8,}|[0-9]+', '#') AS error, count(), uniqExact(run) FROM {table} WHERE"
)
_LINE = "SELECT occurred, event, flow, run, state, level, message FROM {table} WHERE"
# What people ask most of raw events; `<word>` is the condition that a table's index serves.
QUESTIONS: Final[Mapping[str, str]] = {
    "week by hour": f"{_BY_HOUR} {_TENANT} AND {_ENDS} AND {_WEEK} GROUP BY hour",
    "needle": f"{_LINE} {_TENANT} AND kind = 'log' AND {_WEEK} AND <word> ORDER BY occurred DESC LIMIT 100",
    "one run": f"{_LINE} {_TENANT} AND run = {{run:String}} ORDER BY occurred",
    "one run, its hours known": f"{_LINE} {_TENANT} AND run = {{run:String}} "
    "AND occurred >= fromUnixTimestamp64Milli({first_ms:Int64}, 'UTC') "
    "AND occurred <= fromUnixTimestamp64Milli({last_ms:Int64}, 'UTC') ORDER BY occurred",
    "newest 100 lines": f"{_LINE} {_TENANT} AND kind = 'log' AND {_WEEK} ORDER BY occurred DESC LIMIT 100",
    "errors": f"{_BY_ERROR} {_TENANT} AND kind = 'log' AND level = 'ERROR' AND {_WEEK} GROUP BY error",
    "all tenants by hour": f"{_BY_HOUR} {_ENDS} AND {_WEEK} GROUP BY hour",
    "all tenants, needle": f"{_LINE} kind = 'log' AND {_WEEK} AND <word> ORDER BY occurred DESC LIMIT 100",
}
_BY_TEXT_INDEX: Final = "hasAllTokens(message, [{word:String}])"
_BY_WORD: Final = "hasToken(message, {word:String})"


@dataclass(frozen=True, slots=True)
class Alternative:
    """A table: its name among people and in the engine, how it is made, and what fills it."""

    name: str
    engine_name: str
    create: str
    insert: str

    @property
    def table(self) -> str:
        """What the engine calls it."""
        return f"{DATABASE}.{self.engine_name}"

    @property
    def is_asked(self) -> bool:
        """Whether it has what questions are about; a column alone has not."""
        return not self.name.startswith("column ")


def asked_sql(question: str, of: Alternative) -> str:
    """Return one of QUESTIONS as it is asked of a table."""
    word = _BY_TEXT_INDEX if "TYPE text" in of.create else _BY_WORD
    return QUESTIONS[question].replace("{table}", of.table).replace("<word>", word)


def alternatives(create_events: str, columns: str) -> list[Alternative]:
    """Return all tables. `create_events` makes the table of today, `columns` are those that an insert names."""
    return [
        *(_whole(name, key, create_events, columns) for name, key in ORDERS.items()),
        *(_slice(name, differs) for name, differs in SLICES.items()),
        *(_column(name, kind, made) for name, kinds in COLUMNS.items() for kind, made in kinds),
    ]


def _whole(name: str, key: str, create_events: str, columns: str) -> Alternative:
    of = create_events.partition("flowgauge.events")[2]
    by_key = re.sub(r"ORDER BY \(.*?\) (?=TTL|SETTINGS)", f"ORDER BY ({key}) ", of)
    if f"ORDER BY ({key})" not in by_key:
        raise ValueError(f"the table of events has no key that could be another: {of}")
    return _alternative(name, by_key, f"({columns}) SELECT {columns} FROM {ARRIVED}")


def _slice(name: str, differs: Mapping[str, str]) -> Alternative:
    return _alternative(name, _SLICE.format(**{**_SLICE_AS, **differs}), f"SELECT {_SLICE_COLUMNS} FROM {ARRIVED}")


def _column(column: str, kind: str, made: str) -> Alternative:
    of = f"(value {kind}) ENGINE = MergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 10000"
    return _alternative(f"column {column}: {kind}", of, f"SELECT {made} FROM {SORTED}")


def _alternative(name: str, of: str, rows: str) -> Alternative:
    engine_name = re.sub(r"\W+", "_", name).strip("_")
    table = f"{DATABASE}.{engine_name}"
    return Alternative(name, engine_name, f"CREATE TABLE IF NOT EXISTS {table} {of}", f"INSERT INTO {table} {rows}")
