"""What programs are answered, by name and type: the API's description is made of these records. Pure.

Each is a dict, as it is encoded. Times are RFC 3339 in UTC; what is not known is null.
"""

from typing import Any, NotRequired, TypedDict

import msgspec

from flowgauge.schemas.incident_context import IncidentContext
from flowgauge.sinks.clickhouse.incidents import LogLine
from flowgauge.sinks.clickhouse.tenant_rows import Holding

Change = TypedDict(
    "Change",
    {
        "transition_id": str,
        "at": str,
        "from": str,
        "to": str,
        "value": float | None,
        "threshold": float | None,
        "samples": int,
        "late_samples": int,
        "reason": str,
    },
)  # as a call, for `from` is a keyword
Change.__doc__ = "One change of an incident's state."


class FlappingTold(TypedDict):
    """How an alert flaps. `keep_firing_for` is what would have made one incident of those that opened so."""

    says: str
    incidents: int
    span_seconds: float
    shortest_seconds: float
    keep_firing_for: str


class Said(TypedDict):
    """Who said something, and when."""

    by: str
    at: str


class HandlingTold(TypedDict):
    """How people handle an incident: what was said last. `says` is it in a few words, empty where nobody does."""

    says: str
    acknowledged: Said | None
    assignee: str | None
    resolved_by_hand: Said | None
    merged_into: str | None


class ActTold(TypedDict):
    """What somebody did about an incident. `to` is of an assign, `text` of a note or a resolve, `into` of a merge."""

    control_id: str
    act: str
    at: str
    by: str
    to: str | None
    text: str | None
    into: str | None
    says: str


class HandledIncident(TypedDict):
    """How an incident is handled after an act, and all that people did, the oldest first.

    `acts_cut` is true where still older ones are no longer told.
    """

    incident_id: str
    tenant: str
    handling: HandlingTold
    acts: list[ActTold]
    acts_cut: bool


class ListedIncident(TypedDict):
    """An incident as a row of the list. `value` is the one that made it fire; `flapping` is null where it does not."""

    incident_id: str
    tenant: str
    rule: str
    kind: str
    key: dict[str, str]
    state: str
    open: bool
    severity: str
    labels: dict[str, str]
    summary: str
    runbook: str | None
    opened_at: str
    at: str
    reason: str
    value: float | None
    threshold: float | None
    samples: int
    late_samples: int
    window: str
    flapping: FlappingTold | None
    handling: HandlingTold


class CountedRun(TypedDict):
    """A run, or an event, that made the rule breach. Null where nothing was heard of the run."""

    run: str
    flow: str
    state: str | None
    scheduled_for: str | None
    started: str | None
    ended: str | None
    attempts: int | None
    seconds: float | None
    message: str | None
    error_lines: list[LogLine]
    event_id: str
    occurred: str
    late_by_seconds: float | None


class SentDelivery(TypedDict):
    """What became of telling one channel of one change. `status` is the HTTP status, 0 where none came."""

    delivery_id: str
    transition_id: str
    channel: str
    to: str
    outcome: str
    attempts: int
    status: int
    reason: str
    at: str
    next_attempt: str | None
    elapsed_ms: int


class WholeIncident(ListedIncident):
    """One incident with all its reasons. `runs` are the first of the `runs_counted` that counted.

    `acts` are what people did, the oldest first; `acts_cut` is true where still older ones are no longer told. Where
    detection is unknown, what happened since then is not judged yet.
    """

    standing: str
    transitions: list[Change]
    runs_counted: int
    runs: list[CountedRun]
    deliveries: list[SentDelivery]
    context: IncidentContext
    acts: list[ActTold]
    acts_cut: bool
    detection_unknown_since: str | None


class IncidentList(TypedDict):
    """Incidents, the newest first. Where detection is unknown, what happened since then is not judged yet."""

    columns: list[str]
    rows: list[ListedIncident]
    detection_unknown_since: str | None


class LeftOut(TypedDict):
    """Samples of the last hour that no window took, for one reason."""

    samples: int
    newest: str | None
    rules: tuple[str, ...]


class ProcessHealth(TypedDict):
    """The health of the process that answers. `stored` is told to the operator only; `limited` are requests with 429.

    `held_back_by` are the partitions of the events that keep detection unknown while others go on.
    """

    ok: bool
    says: str
    detection_unknown_since: str | None
    held_back_by: list[int]
    detection_clock: str | None
    loading: bool
    rules_version: int
    accepted: int
    refused: int
    limited: int
    stored: NotRequired[int]
    sink_behind: int
    undelivered: int
    problems: dict[str, str]
    left_out: dict[str, LeftOut]


class TenantHolding(TypedDict):
    """What ClickHouse holds of a tenant: rows by table, the tables that can be read out, rewrites that are not done."""

    tenant: str
    rows: dict[str, int]
    raw: list[str]
    pending: int


class TenantPage(TypedDict):
    """Rows of one table, and what the next page is `after`: null where this is the last."""

    rows: list[dict[str, Any]]
    next: str | None


class HistoryPage(TypedDict):
    """Stored events as `flowgauge replay` reads them, and what the next page is `after`: null where this is the last.

    `clock` is up to when, in ms since 1970, all events of the log are stored: null where nothing is.
    """

    rows: list[dict[str, Any]]
    next: str | None
    clock: int | None


class RuleFiles(msgspec.Struct, forbid_unknown_fields=True):
    """Rules and channels as files: the text of each by its name, such as `orders.yaml`."""

    files: dict[str, str]


class RulesInForce(TypedDict):
    """The rule set that applies from now on, and what to mend in it."""

    version: int
    tenant: str
    warnings: tuple[str, ...]


class RunningRule(TypedDict):
    """A rule in force. `applies` is false where a rule of the tenant's own hides it.

    `meaning` differs where it would detect otherwise; `fields` are all that it says, defaults included, by their paths;
    `written` is what people wrote.
    """

    rule: str
    tenant: str
    kind: str
    severity: str
    applies: bool
    meaning: str
    fields: dict[str, str]
    written: dict[str, Any]


class OpenOfRule(TypedDict):
    """How many incidents of the rules of a name are open of a tenant."""

    rule: str
    tenant: str
    open: int


class RunningRules(TypedDict):
    """Rules in force, in their order, and what the next page is `after`: null where this is the last.

    `version` is that of the set; pages of two versions are not of one. `tenant` is who sees these rules; they are the
    `whole` set where it is the operator's to see. The first page tells the `open_incidents` of all pages' rules; null
    on the others, and where they are of so many rules and tenants that they are not counted.
    """

    version: int
    tenant: str
    whole: bool
    rows: list[RunningRule]
    open_incidents: list[OpenOfRule] | None
    next: str | None


def tenant_holding(tenant: str, found: Holding) -> TenantHolding:
    """Return what there is of `tenant`."""
    return {"tenant": tenant, "rows": found.rows, "raw": found.raw, "pending": found.pending}
