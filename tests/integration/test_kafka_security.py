"""Each way to know each other, with a real broker that asks for it: right, and wrong in each way people get it wrong.

The same settings go to a command, to a role and to a publisher. What is wrong is one line that names the setting to
change, and no secret is in it or in any log line.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import structlog
from tests.integration.own_log import make_topics
from tests.integration.role_processes import Roles, kafka_environment
from tests.integration.up_process import wait_for
from tests.secured_kafka import SECRET, USER, Secured, secured_broker, unsecured_token

from flowgauge.console.main import main
from flowgauge.producers import KafkaTarget, Publisher
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import EVENTS, RecordKind
from flowgauge.transport.kafka import open_kafka_log
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.wall_clock import now_ms

PREFIX = "secured"
WRONG = "hunter2-is-wrong"
EVENT = {"event": "etl.done", "resource": {"id": "etl.1"}}
FLUSH_MS = 30_000

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    # aiokafka does not wait until a connection that was refused is closed, and the loop of a command ends before that.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Way(NamedTuple):
    """Settings for one listener, {…} being of the broker's, and what is told of them."""

    listener: str
    fields: Mapping[str, str]
    password: str = ""
    token: str = ""  # what its file holds
    said: str = ""  # "" where all is well


TLS = {"ca": "{ca}"}
AS_ANN = {**TLS, "username": USER}
RIGHT = {
    "tls": Way("tls", TLS),
    "client certificate": Way("mutual", {**TLS, "certificate": "{client}", "key": "{client}"}),
    "plain": Way("sasl", {**AS_ANN, "sasl": "PLAIN"}, password=SECRET),
    "scram": Way("sasl", {**AS_ANN, "sasl": "SCRAM-SHA-512"}, password=SECRET),
    "token": Way("sasl", {**TLS, "sasl": "OAUTHBEARER"}, token="right"),
}
GATEWAYS = ("client certificate", "scram", "token")  # a process for each
NOT_TAKEN = "it closes the connection at once: correct kafka.tls and kafka.sasl, and kafka.certificate where it asks"
NOT_THE_USER = "correct kafka.sasl, or kafka.username and kafka.password"
NOT_THE_TOKEN = '{"status":"invalid_token"}): correct kafka.sasl, or kafka.token'
WRONG_ONES = {
    "another ca": Way(
        "tls",
        {"ca": "{other-ca}"},
        said="its certificate is not one to believe (unable to get local issuer certificate): correct kafka.ca",
    ),
    "no tls": Way("tls", {}, said=NOT_TAKEN),
    "tls where there is none": Way("plain", TLS, said=NOT_TAKEN),
    "no client certificate": Way("mutual", TLS, said=NOT_TAKEN),
    "a stranger's certificate": Way(
        "mutual", {**TLS, "certificate": "{stranger}", "key": "{stranger}"}, said=NOT_TAKEN
    ),
    "no sasl": Way("sasl", TLS, said=NOT_TAKEN),
    "sasl where there is none": RIGHT["plain"]._replace(
        listener="tls", said="it does not take PLAIN (IllegalSaslStateError): correct kafka.sasl"
    ),
    "another mechanism": RIGHT["scram"]._replace(
        fields={**AS_ANN, "sasl": "SCRAM-SHA-256"},
        said="it does not take SCRAM-SHA-256 (UnsupportedSaslMechanismError): correct kafka.sasl",
    ),
    "plain, wrong password": RIGHT["plain"]._replace(
        password=WRONG, said=f"Invalid username or password): {NOT_THE_USER}"
    ),
    "scram, wrong password": RIGHT["scram"]._replace(password=WRONG, said=f"mechanism SCRAM-SHA-512): {NOT_THE_USER}"),
    "scram, unknown user": RIGHT["scram"]._replace(
        fields={**RIGHT["scram"].fields, "username": "bob"},
        password=WRONG,
        said=f"mechanism SCRAM-SHA-512): {NOT_THE_USER}",
    ),
    "an expired token": RIGHT["token"]._replace(token="old", said=NOT_THE_TOKEN),
    "no token": RIGHT["token"]._replace(token=WRONG, said=NOT_THE_TOKEN),
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Start a broker and make the topics of a log."""
    with secured_broker(tmp_path_factory.mktemp("secured"), now_ms()) as secured:
        asyncio.run(make_topics(Connection(bootstrap=secured.plain, prefix=PREFIX)))
        yield secured


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands in this process, each to its end, in a folder of the test's own."""

    folder: Path
    environment: pytest.MonkeyPatch
    said: pytest.CaptureFixture[str]

    def run(self, way: Way, secured: Secured, *arguments: str) -> tuple[object, str, str]:
        """Return its exit code and what it wrote; the password is in the variable SECRET."""
        self.environment.setenv("SECRET", way.password)
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--config", str(settings_file(way, secured, self.folder))])
        output, error = self.said.readouterr()
        return ended.value.code, output, error


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Commands]:
    """Run commands, and leave logging as it was."""
    library = logging.getLogger("aiokafka")
    before = library.handlers, library.propagate
    yield Commands(tmp_path, monkeypatch, capfd)
    library.handlers, library.propagate = before
    structlog.reset_defaults()


