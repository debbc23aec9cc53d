"""What the settings say about Kafka becomes a connection; secrets stand where they point to."""

import pytest

from flowgauge.schemas.errors import BadEnvironment, InvalidSettings
from flowgauge.schemas.settings import parse_settings
from flowgauge.transport.kafka_client import Connection, new_admin
from flowgauge.transport.kafka_security import Security
from flowgauge.transport.kafka_settings import connection_of

SCRAM = """
[kafka]
bootstrap = "kafka:9093"
tls = true
sasl = "SCRAM-SHA-512"
username = "flowgauge"
password = { env = "SECRET" }
"""


def connection(text: str, **environ: str) -> Connection:
    settings = parse_settings(text, "flowgauge.toml", environ, {})
    return connection_of(settings.kafka, environ, lambda path: f"read from {path}", host="here")


def test_a_plain_connection_needs_an_address_only() -> None:
    assert connection("", FLOWGAUGE_KAFKA_BOOTSTRAP="kafka:9092") == Connection(
        bootstrap="kafka:9092", prefix="flowgauge", instance="here"
    )


def test_a_password_is_found_where_the_settings_say() -> None:
    found = connection(SCRAM, SECRET="hunter2")

    assert found.security == Security(tls=True, mechanism="SCRAM-SHA-512", username="flowgauge", password="hunter2")
    assert found.security.protocol == "SASL_SSL"
    assert "hunter2" not in repr(found)


def test_a_token_is_read_again_each_time_it_is_asked_for() -> None:
    found = connection('[kafka]\nbootstrap = "k:1"\nsasl = "OAUTHBEARER"\ntoken = { file = "/token" }')

    assert found.security.token is not None
    assert found.security.token() == "read from /token"


def test_a_secret_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidSettings, match=r"^kafka\.password: environment variable SECRET is not set"):
        connection(SCRAM)


def test_without_an_address_there_is_no_connection() -> None:
    with pytest.raises(InvalidSettings, match=r"kafka\.bootstrap is not set"):
        connection("")


def test_tls_may_be_switched_by_the_environment() -> None:
    assert parse_settings("", "flowgauge.toml", {"FLOWGAUGE_KAFKA_TLS": "true"}, {}).kafka.tls
    with pytest.raises(InvalidSettings, match="environment: FLOWGAUGE_KAFKA_TLS: expected true or false"):
        parse_settings("", "flowgauge.toml", {"FLOWGAUGE_KAFKA_TLS": "yes"}, {})


def test_certificates_that_cannot_be_read_are_named() -> None:
    wrong = Connection(bootstrap="k:1", security=Security(tls=True, ca="/no/such.pem"))

    with pytest.raises(BadEnvironment, match=r"kafka\.tls: /no/such\.pem: .*name readable PEM files"):
        new_admin(wrong)
