"""The references in docs/ name exactly the fields and settings that there are, with their true defaults."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flowgauge.processors.kinds import KINDS
from flowgauge.producers.kafka_target import KafkaTarget, variable_of
from flowgauge.schemas.event import EVENT_FIELDS, STATES
from flowgauge.schemas.event import KINDS as EVENT_KINDS
from flowgauge.schemas.rule import Rule
from flowgauge.schemas.setting_parts import (
    ActionSettings,
    ClickHouseSettings,
    EgressSettings,
    KafkaSettings,
    LimitSettings,
    QuarantineSettings,
    QuestionSettings,
)
from flowgauge.schemas.settings import ENV_PREFIX, Settings, parse_settings
from flowgauge.schemas.summary import check_template, summary_values
from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.clickhouse.cost_metrics import COST_METRICS
from flowgauge.sinks.clickhouse.metric import GROUPS
from flowgauge.sinks.clickhouse.metrics import METRICS
from flowgauge.sinks.clickhouse.run_metrics import RUN_METRICS
from flowgauge.sinks.webhooks.actions import KINDS as ACTION_KINDS
from flowgauge.sinks.webhooks.actions.action import Action
from flowgauge.sinks.webhooks.channels import Channel, Group
from flowgauge.sinks.webhooks.kinds import KINDS as CHANNEL_KINDS
from flowgauge.sinks.webhooks.routes import Route

DOCS = Path(__file__).parents[2] / "docs"
ACTIONS = (DOCS / "actions.md").read_text(encoding="utf-8")
CHANNELS = (DOCS / "channels.md").read_text(encoding="utf-8")
RULES = (DOCS / "rules.md").read_text(encoding="utf-8")
PUBLISH = (DOCS / "publish.md").read_text(encoding="utf-8")
QUESTIONS = (DOCS / "questions.md").read_text(encoding="utf-8")
SETTINGS = (DOCS / "settings.md").read_text(encoding="utf-8")
FILE_ONLY = ("kafka.password", "kafka.token", "kafka.client")
DURATIONS = {
    "fallback_after",
    "repeat",
    "wait",
    "interval",
    "for",
    "keep_firing_for",
    "allowed_lateness",
    "after",
    "within",
}
TRANSITION = Transition(
    transition_id="t",
    incident_id="i",
    seq=0,
    tenant="acme",
    rule="orders failing",
    rule_kind="failure_rate",
    rules_version=1,
    key={"flow": "orders-eu"},
    from_state="inactive",
    to_state="firing",
    at_ms=0,
    opened_at_ms=0,
    reason="failure rate above threshold",
)
MODELS: Mapping[str, type[BaseModel]] = {
    "## The fields of a rule": Rule,
    **{f"### `{name}`": kind for name, kind in KINDS.items()},
    "## The fields of a channel": Channel,
    "## `group`": Group,
    "## Routes": Route,
    **{f"## `{name}`": kind for name, kind in CHANNEL_KINDS.items()},
    "## The fields of an action": Action,
    **{f"## `{name}`": kind for name, kind in ACTION_KINDS.items()},
}


def table(text: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the first table below `heading`, its header aside."""
    below = f"\n{text}".split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert rows
    for line in rows[0].splitlines()[2:]:
        yield [re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in line.strip("|").split(" | ")]


def default_of(name: str, field: FieldInfo) -> str:
    """Return a field's default as people write it."""
    if field.is_required():
        return "required"
    value: object = field.default
    if isinstance(value, tuple):
        return f"[{', '.join(str(each) for each in value)}]"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # texts
    if name in DURATIONS and isinstance(value, int):
        return format_duration(value)
    return "none" if value in (None, "") else str(value)


def documented(text: str, heading: str) -> dict[str, str]:
    return {cells[0]: cells[1] for cells in table(text, heading)}


@pytest.mark.parametrize("heading", MODELS)
def test_the_fields_of_rules_channels_and_actions_stand_in_the_reference_with_their_defaults(heading: str) -> None:
    fields = {field.alias or name: field for name, field in MODELS[heading].model_fields.items()}

    text = next(each for each in (RULES, CHANNELS, ACTIONS) if f"\n{heading}\n" in each)
    assert documented(text, heading) == {name: default_of(name, field) for name, field in fields.items()}


@pytest.mark.parametrize("name", ["missing_key", "no_data", "severity"])
def test_every_choice_of_a_field_is_named(name: str) -> None:
    (meaning,) = (cells[2] for cells in table(RULES, "## The fields of a rule") if cells[0] == name)

    named = set(re.findall(r"`(\w+)`", meaning)) - set(Rule.model_fields)
    assert named == set(get_args(Rule.model_fields[name].annotation))