def target(way: Way, secured: Secured, folder: Path) -> KafkaTarget:
    """Return where a publisher writes."""
    fields = fields_of(way, secured)
    secrets = {"password": way.password, "token_file": token_file(way, folder)}
    return KafkaTarget(
        bootstrap=getattr(secured, way.listener),
        tenant="acme",
        prefix=PREFIX,
        tls=bool(fields),
        **{name: value for name, value in {**fields, **secrets}.items() if value},
    )


def settings_file(way: Way, secured: Secured, folder: Path) -> Path:
    """Write the settings, with the secrets elsewhere."""
    fields = {"bootstrap": getattr(secured, way.listener), "prefix": PREFIX, **fields_of(way, secured)}
    lines = [f'{name} = "{value}"' for name, value in fields.items()]
    lines += ["replication = 1", f"tls = {'true' if way.fields else 'false'}"]
    lines += ['password = { env = "SECRET" }'] if way.password else []
    lines += [f'token = {{ file = "{file}" }}'] if (file := token_file(way, folder)) else []
    (folder / "flowgauge.toml").write_text("\n".join(["[kafka]", *lines]), encoding="utf-8")
    return folder / "flowgauge.toml"


def fields_of(way: Way, secured: Secured) -> dict[str, str]:
    return {
        name: secured.pem(value.strip("{}")) if value.startswith("{") else value for name, value in way.fields.items()
    }


def token_file(way: Way, folder: Path) -> str:
    tokens = {"right": unsecured_token(now_ms()), "old": unsecured_token(now_ms(), lives_s=-30)}
    if not way.token:
        return ""
    (folder / "token").write_text(tokens.get(way.token, way.token), encoding="utf-8")
    return str(folder / "token")


@pytest.mark.parametrize("name", RIGHT)
def test_a_command_and_a_publisher_that_say_who_they_are_are_let_in(
    name: str, secured: Secured, commands: Commands
) -> None:
    way = RIGHT[name]

    assert commands.run(way, secured, "topics", "check") == (0, "the topics are as wanted\n", "")
    with Publisher(kafka=target(way, secured, commands.folder)) as publisher:
        publisher.emit(EVENT)
        assert publisher.flush(FLUSH_MS)

    assert (publisher.sent, publisher.refused, publisher.dropped) == (1, 0, 0)


@pytest.mark.parametrize("name", WRONG_ONES)
def test_what_a_broker_does_not_take_is_one_line_that_names_the_setting(
    name: str, secured: Secured, commands: Commands
) -> None:
    way = WRONG_ONES[name]

    said = [commands.run(way, secured, *command) for command in (["topics", "check"], ["gateway", "--port", "0"])]

    begin = f"flowgauge: Kafka at {getattr(secured, way.listener)}: cannot see to its topics: "
    for code, output, error in said:
        assert (code, output, error.count("\n")) == (3, "", 1), error
        assert error.startswith(begin), error
        assert way.said in error, error
        assert_no_secret(error, commands.folder)


@pytest.mark.parametrize("name", WRONG_ONES)
def test_a_publisher_that_is_not_taken_says_so_once_and_keeps_its_events(
    name: str, secured: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    way = WRONG_ONES[name]
    where = target(way, secured, tmp_path)
    with caplog.at_level(logging.DEBUG), Publisher(kafka=where, close_timeout_ms=1) as publisher:
        publisher.emit(EVENT)

        (said,) = wait_for(lambda: [each for each in caplog.messages if "(said once)" in each], "what is wrong")

        assert way.said in said
        assert (publisher.sent, publisher.refused, publisher.dropped) == (0, 0, 0)
    assert_no_secret(caplog.text, tmp_path)


def assert_no_secret(text: str, folder: Path) -> None:
    token = folder / "token"
    assert not [each for each in (SECRET, WRONG) if each in text], text
    assert not (token.exists() and token.read_text(encoding="utf-8") in text), text


def test_gateways_that_say_who_they_are_take_events(secured: Secured, tmp_path: Path) -> None:
    env = kafka_environment("", PREFIX, partitions=1, samples_partitions=1)
    del env["FLOWGAUGE_KAFKA_BOOTSTRAP"]
    before = asyncio.run(events_in(secured))
    with Roles(env, tmp_path) as roles:
        for name in GATEWAYS:
            way = RIGHT[name]
            folder = tmp_path / name.replace(" ", "-")
            folder.mkdir()
            file = settings_file(way, secured, folder)
            roles.start("gateway", folder.name, "--config", str(file), SECRET=way.password)
        for each in roles:
            url = each.wait_until_answers()
            event = {**EVENT, "id": str(uuid.uuid4()), "occurred": rfc3339(now_ms())}
            answer = httpx2.post(f"{url}/v1/events", json=[event], trust_env=False).json()
            assert answer["accepted"] == 1, answer
            assert SECRET not in each.text()

    assert asyncio.run(events_in(secured)) == before + len(GATEWAYS)


async def events_in(secured: Secured) -> int:
    log = await open_kafka_log(Connection(bootstrap=secured.plain, prefix=PREFIX))
    try:
        return sum(record.kind is RecordKind.EVENT for record in await log.read(EVENTS, 0, 0, 1_000))
    finally:
        await log.close()
