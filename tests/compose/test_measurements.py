"""Alerts and dashboard ask for measurements that exist, by labels that they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.compose.composed import COMPOSE, ROOT
from tests.compose.metric_catalogue import catalogue
from tests.compose.role_commands import AWAITED_METRICS, needs_roles, roles_are_here

ALERTS = COMPOSE / "prometheus" / "alerts.yml"
DASHBOARD = COMPOSE / "grafana" / "dashboards" / "flowgauge.json"
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds
MEASUREMENT = re.compile(r"\bflowgauge_\w+")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
SELECTED = re.compile(r"\{([^}]*)\}")
NAMED = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)")  # in a legend, or in an alert's text
WATCHED = {  # what an operator must see on one page
    "lag": "flowgauge_transport_lag_seconds",
    "clock delay": "flowgauge_processors_clock_milliseconds",
    "late": "flowgauge_processors_late_total",
    "dlq": "flowgauge_sinks_dead_letters_total",
    "events a second": "flowgauge_producers_events_accepted_total",
    "transitions by state": "flowgauge_processors_transitions_total",
    "undelivered age": "flowgauge_console_undelivered_age_seconds",
    "transaction time": "flowgauge_transport_transaction_seconds_bucket",
    "restore time": "flowgauge_transport_restore_seconds_bucket",
}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [each for each in found if each["type"] != "row"]


def questions() -> dict[str, str]:
    """Return each question by what asks it."""
    asked = {rule["alert"]: rule["expr"] for rule in alerts()}
    return asked | {
        f"{panel['title']}, panel {panel['id']} {each['refId']}": each["expr"]
        for panel in panels()
        for each in panel["targets"]
    }


QUESTIONS = questions()


def measured() -> Mapping[str, frozenset[str]]:
    awaited = {} if roles_are_here() else {name: frozenset(labels) for name, labels in AWAITED_METRICS.items()}
    return {**catalogue(), **awaited}


@pytest.mark.parametrize("who", QUESTIONS)
def test_a_question_is_about_measurements_that_exist(who: str) -> None:
    question = QUESTIONS[who]
    asked = set(MEASUREMENT.findall(question))

    assert asked or question.startswith(("up ", "sum(up "))
    assert asked <= set(measured())


@pytest.mark.parametrize("who", QUESTIONS)
def test_a_question_groups_and_selects_by_labels_that_exist(who: str) -> None:
    question = QUESTIONS[who]
    has = OF_PROMETHEUS.union(*(measured()[name] for name in MEASUREMENT.findall(question)))
    grouped = {label.strip() for labels in GROUPED.findall(question) for label in labels.split(",")}
    selected = {
        part.partition("=")[0].strip(" !~") for found in SELECTED.findall(question) for part in found.split(",")
    }

    assert grouped | selected <= has


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_names_labels_that_the_answer_has(panel: dict[str, Any]) -> None:
    for each in panel["targets"]:
        kept = {label.strip() for labels in GROUPED.findall(each["expr"]) for label in labels.split(",")}
        assert set(NAMED.findall(each["legendFormat"])) <= kept


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    labels = set(NAMED.findall(" ".join(rule["annotations"].values()))) - {"value"}

    assert set(rule["annotations"]) == {"summary", "action"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    grouped = {label.strip() for found in GROUPED.findall(rule["expr"]) for label in found.split(",")}
    assert labels <= grouped | OF_PROMETHEUS


@pytest.mark.parametrize("what", WATCHED)
def test_the_dashboard_shows(what: str) -> None:
    asked = {name for panel in panels() for each in panel["targets"] for name in MEASUREMENT.findall(each["expr"])}

    assert WATCHED[what] in asked


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    folder = COMPOSE / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "flowgauge.yaml").read_text(encoding="utf-8"))["providers"]
    asked = {each["datasource"]["uid"] for panel in panels() for each in [panel, *panel["targets"]]}

    assert asked == {source["uid"]}
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_panels_have_numbers_and_places_of_their_own() -> None:
    all_of_it = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in all_of_it]

    assert len({each["id"] for each in all_of_it}) == len(all_of_it) == len(set(places))
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in all_of_it)


def test_documents_that_alerts_name_exist() -> None:
    named = set(re.findall(r"docs/[\w-]+\.md", ALERTS.read_text(encoding="utf-8")))

    assert [name for name in named if not (ROOT / name).exists()] == []


def test_promtool_takes_the_alerts(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: the expressions of alerts.yml are not parsed by Prometheus itself")
    shutil.copy(ALERTS, tmp_path / "alerts.yml")
    checked = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "alerts.yml")], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_roles
def test_what_was_awaited_has_come() -> None:
    known = catalogue()

    assert {
        name: labels for name, labels in AWAITED_METRICS.items() if not labels <= known.get(name, frozenset())
    } == {}
