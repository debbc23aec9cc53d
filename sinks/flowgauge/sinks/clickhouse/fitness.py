"""Fitness: whether a server keeps what the sink relies on, as it tells itself. Pure.

Each problem is one line with its remedy. What would lose or double rows is fatal; the rest is told.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge.sinks.clickhouse.deployment import MACROS, WINDOW, WINDOW_S, Deployment
from flowgauge.sinks.clickhouse.drift import settings_in

CLOCK_MS_MAX = 60_000  # tables let go by the server's clock what was appended by the brokers'; days matter, not seconds
DATABASE_ENGINES = ("Atomic", "Replicated", "Shared")  # views are replaced in one step there

SETTINGS = (
    "SELECT name, value, toString(readonly) AS readonly, ifNull(toString(min), '') AS least, "
    "ifNull(toString(max), '') AS most FROM system.settings WHERE name IN {names:Array(String)}"
)
READONLY = "SELECT toUInt8(getSetting('readonly')) AS readonly, toUnixTimestamp64Milli(now64(3)) AS now_ms"
DATABASE_ENGINE = "SELECT engine FROM system.databases WHERE name = {database:String}"
CLUSTER = "SELECT cluster, uniqExact(shard_num) AS shards, count() AS replicas FROM system.clusters GROUP BY cluster"
MACROS_THERE = "SELECT macro FROM system.macros"
# Our tables, and every view on the server that may read them.
INSERTED = (
    "SELECT database, name, engine, engine_full, create_table_query, "
    "arrayZip(dependencies_database, dependencies_table) AS views FROM system.tables "
    "WHERE database = {database:String} OR engine = 'MaterializedView' OR engine LIKE '%MergeTree'"
)
_TARGET = re.compile(r"^CREATE MATERIALIZED VIEW \S+ (?:REFRESH .*?)?TO (\S+)")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and what to do; `is_fatal` when rows would be lost or doubled."""

    text: str
    remedy: str
    is_fatal: bool = True

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.text} ({self.remedy})"


def user_problems(sent: Mapping[str, object], told: Sequence[Mapping[str, Any]], readonly: int) -> list[Problem]:
    """Return what keeps the user from sending the settings `sent`, from the answers to SETTINGS and READONLY."""
    if readonly:
        return [
            Problem(
                f"the user may only read (readonly = {readonly})",
                "give it a settings profile with readonly = 0: inserts bring their settings along",
            )
        ]
    found = {str(each["name"]): each for each in told}
    return [problem for name, value in sent.items() for problem in _of_setting(name, value, found.get(name))]


def clock_problems(server_ms: int, before_ms: int, after_ms: int) -> list[Problem]:
    """Return whether the server's clock, asked for between two looks at ours, differs from ours."""
    off_ms = max(before_ms - server_ms, server_ms - after_ms)
    if off_ms <= CLOCK_MS_MAX:
        return []
    side = "behind" if server_ms < before_ms else "ahead of"
    return [Problem(f"its clock is {off_ms // 1000} s {side} ours", "let both follow one time server", is_fatal=False)]


def database_problems(engine: str, deployment: Deployment) -> list[Problem]:
    """Return whether the database of that engine, "" when there is none yet, can keep our tables."""
    if engine and engine not in DATABASE_ENGINES:
        text = f"the database {deployment.database} has the engine {engine}"
        return [Problem(text, "name another in clickhouse.database: an Atomic one is made")]
    if engine == "Replicated" and deployment.is_cluster:
        text = f"the database {deployment.database} is Replicated, where nothing is made ON CLUSTER"
        return [Problem(text, "name another in clickhouse.database: an Atomic one is made on each replica")]
    return []


