"""What takes bytes of others, each as a function that raises only what it does not say that it raises.

A target that returns has passed: what its docstring names as refusals is caught here, all else is a crash. Where an
answer must have a property, it is asserted.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from flowgauge.console.history import Entry, entries
from flowgauge.processors.matcher import Matcher, MatcherState
from flowgauge.processors.prefect_automations import imported_file
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.producers.answer import decode_answer, retry_after_ms
from flowgauge.producers.cloud_event import http_attributes, of_binary, of_kafka, of_structured
from flowgauge.producers.gateway.batch_body import (
    EVENTS_MAX,
    RAW_BYTES_MAX,
    BodyTooLarge,
    BrokenBody,
    Gunzip,
    split_events,
)
from flowgauge.producers.gateway.prefect_events import mapped_one
from flowgauge.producers.gateway.prefect_tokens import readings_of, readings_of_message
from flowgauge.producers.hook_event import Ignored, event_of
from flowgauge.producers.openlineage import made_of
from flowgauge.producers.prefect.capture import Counts, convert
from flowgauge.producers.prefect.mapping import Unmappable, map_event, map_log, run_of_log, seen_in
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.canonical import canonical
from flowgauge.schemas.check import REASONS, check
from flowgauge.schemas.control import decode_control
from flowgauge.schemas.control_records import read_pulse, read_rules_marker
from flowgauge.schemas.errors import BadInput, InvalidEvent, InvalidRules, InvalidSettings, InvariantBroken, Unreadable
from flowgauge.schemas.hook_file import parse_hooks
from flowgauge.schemas.refusal import refusal
from flowgauge.schemas.sample import read_message
from flowgauge.schemas.settings import parse_settings
from flowgauge.schemas.silence_form import parse_every, parse_matcher
from flowgauge.schemas.summary import check_template, render_template
from flowgauge.schemas.times import parse_duration_ms, parse_time_ms
from flowgauge.schemas.topics import RecordKind
from flowgauge.sinks.clickhouse.prices import parse_prices
from flowgauge.sinks.clickhouse.rows import SPECS
from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.transport.event_record import event_record
from flowgauge.transport.kafka_records import from_kafka
from flowgauge.transport.log import Record

NOW_MS: Final = 1_764_500_000_000  # of the seeds
TYPES: Final = ("application/json", "application/x-ndjson", "")

RULES: Final = """
rules:
  - name: failing
    match: {flow: "*", resource.id: "!y*"}
    for_each: [flow, resource.env]
    when: {failure_rate: {above: 50%, within: 3m}}
  - name: slow
    when: {event: {times: 1, within: 1m}}
"""

HOOKS: Final = """
hooks:
  - name: ci
    tenant: acme
    verify: {by: none}
    ignore: zen
    events:
      - event: join('.', ['ci', status])
        kind: flow-run
        flow: job
        run: id
        state: {from: status, words: {ok: completed, error: failed}}
        occurred: at || max(steps[].at || `[]`)
        related: {tag: labels}
        payload: {all: "@", failed: "steps[?status == 'error'].name"}
"""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A record as aiokafka hands it out."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def event(data: bytes) -> None:
    """Check, and where it is an event: its canonical form is the same event, and stays as it is."""
    try:
        found = check(data, NOW_MS)
    except InvalidEvent as error:
        _must(error.reason in REASONS)
        refusal(error, data)
        return
    raw, kept = canonical(data, tenant="acme", append_ms=NOW_MS)
    assert kept.id == found.id
    assert kept.tenant == "acme"
    assert check(raw, NOW_MS) == kept
    assert canonical(raw, tenant="acme", append_ms=NOW_MS) == (raw, kept)


def record(data: bytes) -> None:
    """Make a record of the log, as the gateway does, and let the matcher see it."""
    try:
        made = event_record(data, tenant="acme", append_ms=NOW_MS, partitions=7)
    except InvalidEvent:
        return
    assert 0 <= made.partition < 7


def matched(data: bytes) -> None:
    """Match whatever stands in the log against rules."""
    records = [Record(0, NOW_MS, RecordKind.EVENT, "", data)]
    state = MatcherState(rules_version=1)
    Matcher(log_id="fuzz", source=0, samples_partitions=3, rulesets={1: _RULESET}, state=state).match(records)


def body(data: bytes) -> None:
    """Tell the events of a body apart; each comes from it."""
    content_type = TYPES[data[0] % len(TYPES)] if data else ""
    try:
        events = split_events(data[1:], content_type)
    except (BrokenBody, BodyTooLarge):
        return
    assert len(events) <= EVENTS_MAX
    assert all(each in data for each in events)


def gunzip(data: bytes) -> None:
    """Unpack piece by piece; never more than may be."""
    unpacking, size = Gunzip(), 0
    with suppress(BrokenBody, BodyTooLarge):
        for start in range(0, len(data), 97):
            size += len(unpacking.feed(data[start : start + 97]))
        unpacking.finish()
    assert size <= RAW_BYTES_MAX


def prefect(data: bytes) -> None:
    """Map what Prefect publishes; a mapped event is one of ours, or it is refused with a reason."""
    try:
        decoded: object = json.loads(data)
    except (ValueError, RecursionError):
        return
    run_of_log(decoded)
    for mapped in (map_event(decoded), map_log(decoded, None)):
        if not isinstance(mapped, Unmappable):
            seen_in(mapped)
            event(msgspec.json.encode(mapped))


def prefect_message(data: bytes) -> None:
    """Take what Prefect's clients send over a WebSocket: an event, or the token before it."""
    made = mapped_one(data)
    event(made if isinstance(made, bytes) else made.raw)
    readings_of_message(data, None)
    readings_of(data.decode("latin-1"))


