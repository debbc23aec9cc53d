"""What the API's description says of the console's routes; of questions see metric_operations. Pure.

The API refuses what an operation does not name, so what stands here is all that may be asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from flowgauge.console.web.act_operations import ACT_OPERATIONS, INCIDENT_ID
from flowgauge.console.web.action_switch import ACTION_OPERATIONS
from flowgauge.console.web.answer_records import (
    HistoryPage,
    IncidentList,
    ProcessHealth,
    RuleFiles,
    RulesInForce,
    RunningRules,
    TenantHolding,
    TenantPage,
    WholeIncident,
)
from flowgauge.console.web.channel_trials import CHANNEL_OPERATIONS
from flowgauge.console.web.delivery_operations import DELIVERY_OPERATIONS
from flowgauge.console.web.metric_operations import LIMIT, SINCE, TENANT, UNTIL, metric_operations, table
from flowgauge.console.web.openapi import OF_QUESTIONS, Content, Operation, Parameter
from flowgauge.console.web.silence_operations import SILENCE_OPERATIONS
from flowgauge.sinks.clickhouse.dead_letters import COLUMNS as DEAD_LETTER_COLUMNS
from flowgauge.sinks.clickhouse.whole_letters import COLUMNS as LETTER_COLUMNS
from flowgauge.sinks.clickhouse.whole_letters import LETTERS_MAX

RULES_EXAMPLE: Final = """\
rules:
  - name: flow failing
    for_each: [flow]
    when: {failure_rate: {above: 20%, within: 10m, min_samples: 5}}
"""
OPERATIONS: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/incidents",
        title="Incidents, the newest first",
        parameters=(
            Parameter(
                name="open",
                about="Only those that are open",
                schema={"type": "boolean", "default": False},
                example="true",
            ),
            LIMIT,
            TENANT,
        ),
        answer=IncidentList,
    ),
    Operation(
        method="GET",
        path="/v1/incidents/{incident_id}",
        title="One incident, with its transitions, runs, deliveries and what people did about it",
        parameters=(INCIDENT_ID, TENANT),
        answer=WholeIncident,
        refusals=(*OF_QUESTIONS, 404),
    ),
    *ACT_OPERATIONS,
    *SILENCE_OPERATIONS,
    *ACTION_OPERATIONS,
    *CHANNEL_OPERATIONS,
    *DELIVERY_OPERATIONS,
    Operation(
        method="GET",
        path="/v1/dlq",
        title="What could not be read, the newest first",
        parameters=(SINCE, LIMIT, TENANT),
        answer=table(DEAD_LETTER_COLUMNS),
    ),
    Operation(
        method="GET",
        path="/v1/dlq/letters",
        title="The same with all bytes that are kept, in base64, to be sent again",
        parameters=(
            SINCE,
            Parameter(name="reason", about="Only those refused for this reason", example="not JSON"),
            Parameter(name="source", about="Only of this record, or partition, of their topic", example="0@12"),
            Parameter(name="letter", about="Only the letter at this place", example="0@3"),
            replace(LIMIT, schema={**LIMIT.schema, "maximum": LETTERS_MAX}),
            TENANT,
        ),
        answer=table(LETTER_COLUMNS),
    ),
    Operation(
        method="GET",
        path="/v1/tenant",
        title="What of the tenant can be read out, by table",
        parameters=(UNTIL, TENANT),
        answer=TenantHolding,
    ),
    Operation(
        method="GET",
        path="/v1/tenant/rows/{table}",
        title="All rows of the tenant in a table, page by page",
        about="The tables are those that `GET /v1/tenant` tells. Take the same `until` for all pages.",
        parameters=(
            Parameter(name="table", about="The table", example="events"),
            UNTIL,
            Parameter(name="after", about="What the page before said as `next`", example='[0,"",-1,-1]'),
            TENANT,
        ),
        answer=TenantPage,
    ),
    Operation(
        method="GET",
        path="/v1/tenant/erase",
        title="What ClickHouse holds of a tenant and an erasure would take away",
        about="For the operator. Rows that wait to be merged count once, as in questions, unless that takes too long.",
        parameters=(replace(TENANT, about="Whose rows", required=True),),
        answer=TenantHolding,
        refusals=(*OF_QUESTIONS, 403),
    ),
    Operation(
        method="POST",
        path="/v1/tenant/erase",
        title="Erase all rows of a tenant",
        about="For the operator. Again it goes on: ask until nothing is left and nothing is pending.",
        parameters=(replace(TENANT, about="Whose rows", required=True),),
        answer=TenantHolding,
        refusals=(400, 401, 403, 503),
    ),
    Operation(
        method="GET",
        path="/v1/history",
        title="Stored events as lines that a replay reads, page by page",
        about=(
            "In the order of their append times, without what rules do not look at. Take the same `since`, `until` and "
            "`looks` for all pages."
        ),
        parameters=(
            SINCE,
            UNTIL,
            Parameter(
                name="looks",
                about="Only events of these kinds and states, as KIND:STATE or, without a state, KIND:",
                example="flow-run:failed,flow-run:completed,log:",
            ),
            Parameter(name="after", about="What the page before said as `next`", example='[0,"",-1,-1]'),
            TENANT,
        ),
        answer=HistoryPage,
    ),
    Operation(
        method="GET",
        path="/v1/health",
        title="What the console's banner says, with its numbers",
        parameters=(TENANT,),
        answer=ProcessHealth,
        refusals=(400, 401, 403),
    ),
    Operation(
        method="GET",
        path="/v1/rules",
        title="The rules in force, page by page",
        about=(
            "With all their defaults. The operator sees all of them, or with `tenant` what that one sees: its own and "
            "those of all tenants."
        ),
        parameters=(Parameter(name="after", about="What the page before said as `next`", example="1000"), TENANT),
        answer=RunningRules,
    ),
    Operation(
        method="POST",
        path="/v1/rules",
        title="Put rules in force, in place of those before",
        about="For the operator. They apply to all tenants from now on, all or none of them.",
        body={"application/json": Content(RuleFiles, {"files": {"orders.yaml": RULES_EXAMPLE}})},
        answer=RulesInForce,
        refusals=(400, 401, 403, 413, 415, 422, 503),
    ),
)
KNOWN: Mapping[tuple[str, str], frozenset[str]] = {(each.method, each.path): each.known for each in OPERATIONS}


def api_operations() -> list[Operation]:
    """Return the operations of the console: its routes', and one for each question that there is."""
    return [*OPERATIONS, *metric_operations()]