def cluster_problems(
    deployment: Deployment, clusters: Sequence[Mapping[str, Any]], macros: Sequence[str]
) -> list[Problem]:
    """Return whether the cluster that the settings name is one of replicas of one shard."""
    if not deployment.is_cluster:
        return []
    shards = {str(each["cluster"]): int(each["shards"]) for each in clusters}
    if deployment.cluster not in shards:
        known = ", ".join(sorted(shards)) or "none"
        return [Problem(f"it knows no cluster {deployment.cluster!r}", f"correct clickhouse.cluster; it knows {known}")]
    if shards[deployment.cluster] > 1:
        text = f"the cluster {deployment.cluster} has {shards[deployment.cluster]} shards"
        return [Problem(text, "name one of one shard: each row is inserted through one address and looked for there")]
    missing = [macro for macro in MACROS if macro not in macros]
    if missing:
        text = f"its configuration has no macro {' and no '.join(missing)}"
        return [Problem(text, "set <macros> on every replica: tables find each other by them")]
    return []


def window_problems(deployment: Deployment, told: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> list[Problem]:
    """Return which table that rows of ours go into forgets tokens, from the answer to INSERTED.

    These are the `sources` that the sink inserts into, and the targets of all views that read them, ours or not.
    """
    tables = {(str(each["database"]), str(each["name"])): each for each in told}
    problems: list[Problem] = []
    for source in sources:
        reached = [(deployment.database, source), *_targets(tables, (deployment.database, source))]
        for place in reached:
            if place in tables:
                problems += _of_window(place, tables[place], deployment)
    return list(dict.fromkeys(problems))


def _of_setting(name: str, value: object, told: Mapping[str, Any] | None) -> Iterator[Problem]:
    if told is None:
        yield Problem(f"it does not know the setting {name}", "use a version of ClickHouse that flowgauge knows")
    elif told["readonly"] == "1" and str(told["value"]) != str(value):
        yield Problem(f"the user may not set {name}", f"allow it in its settings profile, or set it to {value} there")
    elif _is_beyond(value, told["least"], told["most"]):
        bounds = f"{told['least'] or '…'} to {told['most'] or '…'}"
        yield Problem(f"the user may set {name} only to {bounds}, not to {value}", "widen it in its settings profile")


def _is_beyond(value: object, least: str, most: str) -> bool:
    try:
        return (bool(least) and float(str(value)) < float(least)) or (bool(most) and float(str(value)) > float(most))
    except ValueError:  # a word: ClickHouse compares it itself
        return False


def _targets(tables: Mapping[tuple[str, str], Mapping[str, Any]], source: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Yield where the views of `source` put rows, and the views of those tables again."""
    for database, view in tables.get(source, {}).get("views", ()):
        found = _TARGET.match(str(tables.get((database, view), {}).get("create_table_query", "")))
        if found is None:
            continue
        target_database, _, target = found[1].replace("`", "").rpartition(".")
        place = (target_database or database, target)
        yield place
        yield from _targets(tables, place)


def _of_window(place: tuple[str, str], table: Mapping[str, Any], deployment: Deployment) -> Iterator[Problem]:
    name, is_ours = ".".join(place), place[0] == deployment.database
    engine = str(table["engine"])
    if not engine.endswith("MergeTree"):
        return
    is_shared = engine.startswith(("Replicated", "Shared"))
    if is_ours and is_shared != bool(deployment.cluster):
        has = "replicated" if is_shared else "not replicated"
        means = "names a cluster" if deployment.cluster else "is empty"
        yield Problem(f"{name} is {has} and clickhouse.cluster {means}", "let the setting say what the tables are")
        return
    settings = settings_in(str(table["engine_full"]))
    kind = "replicated" if is_shared else "non_replicated"
    # Without a setting of its own, a replicated table has the server's, which an hour ends.
    wanted = {f"{kind}_deduplication_window": WINDOW}
    wanted |= {"replicated_deduplication_window_seconds": WINDOW_S} if is_shared else {}
    for setting, least in wanted.items():
        if int(settings.get(setting, "0")) < least:
            yield Problem(
                f"{name} may count a repeated batch twice: {setting} is {settings.get(setting, 'not set')}",
                f"ALTER TABLE {name} MODIFY SETTING {setting} = {least}",
                is_fatal=is_ours,
            )
