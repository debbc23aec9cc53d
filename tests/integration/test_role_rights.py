"""Roles, each a user that may do what `flowgauge topics access` grants and nothing else, do all their work."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.clickhouse_front import Front
from tests.integration.role_processes import WAIT_S, RoleProcess, Roles, kafka_environment
from tests.integration.up_process import wait_for
from tests.integration.webhook_receiver import WebhookReceiver
from tests.kafka_grants import grant
from tests.secured_kafka import GRANTED_PASSWORD, authorizing_broker

from flowgauge.console.kafka_access import asked_about, misfits, statements
from flowgauge.schemas.times import rfc3339
from flowgauge.transport.access_reader import read_access
from flowgauge.transport.kafka_client import Connection
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.kafka_security import Security
from flowgauge.transport.wall_clock import now_ms

ROLES = ("gateway", "pulse", "match", "detect", "sink", "notify", "console")
PREFIX = "rights"
RULES = """
rules:
  - name: crashed
    match: {state: crashed}
    for_each: [flow]
    when: {event: {}}
    allowed_lateness: 1s
    notify: [ops]
"""
CHANNELS = """
channels:
  - {name: ops, webhook: {url: "http://ADDRESS/hook", secret: {env: HOOK_SECRET}}}
"""
SETTINGS = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
replication = 1
sasl = "PLAIN"
username = "{user}"
password = {{ env = "SECRET" }}
"""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def team(tmp_path: Path) -> Iterator[tuple[Roles, WebhookReceiver, str]]:
    """Start one of each role, as its own user; who runs commands may do everything."""
    with (
        authorizing_broker() as (plain, secured),
        Front(tmp_path / "clickhouse") as front,
        WebhookReceiver() as receiver,
    ):
        env = kafka_environment(plain, PREFIX, partitions=2, samples_partitions=1) | front.environment
        env |= {"FLOWGAUGE_EGRESS_ALLOW": receiver.address, "HOOK_SECRET": receiver.secret, "SECRET": GRANTED_PASSWORD}
        (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
        (tmp_path / "channels").mkdir()
        (tmp_path / "channels" / "ops.yaml").write_text(CHANNELS.replace("ADDRESS", receiver.address), encoding="utf-8")
        with Roles(env, tmp_path) as roles:
            assert roles.run("topics", "apply").returncode == 0
            asyncio.run(
                grant(plain, [line for role in ROLES for line in statements(role, Names(PREFIX), f"User:{role}")])
            )
            del roles.env["FLOWGAUGE_KAFKA_BOOTSTRAP"]  # what follows is done as a user with rights
            for role in ROLES:
                settings = SETTINGS.format(bootstrap=secured, prefix=PREFIX, user=role)
                (tmp_path / f"{role}.toml").write_text(settings, encoding="utf-8")
                more = ["--rules", "channels"] if role == "notify" else []
                roles.start(role, f"{role}-1", "--config", f"{role}.toml", *more)
            for each in roles:
                each.wait_until_ready()
            yield roles, receiver, secured


def one(roles: Roles, role: str) -> RoleProcess:
    return next(each for each in roles if each.role == role)


def test_roles_with_the_documented_rights_do_all_their_work_and_may_do_nothing_else(
    team: tuple[Roles, WebhookReceiver, str],
) -> None:
    roles, receiver, secured = team
    console, gateway = one(roles, "console"), one(roles, "gateway")
    url = console.wait_until_answers()

    applied = roles.run("rules", "apply", "rules.yaml", "--url", url)
    body = "\n".join([json.dumps(crashed("etl")), "no event"])
    headers = {"content-type": "application/x-ndjson"}
    taken = httpx2.post(f"{gateway.wait_until_answers()}/v1/events", content=body, headers=headers, trust_env=False)
    wait_for(lambda: [each for each in receiver.bodies() if each["state"] == "firing"], "the message", wait_s=WAIT_S)
    wait_for(lambda: console.get("/v1/metrics/runs").json()["rows"], "the run", wait_s=WAIT_S)
    wait_for(lambda: console.get("/v1/deliveries").json()["rows"], "the delivery", wait_s=WAIT_S)
    wait_for(lambda: console.get("/v1/dlq", since="1d").json()["rows"], "the dead letter", wait_s=WAIT_S)
    (incident,) = console.get("/v1/incidents").json()["rows"]
    acted = roles.run("incidents", "ack", incident["incident_id"], "--as", "ann", "--url", url)
    found = {role: asyncio.run(misfits_of(secured, role)) for role in ROLES}

    assert (applied.returncode, applied.stderr) == (0, "")
    assert (taken.status_code, taken.json()["accepted"], taken.json()["rejected"]) == (200, 1, 1)
    assert (acted.returncode, acted.stderr) == (0, "")
    assert [lines for lines in found.values() if lines] == []
    assert {each.role: each.end() for each in roles} == dict.fromkeys(ROLES, 0)
    assert not [each.role for each in roles if "uthorization" in each.text() or "not allowed" in each.text()]


async def misfits_of(bootstrap: str, role: str) -> list[str]:
    """Return what brokers let the user of a role do and it needs not, or the other way round."""
    security = Security(mechanism="PLAIN", username=role, password=GRANTED_PASSWORD)
    connection = Connection(bootstrap=bootstrap, prefix=PREFIX, security=security)
    return misfits(role, connection.names, await read_access(connection, *asked_about(connection.names)))


def crashed(flow: str) -> dict[str, object]:
    run = f"{flow}/{uuid.uuid4().hex[:8]}"
    about = {"event": "flow-run.crashed", "kind": "flow-run", "flow": flow, "run": run, "state": "crashed"}
    return {"id": str(uuid.uuid4()), "occurred": rfc3339(now_ms()), **about, "resource": {"id": run}}
