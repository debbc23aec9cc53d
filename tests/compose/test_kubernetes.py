"""The manifests are valid, hardened, and speak of settings, ports and commands that exist.

kubeconform asks a network for its schemas; kubernetes-validate carries them along, so it runs anywhere.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.compose.composed import COMPOSE, setting_variables
from tests.compose.role_commands import PORTS

from flowgauge.processors.kinds import KINDS
from flowgauge.schemas.settings import Settings, parse_settings

FOLDER = COMPOSE / "kubernetes"
VERSIONS = ("1.33", "1.37")  # the oldest and the newest that we speak of
SHUTDOWN_S = 15  # what a role allows itself, at most
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
MEMBERS = {"match", "detect", "sink", "notify"}  # of groups, so their names must last


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(FOLDER.rglob("*.yaml")):
        for each in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            yield f"{file.stem}-{each['kind']}", each


ALL = dict(documents())
PODS = {name: each["spec"]["template"]["spec"] for name, each in ALL.items() if each["kind"] in WORKLOADS}


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in ALL.values() if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def settings() -> Settings:
    text = named("ConfigMap", "flowgauge")["data"]["flowgauge.toml"]
    return parse_settings(text, "flowgauge.toml", {}, {})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest_satisfies_the_schema_of(version: str, name: str) -> None:
    kubernetes_validate.validate(ALL[name], version, strict=True)


def test_a_mistyped_field_is_noticed() -> None:
    wrong = deepcopy(ALL["gateway-Service"])
    wrong["spec"]["selektor"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_hardened(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001  # the image's
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert container["resources"]["limits"]["memory"]
    assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("role", PORTS)
def test_a_role_has_its_port_and_probes_and_time_to_end(role: str) -> None:
    kind = "StatefulSet" if role in MEMBERS else "Deployment"
    pod = named(kind, f"flowgauge-{role}")["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert container["args"] == [role]
    assert container["ports"] == [{"name": "http", "containerPort": PORTS[role]}]
    probes = {each: container[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")}
    live, ready = ({"path": path, "port": "http"} for path in ("/livez", "/readyz"))
    assert probes == {"startup": live, "liveness": live, "readiness": ready}
    assert pod["terminationGracePeriodSeconds"] > SHUTDOWN_S
    assert named("PodDisruptionBudget", f"flowgauge-{role}")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("name", [name for name, each in ALL.items() if each["kind"] in {"Deployment", "StatefulSet"}])
def test_a_process_is_called_by_the_name_of_its_pod(name: str) -> None:
    env = {each["name"]: each for each in PODS[name]["containers"][0]["env"]}

    assert env["FLOWGAUGE_KAFKA_INSTANCE"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert set(env) <= setting_variables()


@pytest.mark.parametrize("name", [name for name, each in ALL.items() if "selector" in each.get("spec", {})])
def test_a_selector_finds_pods(name: str) -> None:
    selector = ALL[name]["spec"]["selector"]
    wanted = selector.get("matchLabels", selector)
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in ALL.values() if each["kind"] in WORKLOADS]

    assert sum(wanted.items() <= each.items() for each in labels) == 1


@pytest.mark.parametrize("role", sorted(MEMBERS))
def test_the_service_of_a_stateful_set_exists(role: str) -> None:
    spec = named("StatefulSet", f"flowgauge-{role}")["spec"]
    service = named("Service", spec["serviceName"])

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"][0]["port"] == PORTS[role]


def test_the_settings_are_valid_and_share_the_work_among_the_replicas() -> None:
    read = settings()
    read.refuse_open_host()
    replicas = {role: named("StatefulSet", f"flowgauge-{role}")["spec"]["replicas"] for role in MEMBERS}

    assert read.kafka.replication == 3
    assert replicas["match"] <= read.partitions
    assert replicas["detect"] <= read.samples_partitions


def test_volumes_and_secrets_that_are_named_exist() -> None:
    told = named("Secret", "flowgauge")["stringData"]
    texts = [text for each in ALL.values() if each["kind"] == "ConfigMap" for text in each["data"].values()]
    asked = {name for text in texts for name in re.findall(r"/run/secrets/flowgauge/([a-z-]+)", text)}

    assert asked == set(told)
    for pod in PODS.values():
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert named("ConfigMap", volume["configMap"]["name"])
            if "secret" in volume:
                assert named("Secret", volume["secret"]["secretName"])
        (container,) = pod["containers"]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_the_rules_are_of_known_kinds_and_the_jobs_run_known_commands() -> None:
    rules = yaml.safe_load(named("ConfigMap", "flowgauge-rules")["data"]["rules.yaml"])["rules"]
    jobs = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in ALL.values() if each["kind"] == "Job"
    }

    assert {kind for rule in rules for kind in rule["when"]} <= set(KINDS)
    assert [job["containers"][0]["args"][:2] for job in jobs.values()] == [["rules", "apply"], ["topics", "apply"]]
    files = jobs["flowgauge-rules"]["containers"][0]["args"][2:]
    data = named("ConfigMap", "flowgauge-rules")["data"]
    assert {Path(file).name for file in files} == set(data)


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.yaml")), ids=lambda file: file.stem)
def test_a_file_begins_with_what_it_is_for(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")
