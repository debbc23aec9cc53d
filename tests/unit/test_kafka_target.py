"""Where a publisher writes to Kafka: read from code or variables, and what is wrong with it in one line."""

from dataclasses import replace

import pytest

from flowgauge.producers.kafka_target import KafkaTarget, target_from
from flowgauge.schemas.settings import parse_settings

PLAIN = KafkaTarget(bootstrap="k:9092", tenant="acme")
SCRAM = replace(PLAIN, sasl="SCRAM-SHA-512", username="ann", password="hunter2")


def test_every_field_has_its_variable() -> None:
    environ = {
        "FLOWGAUGE_KAFKA_BOOTSTRAP": "k1:9093, k2:9093",
        "FLOWGAUGE_KAFKA_TENANT": "acme",
        "FLOWGAUGE_KAFKA_PREFIX": "staging",
        "FLOWGAUGE_KAFKA_TLS": "true",
        "FLOWGAUGE_KAFKA_CA": "/ca.pem",
        "FLOWGAUGE_KAFKA_CERTIFICATE": "/own.pem",
        "FLOWGAUGE_KAFKA_KEY": "/own.key",
        "FLOWGAUGE_KAFKA_SASL": "SCRAM-SHA-512",
        "FLOWGAUGE_KAFKA_USERNAME": "ann",
        "FLOWGAUGE_KAFKA_PASSWORD": "hunter2",
        "FLOWGAUGE_KAFKA_PASSWORD_FILE": "/password",
        "FLOWGAUGE_KAFKA_TOKEN": "t",
        "FLOWGAUGE_KAFKA_TOKEN_FILE": "/token",
    }

    assert target_from(environ) == KafkaTarget(
        bootstrap="k1:9093, k2:9093",
        tenant="acme",
        prefix="staging",
        tls=True,
        ca="/ca.pem",
        certificate="/own.pem",
        key="/own.key",
        sasl="SCRAM-SHA-512",
        username="ann",
        password="hunter2",
        password_file="/password",
        token="t",
        token_file="/token",
    )


def test_without_brokers_no_target_is_meant() -> None:
    assert target_from({"FLOWGAUGE_KAFKA_TENANT": "acme", "FLOWGAUGE_KAFKA_BOOTSTRAP": " "}) is None


def test_brokers_and_a_tenant_are_enough() -> None:
    found = target_from({"FLOWGAUGE_KAFKA_BOOTSTRAP": "k:9092", "FLOWGAUGE_KAFKA_TENANT": "acme"})

    assert (found, PLAIN.problem) == (PLAIN, "")


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(SCRAM)
    assert "hunter2" not in repr(replace(PLAIN, sasl="OAUTHBEARER", token="hunter2"))


@pytest.mark.parametrize(
    "right",
    [
        SCRAM,
        replace(SCRAM, password="", password_file="/password"),
        replace(PLAIN, sasl="OAUTHBEARER", token_file="/token"),
        replace(PLAIN, sasl="OAUTHBEARER", token=lambda: "t"),
        replace(PLAIN, tls=True, ca="/ca.pem", certificate="/own.pem", key="/own.key"),
    ],
    ids=range(5),
)
def test_what_can_work_has_no_problem(right: KafkaTarget) -> None:
    assert right.problem == ""


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (replace(PLAIN, bootstrap=" "), "no broker is named (bootstrap, FLOWGAUGE_KAFKA_BOOTSTRAP)"),
        (replace(PLAIN, tenant=""), "no tenant is named whose events these are (tenant, FLOWGAUGE_KAFKA_TENANT)"),
        (replace(PLAIN, tenant="*"), "no tenant is named whose events these are (tenant, FLOWGAUGE_KAFKA_TENANT)"),
        (replace(PLAIN, tls="yes"), "FLOWGAUGE_KAFKA_TLS: expected true or false, got 'yes'"),
        (replace(PLAIN, ca="/ca.pem"), "certificates are named but TLS is off (set tls, FLOWGAUGE_KAFKA_TLS=true)"),
        (
            replace(PLAIN, username="ann"),
            "a user or secret is named but no mechanism (sasl, FLOWGAUGE_KAFKA_SASL)",
        ),
        (replace(PLAIN, sasl="SCRAM"), "sasl: expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, got 'SCRAM'"),
        (
            replace(SCRAM, password=""),
            "SCRAM-SHA-512 needs a user and a password (FLOWGAUGE_KAFKA_USERNAME, FLOWGAUGE_KAFKA_PASSWORD)",
        ),
        (
            replace(PLAIN, sasl="OAUTHBEARER"),
            "OAUTHBEARER needs a token (token_file, FLOWGAUGE_KAFKA_TOKEN_FILE)",
        ),
    ],
    ids=range(9),
)
def test_what_cannot_work_is_told_with_the_remedy(wrong: KafkaTarget, problem: str) -> None:
    assert wrong.problem == problem


def test_a_server_started_beside_a_publisher_takes_its_variables_for_no_mistyped_settings() -> None:
    names = ("TENANT", "PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE")

    parse_settings("", "flowgauge.toml", {f"FLOWGAUGE_KAFKA_{name}": "x" for name in names}, {})
