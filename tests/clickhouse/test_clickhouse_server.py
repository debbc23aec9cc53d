"""A ClickHouse server over HTTP: whatever becomes of a request, each event is one row; what cannot work says why."""

import asyncio
import os
import random
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.clickhouse.running_sink import NOW_MS, Tenant, new_log, running_sink, stored, until
from tests.clickhouse_front import Front

from flowgauge.schemas.errors import BadEnvironment, Transient
from flowgauge.sinks.clickhouse.call_settings import INSERT_SETTINGS
from flowgauge.sinks.clickhouse.claims import Span
from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.errors import STOPPING, EngineTrouble
from flowgauge.sinks.clickhouse.metric import MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer
from flowgauge.sinks.clickhouse.schema import schema_files
from flowgauge.sinks.clickhouse.store import ClickHouseStore, Deadlines
from flowgauge.sinks.clickhouse.tenancy import EVERY_TENANT

IMPATIENT = Deadlines(question_s=1, insert_s=1)
MANY = 1_000  # more often than a sink tries while a test looks
EVENTS_INSERT = "INSERT INTO flowgauge.events"
BUSY = "see what keeps the server busy: SHOW PROCESSLIST"


def server(front: Front, **other: object) -> Server:
    fields: dict[str, object] = {"url": front.url, "user": front.user, "password": front.password}
    return Server(**{**fields, **other})  # type: ignore[arg-type]  # each test names fields of its own


@pytest.fixture(scope="module")
def impatient(served: ClickHouseStore, front: Front) -> Iterator[ClickHouseStore]:  # `served` has applied the schema
    connected = ClickHouseStore.connect(server(front), IMPATIENT)
    yield connected
    connected.close()


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("cut before", "ClickHouse: the connection was cut before the answer came"),
        ("cut after", "ClickHouse: the connection was cut before the answer came"),
        ("no answer", f"ClickHouse: no answer came within 1 s ({BUSY})"),
        ("error 500", "ClickHouse: HTTP status 500, server response: <html>upstream is away</html>"),
        ("error 503", "ClickHouse: HTTP status 503, server response: <html>upstream is away</html>"),
        ("foreign", "ClickHouse: somebody else answered the insert (does a proxy stand between?)"),
        ("elsewhere", "ClickHouse: HTTP status 307"),
        ("code 252", "ClickHouse: too many parts wait to be merged (code 252)"),
        ("code 236", "ClickHouse: the server is shutting down (code 236)"),
        ("code 516", f"ClickHouse: {STOPPING[516][0]} (code 516): {STOPPING[516][1]}"),
        ("code 998", "ClickHouse: As the test wishes (WISHED) (code 998)"),
    ],
)
async def test_a_request_that_goes_wrong_is_told_and_repeated_and_each_event_is_one_row(
    front: Front, impatient: ClickHouseStore, tmp_path: Path, *, fault: str, problem: str
) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)

        with front.faults(*[fault] * MANY):
            async with running_sink(log, impatient) as health:
                await until(lambda: bool(health.problems))
                told = health.problems["sink flowgauge.events"]
                with front.faults():
                    await until(lambda: health.sink_behind == 0)

        assert told == f"{problem}; 100 rows wait"
        assert await stored(impatient, tenant.name) == (200, 200, 200, 200)
        assert health.problems == {}


async def test_after_a_lost_answer_only_what_is_not_there_is_inserted_under_the_same_token(
    front: Front, served: ClickHouseStore, tmp_path: Path
) -> None:
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        await tenant.publish(200)

        with front.faults("cut after", "cut after", "cut after", "cut before"):
            async with running_sink(log, served) as health:
                await until(lambda: health.sink_behind == 0)
            tokens = [each["parameters"]["insert_deduplication_token"] for each in front.seen(EVENTS_INSERT)]

        assert len(set(tokens)) == 2
        assert 2 < len(tokens) <= 2 + 4
        assert await stored(served, tenant.name) == (200, 200, 200, 200)


