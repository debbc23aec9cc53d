"""The JSON Schema of rule files, made of the models that read them: editors complete and check by it. Pure.

    Rule, each kind, Channel, Action ──pydantic──► $defs ──► {rules: [Rule], channels: [Channel], actions: [Action]}

What hangs on several fields or on other rules is left to `rules validate`.
"""

import sys
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from flowgauge.processors.compounds import CONDITION_FIELDS
from flowgauge.processors.kinds import KINDS, Compound
from flowgauge.schemas.rule import Rule
from flowgauge.schemas.rule_forms import DURATION, WINDOW
from flowgauge.schemas.times import format_duration
from flowgauge.sinks.webhooks.actions import KINDS as ACTION_KINDS
from flowgauge.sinks.webhooks.actions.action import Action
from flowgauge.sinks.webhooks.channels import Channel
from flowgauge.sinks.webhooks.kinds import KINDS as CHANNEL_KINDS
from flowgauge.sinks.webhooks.routes import Route

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NAME_OR_CONDITION = {
    "anyOf": [{"type": "string", "minLength": 1, "description": "The name of a rule."}, {"$ref": "#/$defs/Condition"}]
}
PUBLISHED = "https://raw.githubusercontent.com/flowgauge/flowgauge/main/docs/rules.schema.json"


def rule_file_schema() -> dict[str, Any]:
    """Return the schema of a file of rules, channels and actions."""
    models: list[type[BaseModel]] = [Rule, Channel, Route, Action, *KINDS.values()]
    found, definitions = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_AsWritten, ref_template="#/$defs/{model}"
    )
    refs = {model: found[model, "validation"] for model in models}
    defs = cast("dict[str, Any]", definitions["$defs"])
    del defs["JsonValue"]  # of bodies: whatever it is, and nothing refers to it
    for name, kind in KINDS.items():
        defs[kind.__name__]["description"] = _rule_of(kind, name)
    kinds = {name: refs[kind] for name, kind in KINDS.items()}
    defs["Rule"]["properties"]["when"] |= {
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    defs["Channel"]["oneOf"] = [{"required": [name]} for name in CHANNEL_KINDS]
    run_action = defs["Rule"]["properties"]["actions"]["items"]
    named = {"type": "string", "minLength": 1, "description": "The name of an action, run on firing."}
    defs["Rule"]["properties"]["actions"]["items"] = {"anyOf": [named, run_action]}
    defs["Action"]["oneOf"] = [{"required": [name]} for name in ACTION_KINDS]
    defs["Condition"] = _condition(defs["Rule"]["properties"])
    for kind in KINDS.values():
        if issubclass(kind, Compound):
            defs[kind.__name__]["properties"]["conditions"]["items"] = _NAME_OR_CONDITION
    return {
        "$schema": DRAFT,
        "$id": PUBLISHED,
        "title": "flowgauge rules, channels, routes and actions",
        "type": "object",
        "properties": {
            "rules": {"type": ["array", "null"], "items": refs[Rule], "description": "What somebody must know of."},
            "channels": {"type": ["array", "null"], "items": refs[Channel], "description": "Where people are told."},
            "routes": {"type": ["array", "null"], "items": refs[Route], "description": "Who hears of what besides."},
            "actions": {"type": ["array", "null"], "items": refs[Action], "description": "What rules may run."},
        },
        "additionalProperties": False,
        "$defs": defs,
    }


def _condition(of_a_rule: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a condition that is written in place: the fields of a rule that it has too."""
    return {
        "type": "object",
        "description": "A condition written in place.",
        "properties": {name: of_a_rule[name] for name in CONDITION_FIELDS},
        "additionalProperties": False,
        "required": ["when"],
    }


def _rule_of(kind: type, name: str) -> str:
    """Return the first line of the kind's file, which says in a sentence when it fires."""
    return (sys.modules[kind.__module__].__doc__ or name).partition("\n")[0].replace("`", "")


class _AsWritten(GenerateJsonSchema):
    """Schemas of what people write: no titles made of names, and defaults as they would write them."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        """Leave titles out: they say what the name says."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return a model's schema without the title that is its name."""
        made = super().model_schema(schema)
        made.pop("title", None)
        return made

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema of a field with its default: a duration with its unit, none where there is none."""
        made = super().default_schema(schema)
        if made.get("default", "") is None:
            del made["default"]
        elif made.get("anyOf") in (DURATION["anyOf"], WINDOW["anyOf"]):
            made["default"] = format_duration(made["default"])
        return made
