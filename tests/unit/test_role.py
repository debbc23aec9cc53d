"""What the command line and the settings make of a role, before it opens anything."""

import subprocess
import sys

import pytest

from flowgauge.console.cli.roles import COMMANDS
from flowgauge.console.main import ROLES
from flowgauge.console.role import instance_of, port_of
from flowgauge.console.roles.cloudevents import cloudevents_role
from flowgauge.console.roles.console import CONSOLE
from flowgauge.console.roles.detect import DETECT
from flowgauge.console.roles.gateway import GATEWAY
from flowgauge.console.roles.match import MATCH
from flowgauge.console.roles.notify import NOTIFY
from flowgauge.console.roles.pulse import PULSE
from flowgauge.console.roles.sink import SINK_ROLE
from flowgauge.schemas.settings import parse_settings

ALL = (GATEWAY, PULSE, MATCH, DETECT, SINK_ROLE, NOTIFY, CONSOLE, cloudevents_role("t", "acme"))


def test_every_role_has_its_command_and_its_own_port() -> None:
    assert {role.name for role in ALL} == set(COMMANDS) == set(ROLES)
    assert len({role.port for role in ALL}) == len(ALL)
    for role in ALL:
        said = COMMANDS[role.name].help or ""
        assert f"port {role.port}" in said.lower(), role.name


def test_a_port_that_a_setting_names_wins_over_the_role_s_own() -> None:
    assert port_of(MATCH, parse_settings("", "flowgauge.toml", {}, {})) == 4292
    assert port_of(MATCH, parse_settings("port = 4280", "flowgauge.toml", {}, {})) == 4280
    assert port_of(MATCH, parse_settings("", "flowgauge.toml", {"FLOWGAUGE_PORT": "0"}, {})) == 0


def test_a_process_is_called_as_the_settings_say_else_as_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "worker-7")

    assert instance_of(parse_settings("", "flowgauge.toml", {}, {})) == "worker-7"
    assert instance_of(parse_settings("kafka.instance = 'm1'", "flowgauge.toml", {}, {})) == "m1"


@pytest.mark.parametrize("role", ["pulse", "match", "detect", "gateway", "notify", "cloudevents"])
def test_a_role_without_clickhouse_does_not_import_it(role: str) -> None:
    code = (
        f"import sys; import flowgauge.console.roles.{role}; "
        "print(sorted(m for m in sys.modules if m in ('chdb', 'clickhouse_connect')))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