@pytest.mark.parametrize("seed", range(int(os.environ.get("FLOWGAUGE_SEEDS", "1"))))
async def test_any_run_of_faults_leaves_each_event_one_row(
    front: Front, served: ClickHouseStore, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    kinds = ["cut before", "cut after", "error 500", "code 252", "foreign", "elsewhere"]
    faults = [chance.choice(kinds) for _ in range(20)]
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        with front.faults(*faults, of="INSERT INTO flowgauge."):
            async with running_sink(log, served) as health:
                for _ in range(5):
                    await tenant.publish(100)
                await until(lambda: health.sink_behind == 0)

        assert await stored(served, tenant.name) == (500, 500, 500, 100), faults


async def test_every_insert_says_all_that_its_outcome_depends_on(front: Front, served: ClickHouseStore) -> None:
    with front.faults():
        await served.insert("flowgauge.clocks", b'{"log_id":"pinned","topic":"t","partition":0}', "pinned-token")
        (seen,) = front.seen("INSERT INTO flowgauge.clocks")

    pinned = {name: str(value) for name, value in INSERT_SETTINGS.items()}
    wanted = {**pinned, "insert_deduplication_token": "pinned-token", "query_id": "pinned-token"}
    assert {name: seen["parameters"][name] for name in wanted} == wanted


async def test_on_a_cluster_inserts_wait_for_a_majority_and_nobody_looks_unsynchronized(
    front: Front, served: ClickHouseStore
) -> None:
    clustered = await asyncio.to_thread(ClickHouseStore.connect, server(front, cluster="main"))
    clock = b'{"log_id":"clustered","topic":"t","partition":0,"clock_ms":%d}' % NOW_MS
    with front.faults():
        await clustered.insert("flowgauge.clocks", clock, "clustered-token")
        with pytest.raises(Transient, match="'main'"):  # which the front does not know
            await clustered.held("flowgauge.events", Span("a", 0, 0, 9, 0, NOW_MS))
        (inserted,) = front.seen("INSERT INTO flowgauge.clocks")
        (synchronized,) = front.seen("SYSTEM")
        looks = front.seen("\nSELECT groupArray(_offset)")
    await asyncio.to_thread(clustered.close)

    assert inserted["parameters"]["insert_quorum"] == "auto"
    assert synchronized["statement"] == "SYSTEM SYNC REPLICA ON CLUSTER `main` flowgauge.events LIGHTWEIGHT"
    assert looks == []


async def test_in_the_cloud_a_look_sees_every_stored_row(front: Front, served: ClickHouseStore) -> None:
    cloud = await asyncio.to_thread(ClickHouseStore.connect, server(front, cluster="cloud"))
    with front.faults():
        await cloud.held("flowgauge.events", Span("a", 0, 0, 9, 0, NOW_MS))
        looks = [each for each in front.seen() if "groupArray(_offset)" in each["statement"]]
    await asyncio.to_thread(cloud.close)

    assert [each["parameters"]["select_sequential_consistency"] for each in looks] == ["1"]


async def test_sink_and_console_use_one_server_at_once(front: Front, served: ClickHouseStore, tmp_path: Path) -> None:
    console = await asyncio.to_thread(ClickHouseStore.connect, server(front))
    async with new_log(tmp_path) as log:
        tenant = Tenant(log)
        async with running_sink(log, served) as health:
            for _ in range(5):
                await tenant.publish(100)
                answers = await asyncio.gather(*[stored(console, tenant.name) for _ in range(10)])
                assert all(rows == places for rows, places, _, _ in answers)
            await until(lambda: health.sink_behind == 0)

        assert await stored(console, tenant.name) == (500, 500, 500, 100)
    await asyncio.to_thread(console.close)


async def test_a_question_that_is_not_answered_ends(front: Front, impatient: ClickHouseStore) -> None:
    with front.faults("no answer", of="SELECT 1"), pytest.raises(Transient, match="no answer came within 1 s"):
        await impatient.query("SELECT 1", seen=EVERY_TENANT)


async def test_a_question_that_is_not_answered_in_time_says_what_makes_it_smaller(
    front: Front, impatient: ClickHouseStore
) -> None:
    said = rf"^ClickHouse: no answer came within 1 s \({BUSY}\): ask runs for less: a shorter time \(since, until\)"
    asked = MetricQuery(tenant="acme", since_ms=NOW_MS, until_ms=NOW_MS + 1)

    with front.faults("no answer", of="-- The newest runs"), pytest.raises(EngineTrouble, match=said):
        await answer(impatient, "runs", asked)


async def test_a_question_that_a_stranger_answers_is_trouble(front: Front, served: ClickHouseStore) -> None:
    with front.faults("foreign", of="SELECT 1"), pytest.raises(Transient, match="ClickHouse: "):
        await served.query("SELECT 1", seen=EVERY_TENANT)


async def test_a_redirect_is_not_followed(front: Front, served: ClickHouseStore) -> None:
    with front.faults("elsewhere", of="SELECT 1"):
        with pytest.raises(Transient, match="HTTP status 307"):
            await served.query("SELECT 1", seen=EVERY_TENANT)
        paths = [each["path"][:2] for each in front.seen("SELECT 1")]

    assert paths == ["/?"]


def test_a_proxy_of_the_environment_is_not_asked(
    front: Front, served: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    connected = ClickHouseStore.connect(server(front))

    assert connected.missing_schema() == []
    connected.close()


async def test_the_server_may_stand_in_any_time_zone(served: ClickHouseStore) -> None:
    assert (await served.query("SELECT timezone()", seen=EVERY_TENANT)).rows == [("Asia/Kolkata",)]


async def test_a_database_of_another_name_has_all_that_flowgauge_has(front: Front, served: ClickHouseStore) -> None:
    other = await asyncio.to_thread(ClickHouseStore.connect, server(front, database="staging"))

    names = [file.name for file in schema_files()]
    assert await asyncio.to_thread(other.missing_schema) == names
    assert await asyncio.to_thread(other.apply_schema) == names
    assert await asyncio.to_thread(other.missing_schema) == []
    clock = b'{"log_id":"staging","topic":"t","partition":0,"clock_ms":%d}' % NOW_MS
    await other.insert("flowgauge.clocks", clock, "t")

    count = "SELECT count() FROM flowgauge.clocks WHERE log_id = 'staging'"
    assert (await other.query(count, seen=EVERY_TENANT)).rows == [(1,)]
    assert (await served.query(count, seen=EVERY_TENANT)).rows == [(0,)]
    tables = "SELECT name, replaceAll(create_table_query, {of:String}, 'x') FROM system.tables "
    tables += "WHERE database = {of:String} AND NOT startsWith(name, '.') ORDER BY name"
    assert (await other.query(tables, {"of": "staging"}, seen=EVERY_TENANT)).rows == (
        await served.query(tables, {"of": "flowgauge"}, seen=EVERY_TENANT)
    ).rows
    await asyncio.to_thread(other.close)


def test_a_wrong_password_is_told_without_telling_it(front: Front) -> None:
    wrong = server(front, password="wr0ng")

    with pytest.raises(BadEnvironment) as refused:
        ClickHouseStore.connect(wrong)

    assert str(refused.value) == (
        f"ClickHouse at {front.url} refuses user 'sink' or its password "
        "(correct clickhouse.user and clickhouse.password)"
    )
    assert "wr0ng" not in f"{refused.value} {refused.value.__cause__} {wrong}"


def test_a_server_that_is_away_is_told_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken by us, and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BadEnvironment) as away:
            ClickHouseStore.connect(Server(url))

    assert str(away.value) == (
        f"no ClickHouse answers at {url}: no connection: Connection refused (start it there, or correct clickhouse.url)"
    )


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("version 25.8.1.1", "is version 25.8.1.1, flowgauge needs 26.2 or newer (upgrade it)"),
        ("foreign", "cannot be used: Unexpected response to server version query: '<html>welcome</html'"),
        ("error 404", "cannot be used: HTTP status 404, server response: <html>upstream is away</html>"),
        ("elsewhere", "cannot be used: HTTP status 307"),
        ("cut before", "the connection was cut before the answer came (start it there, or correct clickhouse.url)"),
    ],
)
def test_what_is_no_server_of_ours_is_told(front: Front, fault: str, message: str) -> None:
    with front.faults(*[fault] * 2, of="SELECT version()"), pytest.raises(BadEnvironment) as refused:
        ClickHouseStore.connect(server(front))

    assert message in str(refused.value)
    assert front.url in str(refused.value)


def test_plain_http_behind_an_https_address_is_told(front: Front) -> None:
    with pytest.raises(BadEnvironment, match=r"no TLS: .*\(name who signed its certificate in clickhouse\.ca\)"):
        ClickHouseStore.connect(server(front, url=front.url.replace("http", "https")))


def test_a_certificate_file_that_is_not_there_is_told(front: Front, tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment, match=r"clickhouse\.ca: there is no file .*no\.pem"):
        ClickHouseStore.connect(server(front, ca=tmp_path / "no.pem"))


def certificate(folder: Path) -> Path:
    """Return a PEM file of a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "clickhouse")])
    began = datetime(2020, 1, 1, tzinfo=UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "clickhouse.pem"
    pem.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem


def test_a_server_is_trusted_whose_certificate_is_signed_by_the_one_named(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with Front(tmp_path / "front", pem=pem) as behind_tls:
        connected = ClickHouseStore.connect(server(behind_tls, ca=pem))
        assert len(connected.missing_schema()) == len(schema_files())
        connected.close()

        with pytest.raises(BadEnvironment, match=r"no TLS: .*CERTIFICATE_VERIFY_FAILED.*clickhouse\.ca"):
            ClickHouseStore.connect(server(behind_tls))
