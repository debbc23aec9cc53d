"""compose.yaml says what Compose understands, starts nothing that is not hardened, and names what exists."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.compose.composed import COMPOSE, FILE, IMAGE_FOLDER, Places, read_compose, setting_variables
from tests.compose.role_commands import PORTS, needs_roles, port_in_code, roles_are_here

from flowgauge.console.main import flowgauge
from flowgauge.schemas.settings import parse_settings

PINNED = re.compile(r"^[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}$")
READY = re.compile(r"^http://127\.0\.0\.1:(\d+)/readyz$")
FILES = read_compose()
ROLES = [name for name, each in FILES.ours.items() if each["command"][0] in PORTS]
SETTINGS_FILE = COMPOSE / "flowgauge.toml"


def test_the_file_satisfies_the_schema_of_the_compose_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_docker_compose_reads_the_file() -> None:
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], check=False).returncode:
        pytest.skip("no `docker compose` here: its own reading of compose.yaml is not checked, only the schema is")
    read = subprocess.run(
        ["docker", "compose", "--file", str(FILE), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert read.returncode == 0, read.stderr
    assert set(json.loads(read.stdout)["services"]) == set(FILES.services)


@pytest.mark.parametrize("name", FILES.services)
def test_every_service_is_hardened(name: str) -> None:
    service = FILES.services[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])  # never root
    assert service["mem_limit"]
    assert {"privileged", "network_mode", "pid"}.isdisjoint(service)
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), "open to other machines"


@pytest.mark.parametrize("name", FILES.services)
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = FILES.services[name]["healthcheck"]

    if name in FILES.once:
        assert check == {"disable": True}
    else:
        assert check["test"][0] == "CMD"


@pytest.mark.parametrize("name", FILES.services)
def test_every_image_is_pinned_or_built_here(name: str) -> None:
    service = FILES.services[name]

    if name in FILES.ours:
        assert (service["pull_policy"] == "never") != ("build" in service)
    else:
        assert PINNED.match(service["image"])
    assert sum("build" in each for each in FILES.ours.values()) == 1, "one service builds the image for all"
    assert len({each["image"] for each in FILES.ours.values()}) == 1


@pytest.mark.parametrize("name", FILES.ours)
def test_every_command_exists_with_its_flags(name: str) -> None:
    words = FILES.ours[name]["command"]
    if words[0] in PORTS and not roles_are_here():
        pytest.skip(f"flowgauge {words[0]} does not exist yet")

    assert unknown_words(words) == []


def unknown_words(words: list[str]) -> list[str]:
    """Return the words that are neither commands nor flags of the command before them."""
    command: click.Command | None = flowgauge
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        command = command.get_command(click.Context(command), rest.pop(0))
    if command is None or isinstance(command, click.Group):
        return words
    flags = {flag for each in command.params if isinstance(each, click.Option) for flag in each.opts}
    return [word for word in rest if word.startswith("-") and word not in flags]


def test_a_mistyped_command_or_flag_is_noticed() -> None:
    assert unknown_words(["topics", "apply", "--partitions", "4"]) == []
    assert unknown_words(["topics", "aply"]) == ["topics", "aply"]
    assert unknown_words(["topics"]) == ["topics"]
    assert unknown_words(["topics", "apply", "--partition", "4"]) == ["--partition"]


@pytest.mark.parametrize("name", [name for name in FILES.ours if name != "receiver"])
def test_settings_and_variables_are_valid_together(name: str) -> None:
    env = FILES.ours[name]["environment"]

    settings = parse_settings(SETTINGS_FILE.read_text(encoding="utf-8"), str(SETTINGS_FILE), env, {})

    assert set(env) <= setting_variables()
    assert (settings.kafka.bootstrap, settings.clickhouse.url) == ("kafka:9092", "http://clickhouse:8123")
    settings.refuse_open_host()


def test_instances_are_unique_within_a_role() -> None:
    taken = [(FILES.ours[name]["command"][0], instance(name)) for name in ROLES]

    assert len(set(taken)) == len(taken)
    assert {role for role, _ in taken} == set(PORTS)


def instance(name: str) -> str:
    return str(FILES.ours[name]["environment"]["FLOWGAUGE_KAFKA_INSTANCE"])


def test_each_process_of_a_role_has_something_to_do() -> None:
    settings = parse_settings(
        SETTINGS_FILE.read_text(encoding="utf-8"), "", {"FLOWGAUGE_CLICKHOUSE_URL": "http://clickhouse:8123"}, {}
    )
    many = {role: sum(FILES.ours[name]["command"] == [role] for name in ROLES) for role in PORTS}

    assert many["match"] <= settings.partitions
    assert many["detect"] <= settings.samples_partitions


@pytest.mark.parametrize("name", ROLES)
def test_the_ports_of_a_role_agree(name: str) -> None:
    service = FILES.services[name]
    port = PORTS[service["command"][0]]
    (asked,) = (found[1] for each in service["healthcheck"]["test"] if (found := READY.match(each)))

    assert int(asked) == port
    assert service.get("ports", []) in ([], [f"127.0.0.1:{port}:{port}"])


@needs_roles
@pytest.mark.parametrize("role", PORTS)
def test_the_ports_are_those_of_the_code(role: str) -> None:
    assert PORTS[role] == port_in_code(role)


def test_prometheus_asks_every_process_of_a_role_at_its_port() -> None:
    scraped = {
        target: job["job_name"]
        for job in prometheus()["scrape_configs"]
        for each in job["static_configs"]
        for target in each["targets"]
    }

    roles = {name: FILES.services[name]["command"][0] for name in ROLES}
    assert scraped == {f"{name}:{PORTS[role]}": role for name, role in roles.items()}
    guarded = {job["job_name"] for job in prometheus()["scrape_configs"] if "authorization" in job}
    assert guarded == {"gateway", "console"}  # which show measurements to the operator alone


def prometheus() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    return found


def mounts(service: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for each in service.get("volumes", []):
        source, target, *_ = each.split(":")
        if source.startswith("."):
            yield COMPOSE / source, target


def test_what_is_mounted_exists_and_is_read_only() -> None:
    for name, service in FILES.services.items():
        for source, _ in mounts(dict(service)):
            assert source.exists(), f"{name}: {source}"
        for each in service.get("volumes", []):
            assert not each.startswith(".") or each.endswith(":ro"), f"{name}: {each}"


def test_secrets_stand_in_files_and_a_service_has_those_it_names() -> None:
    told = FILES.whole["secrets"]
    for name, service in FILES.services.items():
        texts = [str(service), *(text for source, _ in mounts(dict(service)) for text in texts_of(source))]
        named = {found for text in texts for found in re.findall(r"/run/secrets/([a-z-]+)", text)}

        assert named <= set(service.get("secrets", [])), f"{name}: {named}"
    for secret, where in told.items():
        assert where == {"file": f"${{SECRETS_FOLDER:-./secrets/example}}/{secret}"}
        assert (COMPOSE / "secrets" / "example" / secret).is_file()


def texts_of(source: Path) -> list[str]:
    files = [source] if source.is_file() else [each for each in sorted(source.rglob("*")) if each.is_file()]
    return [each.read_text(encoding="utf-8") for each in files]


def test_the_example_rules_are_valid_and_their_channels_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path, {})
    places.settle()
    monkeypatch.chdir(tmp_path / "settings")
    checked = subprocess.run(
        [sys.executable, "-c", "from flowgauge.console.main import main; main()", "rules", "validate", "rules"],
        env={"FLOWGAUGE_CLICKHOUSE_URL": "http://127.0.0.1:8123"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stderr) == (0, "")
    assert FILES.services["notify"]["environment"]["FLOWGAUGE_RULES"] == f"{IMAGE_FOLDER}/rules"
