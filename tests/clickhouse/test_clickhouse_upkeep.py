"""The tables of a server: applied by several at once and after crashes, and each difference told with its remedy."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clickhouse.test_clickhouse_commands import environment_of, write_settings
from tests.clickhouse_container import NO_ENGINE, engine_answers
from tests.clickhouse_front import Front

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.sinks.clickhouse.client import Client, Server, connect
from flowgauge.sinks.clickhouse.deployment import CLOUD, Deployment
from flowgauge.sinks.clickhouse.migrations import steps
from flowgauge.sinks.clickhouse.schema import schema_files
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

NAMES = [file.name for file in schema_files()]
LATELY = NAMES.index("0013_events_by_append.sql")
KEPT = "kept"
APPEND_MS = 1_795_000_000_000  # late in 2026: a clock of long ago would be let go at once
WINDOW = "non_replicated_deduplication_window"


@pytest.fixture
def server(front: Front) -> Server:
    """Return a server where a database of its own has no tables yet."""
    return Server(front.url, front.user, front.password, database=f"kept_{uuid.uuid4().hex[:6]}")


@pytest.fixture(scope="module")
def kept(front: Front) -> Iterator[ClickHouseStore]:
    """Yield a store whose tables are applied in KEPT; each test leaves them as they were."""
    store = ClickHouseStore.connect(Server(front.url, front.user, front.password, database=KEPT))
    store.apply_schema()
    yield store
    store.close()


@pytest.fixture
def client(front: Front) -> Iterator[Client]:
    """Yield what an operator has: statements of their own."""
    opened = connect(Server(front.url, front.user, front.password), answer_s_max=60)
    yield opened
    opened.close()


@pytest.mark.parametrize("cluster", ["", "main", CLOUD])
async def test_clickhouse_reads_every_statement_of_each_deployment(store: ClickHouseStore, cluster: str) -> None:
    for step in steps(schema_files(), Deployment(cluster, "observability"), {}):
        literal = step.statement.replace("\\", "\\\\").replace("'", "\\'")
        (parsed,) = (await store.query(f"SELECT formatQuery('{literal}')", seen=EVERY_TENANT)).rows
        assert ("ON CLUSTER main" in str(parsed[0])) == (cluster == "main"), step.file.name


async def test_clickhouse_reads_the_statement_that_synchronizes_replicas(store: ClickHouseStore) -> None:
    sql = Deployment("main").sync("flowgauge.events")

    (parsed,) = (await store.query("SELECT formatQuery({sql:String})", {"sql": sql}, seen=EVERY_TENANT)).rows

    assert parsed == ("SYSTEM SYNC REPLICA ON CLUSTER main flowgauge.events LIGHTWEIGHT",)


async def test_clickhouse_knows_every_setting_of_each_deployment(store: ClickHouseStore) -> None:
    """A setting that it does not know would end every insert."""
    for deployment in (Deployment("main"), Deployment(CLOUD)):
        sent = {**deployment.insert_settings, **deployment.look_settings, **deployment.ddl_settings}
        names = sorted({*sent, *Deployment("main").sync_settings})
        known = await store.query(
            "SELECT name FROM system.settings WHERE name IN {names:Array(String)}", {"names": names}, seen=EVERY_TENANT
        )
        assert sorted(map(str, known.column("name"))) == names
    windows = {"names": [*Deployment().window_settings, *Deployment("main").window_settings]}
    table_settings = "SELECT name FROM system.merge_tree_settings WHERE name IN {names:Array(String)} ORDER BY name"
    assert sorted(map(str, (await store.query(table_settings, windows, seen=EVERY_TENANT)).column("name"))) == sorted(
        windows["names"]
    )


@pytest.mark.skipif(not engine_answers(), reason=NO_ENGINE)
def test_a_real_server_is_fit_and_has_what_the_files_make(contained: ClickHouseStore) -> None:
    assert contained.check_schema() == []


def test_what_a_plan_tells_makes_all_tables(server: Server, client: Client) -> None:
    store = ClickHouseStore.connect(server)

    for step in store.plan_schema():
        client.command(str(step).removesuffix(";"))

    assert store.check_schema() == [f"missing {name}" for name in NAMES]  # nobody has noted them
    assert store.apply_schema() == NAMES
    assert store.check_schema() == []
    assert store.plan_schema() == []
    assert [step.file.name for step in store.plan_schema(everything=True)] == NAMES
    store.close()


@pytest.mark.timeout(120)  # two processes make all tables
def test_two_that_apply_at_once_leave_the_tables_as_one_does(front: Front, tmp_path: Path) -> None:
    database = f"both_{uuid.uuid4().hex[:6]}"
    write_settings(tmp_path, front, database)
    apply = [sys.executable, "-c", "from flowgauge.console.main import main; main()", "schema", "apply"]
    environ = environment_of(SECRET=front.password)

    both = [
        subprocess.Popen(apply, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [(*process.communicate(timeout=100), process.returncode) for process in both]

    assert [(errors, code) for _, errors, code in said] == [(b"", 0), (b"", 0)]
    store = ClickHouseStore.connect(Server(front.url, front.user, front.password, database=database))
    assert store.check_schema() == []
    store.close()


def test_what_crashes_broke_off_is_applied_to_its_end(front: Front, server: Server) -> None:
    """Killed before and after a note, then before and after a statement, each time where the one before came to."""
    store = ClickHouseStore.connect(server)
    come_to: list[int] = []
    for of in (f"INSERT INTO {server.database}.schema_versions", "-- What was appended lately"):
        for fault in ("cut before", "cut after"):
            with front.faults(fault, of=of), pytest.raises(BadEnvironment):
                store.apply_schema()
            come_to.append(len(NAMES) - len(store.missing_schema()))

    assert come_to == [0, 1, LATELY, LATELY]  # notes; what was cut after it ran is noted, or runs again

    store.apply_schema()

    assert store.check_schema() == []
    store.close()


def test_a_view_that_a_slow_process_put_back_is_told_and_set_right(kept: ClickHouseStore, client: Client) -> None:
    (older,) = (file for file in schema_files() if file.version == 21)
    client.command(Deployment(database=KEPT).statement(older.sql))

    told = kept.check_schema()
    kept.apply_schema()

    assert told == [f"{KEPT}.runs_from_events: its query is another (run `flowgauge schema apply`)"]
    assert kept.check_schema() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("events DROP INDEX ix_run", "events: index ix_run is missing"),
        ("events DROP CONSTRAINT has_tenant", "events: constraint has_tenant is missing"),
        ("events DROP COLUMN follows", "events: column follows is missing"),
        ("dlq MODIFY COLUMN size UInt32", "dlq: column size is UInt32, not UInt64"),
        (
            "dlq MODIFY COLUMN value String CODEC(NONE)",
            "dlq: column value is String CODEC(NONE), not String CODEC(ZSTD(3))",
        ),
        ("clocks MODIFY SETTING " + WINDOW + " = 20000", f"clocks: {WINDOW} is 20000, not 10000"),
        ("runs MODIFY SETTING ttl_only_drop_parts = 0", "runs: ttl_only_drop_parts is 0, not 1"),
    ],
)
def test_each_drift_is_told_and_its_remedy_ends_it(
    kept: ClickHouseStore, client: Client, *, change: str, told: str
) -> None:
    client.command(f"ALTER TABLE {KEPT}.{change}")

    (line,) = kept.check_schema()
    text, _, remedy = line.partition(" (ALTER")

    assert text == f"{KEPT}.{told}"
    client.command(f"ALTER{remedy.removesuffix(')')}")
    assert kept.check_schema() == []


def test_a_table_that_is_gone_is_told(kept: ClickHouseStore, client: Client) -> None:
    client.command(f"DROP TABLE {KEPT}.dlq")

    (line,) = kept.check_schema()
    assert line == (
        f"{KEPT}.dlq is not there (restore it, or run the statements that `flowgauge schema plan --all` tells of it)"
    )
    for step in kept.plan_schema(everything=True):
        if step.table == "dlq":
            client.command(step.statement)
    assert kept.check_schema() == []


def test_what_operators_add_is_no_drift(kept: ClickHouseStore, client: Client) -> None:
    client.command(f"ALTER TABLE {KEPT}.events ADD COLUMN theirs String, ADD INDEX ix_theirs theirs TYPE minmax")
    client.command(f"ALTER TABLE {KEPT}.events MODIFY TTL toDateTime(_append) + INTERVAL 90 DAY")
    client.command(f"ALTER TABLE {KEPT}.events MODIFY SETTING merge_with_ttl_timeout = 7200")
    client.command(f"CREATE TABLE {KEPT}.theirs (a Int8) ENGINE = MergeTree ORDER BY a")

    assert kept.check_schema() == []


def test_nobody_starts_where_a_batch_could_count_twice(kept: ClickHouseStore, client: Client) -> None:
    """A rollup of ours forgets tokens, as the server has it and whatever the files say."""
    client.command(f"ALTER TABLE {KEPT}.run_ends_hourly MODIFY SETTING {WINDOW} = 0")

    with pytest.raises(BadEnvironment) as refused:
        kept.apply_schema()

    assert str(refused.value) == (
        f"ClickHouse: {KEPT}.run_ends_hourly may count a repeated batch twice: {WINDOW} is 0 "
        f"(ALTER TABLE {KEPT}.run_ends_hourly MODIFY SETTING {WINDOW} = 10000)"
    )
    client.command(f"ALTER TABLE {KEPT}.run_ends_hourly MODIFY SETTING {WINDOW} = 10000")
    assert kept.apply_schema() == []


def test_a_view_of_others_that_could_count_twice_is_told(kept: ClickHouseStore, client: Client) -> None:
    theirs = f"theirs_{KEPT}"
    client.command(f"CREATE DATABASE {theirs} ENGINE = Atomic")
    client.command(f"CREATE TABLE {theirs}.counts (tenant String) ENGINE = MergeTree ORDER BY tenant")
    source = f"{KEPT}.events"
    client.command(f"CREATE MATERIALIZED VIEW {theirs}.counting TO {theirs}.counts AS FROM {source} SELECT tenant")

    (line,) = kept.check_schema()

    assert line.startswith(f"{theirs}.counts may count a repeated batch twice: {WINDOW} is not set")
    assert kept.apply_schema() == []
    client.command(f"DROP DATABASE {theirs}")


def test_nobody_starts_on_a_cluster_that_the_server_does_not_know(front: Front) -> None:
    away = Server(front.url, front.user, front.password, database="clustered", cluster="main")
    store = ClickHouseStore.connect(away)

    with pytest.raises(BadEnvironment, match=r"it knows no cluster 'main' \(correct clickhouse\.cluster; it knows "):
        store.apply_schema()
    store.close()


def test_a_service_that_wakes_up_is_waited_for(front: Front) -> None:
    """Its first answers time out; a server of one's own would be called away at once."""
    sleeping = Server(front.url, front.user, front.password, cluster=CLOUD)
    with front.faults(*["no answer"] * 2, of="SELECT version()"):
        connect(sleeping, answer_s_max=1).close()

    with (
        front.faults("no answer", of="SELECT version()"),
        pytest.raises(BadEnvironment, match=r"no answer came within 1 s \(start it there"),
    ):
        connect(Server(front.url, front.user, front.password), answer_s_max=1)


async def test_a_name_in_other_letters_is_no_column(store: ClickHouseStore) -> None:
    """ClickHouse 26.5 and later take "Topic" for topic, unless they are told."""
    log_id = uuid.uuid4().hex
    row = b'{"log_id":"%s","Log_ID":"x","topic":"t","TOPIC":"x","clock_ms":%d,"Clock_MS":7}' % (
        log_id.encode(),
        APPEND_MS,
    )

    await store.insert("flowgauge.clocks", row, log_id)

    found = await store.query(
        "SELECT topic, clock_ms FROM flowgauge.clocks WHERE log_id = {id:String}", {"id": log_id}, seen=EVERY_TENANT
    )
    assert found.rows == [("t", APPEND_MS)]
