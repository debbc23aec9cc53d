"""What a webhook says: a Standard Webhooks payload of one transition, under 20 kB whatever the rule's author wrote.

    {"type": "incident.firing", "timestamp": "…Z", "data": {"incident_id": …, "rule": …, "summary": …, …}}

The body is a function of the transition alone, so every attempt carries the same bytes under the same `webhook-id`.
`fitted` runs first, when the outbox takes a transition in: what it keeps is what can be told later.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from urllib.parse import quote

import msgspec

from flowgauge.schemas.signing import signed_headers
from flowgauge.schemas.summary import summarize
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.transition import EXAMPLES_MAX, ExampleRun, Transition, encode_transition

PAYLOAD_BYTES_MAX = 20_000  # Standard Webhooks asks for less than 20 kB
FITTED_BYTES_MAX = 10_000  # of a transition in the outbox: it and its rendered summary fit the payload
CUTS = ((1_024, 500), (256, 32), (64, 16), (24, 4))  # (characters of a text, entries of a mapping), the first that fits
PUBLIC_URL_CHARS_MAX = 1_024


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the runs that made the rule breach."""

    run: str
    flow: str = ""
    occurred: str
    event_id: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """The `data` of a message: what happened, with the numbers behind the decision."""

    incident_id: str
    transition_id: str
    tenant: str
    rule: str
    rule_kind: str
    key: dict[str, str]
    state: str
    severity: str
    labels: dict[str, str]
    summary: str
    reason: str
    value: float | None
    threshold: float | None
    samples: int
    late_samples: int
    window_ms: int
    opened_at: str
    at: str
    examples: list[Run]
    link: str | None  # the incident's page; null where no public URL is known
    runbook: str | None  # the rule's, null where it has none


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook."""

    type: str
    timestamp: str  # when it happened, in event time: not the time of the attempt
    data: Incident


_encode_message = msgspec.json.Encoder().encode


def message_body(transition: Transition, *, public_url: str = "") -> bytes:
    """Return the body that tells of `transition`, which is `fitted`: at most PAYLOAD_BYTES_MAX bytes."""
    message = Message(
        type=f"incident.{transition.to_state}",
        timestamp=rfc3339(transition.at_ms),
        data=incident_of(transition, public_url),
    )
    return _encode_message(message)


def incident_of(transition: Transition, public_url: str) -> Incident:
    """Return what is told of the incident as of `transition`."""
    return Incident(
        incident_id=transition.incident_id,
        transition_id=transition.transition_id,
        tenant=transition.tenant,
        rule=transition.rule,
        rule_kind=transition.rule_kind,
        key=transition.key,
        state=transition.to_state,
        severity=transition.severity,
        labels=transition.labels,
        summary=summarize(transition),
        reason=transition.reason,
        value=transition.value,
        threshold=transition.threshold,
        samples=transition.samples,
        late_samples=transition.late_samples,
        window_ms=transition.window_ms,
        opened_at=rfc3339(transition.opened_at_ms),
        at=rfc3339(transition.at_ms),
        examples=[_run(example) for example in transition.examples],
        link=incident_link(transition.incident_id, public_url),
        runbook=transition.runbook or None,
    )


def message_headers(secrets: Sequence[str], *, delivery_id: str, now_ms: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt: the id stays, the time and so the signature are the attempt's.

    Raises ValueError for a secret that is none.
    """
    signed = signed_headers(secrets, message_id=delivery_id, timestamp_s=now_ms // 1000, body=body)
    return {"content-type": "application/json", **signed}


def incident_link(incident_id: str, public_url: str) -> str | None:
    """Return the address of the incident's page under `public_url`, None without one."""
    if not public_url or len(public_url) > PUBLIC_URL_CHARS_MAX:
        return None
    return f"{public_url.rstrip('/')}/incidents/{quote(incident_id, safe='')}"


def incidents_link(public_url: str) -> str | None:
    """Return the address of the page that lists the open incidents under `public_url`, None without one."""
    return f"{public_url.rstrip('/')}/" if public_url and len(public_url) <= PUBLIC_URL_CHARS_MAX else None


def fitted(transition: Transition) -> Transition:
    """Return `transition` with long texts and mappings cut so that it can be kept and told.

    Identities, tenant, rule and numbers stay as they are; `notify` goes, the outbox keeps the channels itself.
    """
    kept = msgspec.structs.replace(transition, notify=[], examples=transition.examples[:EXAMPLES_MAX])
    for chars_max, entries_max in CUTS:
        if len(encode_transition(kept)) <= FITTED_BYTES_MAX:
            break
        kept = msgspec.structs.replace(
            kept,
            key=_cut_mapping(kept.key, chars_max, entries_max),
            labels=_cut_mapping(kept.labels, chars_max, entries_max),
            reason=_cut(kept.reason, chars_max),
            severity=_cut(kept.severity, chars_max),
            summary=kept.summary if len(kept.summary) <= chars_max else "",  # half a template is none
            runbook=kept.runbook if len(kept.runbook) <= chars_max else "",  # and half an address leads nowhere
            examples=[_cut_example(example, chars_max) for example in kept.examples],
        )
    return kept


def _run(example: ExampleRun) -> Run:
    occurred = rfc3339(example.occurred_us // 1000)
    return Run(run=example.run, flow=example.flow, occurred=occurred, event_id=example.event_id)


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def _cut_mapping(mapping: Mapping[str, str], chars_max: int, entries_max: int) -> dict[str, str]:
    return {_cut(name, chars_max): _cut(text, chars_max) for name, text in islice(mapping.items(), entries_max)}


def _cut_example(example: ExampleRun, chars_max: int) -> ExampleRun:
    return ExampleRun(
        example.occurred_us,
        _cut(example.event_id, chars_max),
        _cut(example.run, chars_max),
        _cut(example.flow, chars_max),
    )