def test_every_kind_of_rule_has_its_section() -> None:
    kinds = RULES.split("\n## Kinds\n", 1)[1].split("\n## ", 1)[0]

    assert re.findall(r"^### `(\w+)`$", kinds, re.MULTILINE) == list(KINDS)


def test_the_kinds_and_states_of_events_are_all_told() -> None:
    lists = RULES.split("\n* Kinds of events are ", 1)[1].split("\n### ", 1)[0]
    kinds, states = (re.findall(r"`([\w-]+)`", part) for part in lists.split("* States are "))

    assert (set(kinds), set(states)) == (set(EVENT_KINDS), set(STATES))


def test_what_makes_a_run_is_told_field_by_field() -> None:
    section = PUBLISH.split("\n## What makes a run\n", 1)[1].split("\n## ", 1)[0]
    named = {
        name for cells in re.findall(r"^\| (`[^|]+)\|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cells)
    }
    states = re.findall(r"`(\w+)`", re.split(r"^\| `state` \|", section, flags=re.MULTILINE)[1].split("|", 1)[0])

    assert set(EVENT_FIELDS) - {"id", "tenant", "extra"} <= named
    assert set(states) == set(STATES)
    for what in ("cost", "bytes", "rows", "cpu_utilization", "gpu_utilization", "level", "logger", "message"):
        assert f"`{what}`" in section
    for role in GROUPS[2:]:
        assert f"`{role.replace('_', '-')}`" in section


def test_the_names_and_filters_of_a_summary_are_all_told() -> None:
    section = RULES.split("\n### The summary\n", 1)[1].split("\n## ", 1)[0]
    names, filters, _ = re.split(r"Filters: |There are ", section)
    complaint = check_template("{{ value|unheard_of }}")

    assert complaint is not None
    assert re.findall(r"`(\w+)`", filters) == complaint.partition("there are ")[2].split(", ")
    assert set(re.findall(r"`([\w.]+)`", names)) - {"for_each", "resource.env"} == set(summary_values(TRANSITION))


def test_every_question_about_runs_stands_in_the_reference_with_its_columns() -> None:
    groups = {cells[0]: re.findall(r"`(\w+)`", cells[1]) for cells in table(QUESTIONS, "## Of groups of runs")}
    single = {cells[0]: tuple(re.findall(r"`(\w+)`", cells[1])) for cells in table(QUESTIONS, "## One by one")}

    money = {cells[0]: tuple(re.findall(r"`(\w+)`", cells[1])) for cells in table(QUESTIONS, "## Of money")}

    assert money == {each.name: each.columns[1:] if each.per else each.columns for each in COST_METRICS}
    assert groups == {metric.name: list(metric.columns[1:]) for metric in RUN_METRICS}
    assert single == {name: METRICS[name].columns for name in ("runs", "logs", "timeline")}


def test_every_setting_stands_in_the_reference_with_its_default_and_variable() -> None:
    rows = {cells[0]: cells[1:3] for cells in table(SETTINGS, "# Settings")}

    tables: Mapping[str, type[BaseModel]] = {
        "limits": LimitSettings,
        "egress": EgressSettings,
        "actions": ActionSettings,
        "clickhouse": ClickHouseSettings,
        "questions": QuestionSettings,
        "kafka": KafkaSettings,
        "quarantine": QuarantineSettings,
    }
    fields = {name: field for name, field in Settings.model_fields.items() if name not in {*tables, "tenants"}}
    for table_name, part in tables.items():
        fields |= {f"{table_name}.{name}": field for name, field in part.model_fields.items()}
    expected = {
        name: [default_of(name, field), ENV_PREFIX + name.replace(".", "_").upper()] for name, field in fields.items()
    }
    expected |= {name: [default_of(name, fields[name]), "only in the file"] for name in FILE_ONLY}
    assert rows == expected | {"tenants": ["none", "only in the file"]}


def test_every_field_of_a_publishers_kafka_target_stands_in_the_reference_with_its_variable() -> None:
    rows = {cells[0]: cells[1:3] for cells in table(PUBLISH, "## To Kafka, without a gateway")}

    assert rows == {
        each.name: [
            "required" if each.default is MISSING else str(each.default) or "none",
            variable_of(each.name),
        ]
        for each in fields(KafkaTarget)
    }


def test_every_example_of_a_setting_is_read_as_that_setting() -> None:
    for cells in table(SETTINGS, "# Settings"):
        if cells[3] == "see below":
            continue
        name = next(iter(tomllib.loads(cells[3])))

        assert name == cells[0].partition(".")[0]
        assert parse_settings(cells[3], "docs/settings.md", {}, {}) != Settings()
