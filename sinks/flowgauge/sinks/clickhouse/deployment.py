"""The deployment: one server (or chDB), a cluster of replicas, or ClickHouse Cloud, and our words for each. Pure.

    clickhouse.cluster   tables                       tokens are kept by   a look sees every stored row
    ""                   MergeTree                    the table            always
    NAME                 ReplicatedMergeTree, made    Keeper               after SYSTEM SYNC REPLICA on all replicas;
                         ON CLUSTER                                        inserts wait for a majority
    "cloud"              MergeTree: Cloud makes       Keeper               with select_sequential_consistency
                         SharedMergeTree of it

The schema files and queries are written for the first. Reasons and sources: ADR 14. Next file: `upkeep`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowgauge.sinks.clickhouse.errors import EngineTrouble

DATABASE: Final = "flowgauge"  # what the schema files and the queries call the database
CLOUD: Final = "cloud"
# The name of the table, not its uuid: a replica that is added later joins the tables that are there.
REPLICA_PATH: Final = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
MACROS = ("shard", "replica")  # what that path takes from the configuration of each server
WINDOW: Final = 10_000  # tokens that a table remembers: hours of batches
WINDOW_S: Final = 604_800  # replicas forget by age too, after an hour unless told; a sink may be away for days
DDL_S_MAX = 120  # what all replicas do about a statement
SYNC_S_MAX = 20  # how long a look waits for replicas that lag
QUORUM_MS_MAX = 60_000  # half of an insert's limit

_DATABASE = re.compile(rf"\b{DATABASE}(?=\.| ENGINE)")
_HEAD = re.compile(
    r"^(CREATE DATABASE IF NOT EXISTS \w+"
    r"|CREATE (?:TABLE IF NOT EXISTS|(?:MATERIALIZED )?VIEW IF NOT EXISTS|OR REPLACE VIEW) [\w.]+"
    r"|ALTER TABLE [\w.]+)",
    re.MULTILINE,
)
_ENGINE = re.compile(r"^(\) )?ENGINE = (\w*MergeTree)\b(?:\((\w+)\))?", re.MULTILINE)
_WINDOW_SETTING = f"non_replicated_deduplication_window = {WINDOW}"
_SYNC_COLUMNS = 6  # host, port, status, error, hosts that remain, hosts that are active


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where our tables lie. `cluster` is "" for one server, "cloud", or the name of a cluster of one shard."""

    cluster: str = ""
    database: str = DATABASE
    insert_settings: Mapping[str, object] = field(init=False)
    look_settings: Mapping[str, object] = field(init=False)
    ddl_settings: Mapping[str, object] = field(init=False)

    def __post_init__(self) -> None:
        """Choose the settings of what is sent."""
        insert: dict[str, object] = {}
        look: dict[str, object] = {}
        ddl: dict[str, object] = {}
        if self.is_cluster:
            # Acknowledged is what most replicas have: one that is lost takes nothing along.
            insert = {"insert_quorum": "auto", "insert_quorum_parallel": 1, "insert_quorum_timeout": QUORUM_MS_MAX}
            # A view may name a column only where all replicas have it.
            ddl = {"distributed_ddl_task_timeout": DDL_S_MAX, "distributed_ddl_output_mode": "throw", "alter_sync": 2}
        elif self.is_cloud:
            look = {"select_sequential_consistency": 1}
        for name, settings in (("insert_settings", insert), ("look_settings", look), ("ddl_settings", ddl)):
            object.__setattr__(self, name, settings)

    @property
    def is_cloud(self) -> bool:
        """Whether it is a service of ClickHouse Cloud."""
        return self.cluster == CLOUD

    @property
    def is_cluster(self) -> bool:
        """Whether it is a cluster of replicas, on each of which we make the tables."""
        return bool(self.cluster) and not self.is_cloud

    @property
    def window_settings(self) -> Mapping[str, int]:
        """The settings of a table that make it remember tokens."""
        if not self.cluster:
            return {"non_replicated_deduplication_window": WINDOW}
        return {"replicated_deduplication_window": WINDOW, "replicated_deduplication_window_seconds": WINDOW_S}

    def named(self, sql: str) -> str:
        """Return our own `sql` with the name of this database; what people ask for is bound, never in it."""
        return sql if self.database == DATABASE else _DATABASE.sub(self.database, sql)

    def statement(self, sql: str) -> str:
        """Return the statement of a schema file as this deployment needs it."""
        named = self.named(sql)
        if not self.cluster:
            return named
        windows = ", ".join(f"{name} = {value}" for name, value in self.window_settings.items())
        named = named.replace(_WINDOW_SETTING, windows)
        if self.is_cloud:
            return re.sub(r"^(CREATE DATABASE IF NOT EXISTS \w+) ENGINE = Atomic", r"\1", named, flags=re.MULTILINE)
        named = _ENGINE.sub(_replicated, named)
        return _HEAD.sub(rf"\1 ON CLUSTER `{self.cluster}`", named, count=1)

    def sync(self, table: str) -> str:
        """Return the statement that makes every replica fetch what is stored of `table`; "" where none is needed."""
        return f"SYSTEM SYNC REPLICA ON CLUSTER `{self.cluster}` {table} LIGHTWEIGHT" if self.is_cluster else ""

    @property
    def sync_settings(self) -> Mapping[str, object]:
        """The settings of `sync`: a replica that is away is not waited for without end."""
        return {"distributed_ddl_task_timeout": SYNC_S_MAX, "distributed_ddl_output_mode": "null_status_on_timeout"}

    def expected_engine(self, engine: str) -> str:
        """Return what the server calls the `engine` that our file names."""
        if not engine.endswith("MergeTree"):
            return engine
        return f"{'Shared' if self.is_cloud else 'Replicated' if self.is_cluster else ''}{engine}"


def _replicated(engine: re.Match[str]) -> str:
    arguments = f"{REPLICA_PATH}, {engine[3]}" if engine[3] else REPLICA_PATH
    return f"{engine[1] or ''}ENGINE = Replicated{engine[2]}({arguments})"


def refuse_unsynced(answer: Sequence[str]) -> None:
    """Raise EngineTrouble unless the `answer` to `sync` says that a majority has all, and nobody lags.

    A row a replica: host, port, status (0: done, NULL: not yet), error, replicas that remain, and that work on it.
    A replica that is away has not begun; one that lags has, and must not be looked at.
    """
    rows = [row for row in (line.split("\t") for line in answer) if len(row) >= _SYNC_COLUMNS]
    done = [row for row in rows if row[2] == "0"]
    waiting = [row for row in rows if row[2] != "0"]
    if any(row[5] != "0" for row in waiting):
        raise EngineTrouble(f"ClickHouse: replica {waiting[0][0]} lags, so nobody can say what is stored", "known")
    if 2 * len(done) <= len(rows) or not rows:
        raise EngineTrouble(f"ClickHouse: {len(done)} of {len(rows)} replicas answer, and a majority must", "known")