def cloud_event(data: bytes) -> None:
    """Read a CloudEvent: structured, and its attributes in headers over HTTP and Kafka."""
    name, _, rest = data.partition(b"\n")
    value, _, rest = rest.partition(b"\n")
    known = [(b"ce-id", b"1"), (b"ce-source", b"/a"), (b"ce-type", b"t"), (b"ce-specversion", b"1.0")]
    headers = [*known, (name, value)]
    kafka_headers = [(key.decode("latin-1").replace("ce-", "ce_"), of_it) for key, of_it in headers]
    attributes: dict[str, str] = {}
    with suppress(InvalidEvent):
        attributes = http_attributes(headers)
    for read in (
        partial(of_structured, data),
        partial(of_binary, attributes, rest),
        partial(of_kafka, kafka_headers, rest or None),
    ):
        with suppress(InvalidEvent):
            event(read(NOW_MS))


def lineage(data: bytes) -> None:
    """Make events of one of OpenLineage."""
    with suppress(InvalidEvent):
        for made in made_of(data):
            event(made)


def hook(data: bytes) -> None:
    """Make an event of a webhook."""
    for each in _HOOKS.hooks:
        with suppress(InvalidEvent, Ignored):
            event(event_of(each, data, {}, tenant="acme", now_ms=NOW_MS))


def hooks(data: bytes) -> None:
    """Read a file of hooks."""
    try:
        parse_hooks("hooks.yaml", _text(data))
    except InvalidRules as error:
        _must(bool(error.problems))


def capture(data: bytes) -> None:
    """Convert the lines of a capture."""
    for line in convert(data.splitlines(), Counts()):
        if isinstance(line, bytes):
            event(line)


def history(data: bytes) -> None:
    """Read lines of history."""
    for entry in entries(data.splitlines(), shift_ms=0):
        if isinstance(entry, Entry):
            check(entry.value, entry.append_ms)


def rules(data: bytes) -> None:
    """Read a file of rules."""
    try:
        parse_rules("rules.yaml", _text(data))
    except InvalidRules as error:
        _must(bool(error.problems))


def channels(data: bytes) -> None:
    """Read a file of channels."""
    try:
        parse_channels("channels.yaml", _text(data))
    except InvalidRules as error:
        _must(bool(error.problems))


def prices(data: bytes) -> None:
    """Read a file of prices."""
    try:
        parse_prices("prices.yaml", _text(data))
    except InvalidRules as error:
        _must(bool(error.problems))


def automations(data: bytes) -> None:
    """Read automations of a Prefect server."""
    try:
        imported_file("automations.json", _text(data))
    except BadInput as error:
        _must(str(error).startswith("automations.json:"))


def settings(data: bytes) -> None:
    """Read a file of settings."""
    try:
        parse_settings(_text(data), "flowgauge.toml", {}, {})
    except InvalidSettings as error:
        _must(str(error).startswith("flowgauge.toml: "))


def texts(data: bytes) -> None:
    """Read what people write into fields."""
    text = _text(data)
    for read in (parse_duration_ms, parse_time_ms, parse_matcher, partial(parse_every, timezone="Europe/Berlin")):
        try:
            read(text)
        except ValueError as error:
            _must(bool(str(error)))
    if check_template(text) is None:
        render_template(text, {"flow": "a", "value": 0.5, "labels": {"team": "x"}})


def control(data: bytes) -> None:
    """Read what people did."""
    with suppress(Unreadable):
        decode_control(data)


def markers(data: bytes) -> None:
    """Read pulses and markers."""
    for read in (read_pulse, read_rules_marker):
        with suppress(Unreadable):
            read(data, "here")


def samples(data: bytes) -> None:
    """Read what the matcher sends the detector."""
    with suppress(Unreadable):
        read_message(data, "here")


def stored(data: bytes) -> None:
    """Read each kind of record that the sink stores."""
    for spec in SPECS:
        try:
            spec.validate(data, NOW_MS)
        except InvalidEvent as error:
            _must(error.reason in REASONS)


def kafka(data: bytes) -> None:
    """Read a record as brokers bring it: key, headers and value are anybody's."""
    key, _, rest = data.partition(b"\n")
    name, _, rest = rest.partition(b"\n")
    value, _, body = rest.partition(b"\n")
    fetched = Fetched(1, NOW_MS, key or None, body or None, [(name.decode(errors="replace"), value or None)])
    try:
        (found,) = from_kafka([fetched], "topic partition 0")
    except InvariantBroken:
        return
    assert found.value == (body or None)


def answer(data: bytes) -> None:
    """Read what a server answers a publisher."""
    decode_answer(data)
    assert 0 <= retry_after_ms(_text(data)) <= 60_000


def authorization(data: bytes) -> None:
    """Look up whatever stands in the header."""
    assert TokenTable({"a token of acme": "acme"}).tenant_of(data.decode("latin-1")) in (None, "acme")


def _must(told: bool) -> None:  # what a refusal has to say
    assert told


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


_HOOKS: Final = parse_hooks("hooks.yaml", HOOKS)
_RULESET: Final[RuleSet] = parse_rules("rules.yaml", RULES)

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        *(
            event,
            record,
            matched,
            body,
            gunzip,
            prefect,
            prefect_message,
            cloud_event,
            lineage,
            hook,
            hooks,
            capture,
            history,
        ),
        *(rules, channels, prices, automations, settings, texts, control, markers, samples, stored, kafka, answer),
        authorization,
    )
}
