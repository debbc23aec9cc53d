"""The independent checker: what the log, ClickHouse and the receiver hold, against what must follow from the input.

    acks of the sender ──► every one is an event of the log
    events of the log ──► rows, runs and rollups in ClickHouse, each exactly once       (computed here, in plain Python)
    events of the log ──► transitions, word for word, none twice                        (one pass, in this process)
    transitions       ──► messages at the receiver, at least once under one id, a resolve never before its firing

It asks no role anything and reads no state of theirs. What is wrong is a `Finding`: lost, doubled or wrong.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import clickhouse_connect
import msgspec
from tests.clickhouse.run_oracle import ORDER
from tests.clickhouse_front import Front
from tests.integration.audit_log import expected_transitions, records_in, transitions_in
from tests.torture.hook import Told

from flowgauge.schemas.delivery import Delivery, decode_delivery
from flowgauge.schemas.event import TERMINAL_STATES, Event, decode_event
from flowgauge.schemas.ids import delivery_id
from flowgauge.schemas.topics import DELIVERIES, DLQ, EVENTS, TRANSITIONS, RecordKind
from flowgauge.schemas.transition import Transition, encode_transition
from flowgauge.sinks.webhooks.telling import is_told
from flowgauge.transport.log import Log

CHANNEL = "ops"
EXAMPLES_MAX = 3
Place = tuple[int, int]  # partition, offset

PLACES = "SELECT _partition, _offset, count() FROM flowgauge.{table} GROUP BY _partition, _offset"
ENDS = """
SELECT flow, formatDateTime(hour, '%Y-%m-%dT%H', 'UTC'), state, uniqExactMerge(runs)
FROM flowgauge.run_ends_hourly GROUP BY flow, hour, state
"""
RUNS = "SELECT run, state, attempts FROM flowgauge.runs_final"


@dataclass(slots=True)
class Findings:
    """What is wrong, by what it concerns; and how much there was to look at."""

    lost: Counter[str] = field(default_factory=Counter[str])
    doubled: Counter[str] = field(default_factory=Counter[str])
    wrong: Counter[str] = field(default_factory=Counter[str])
    seen: dict[str, int] = field(default_factory=dict[str, int])
    wanted: dict[str, int] = field(default_factory=dict[str, int])  # how much of it follows from the log
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict[str, list[str]](list))

    @property
    def are_none(self) -> bool:
        """Nothing is lost, doubled or wrong."""
        return not (self.lost.total() or self.doubled.total() or self.wrong.total())

    def note(self, kind: str, what: str, found: Iterable[object]) -> None:
        """Count `found` as lost, doubled or wrong."""
        items = list(found)
        if items:
            getattr(self, kind)[what] += len(items)
            self.examples[f"{what} {kind}"] += [str(item)[:200] for item in items[:EXAMPLES_MAX]]

    def compare(self, what: str, wanted: Mapping[Any, int], found: Mapping[Any, int]) -> None:
        """Note what is missing from `found`, what is there more often than wanted, and what nobody wanted."""
        self.seen[what] = sum(found.values())
        self.wanted[what] = sum(wanted.values())
        self.note("lost", what, [each for each in wanted if each not in found])
        self.note("doubled", what, [each for each, count in found.items() if each in wanted and count > wanted[each]])
        self.note("wrong", what, [each for each in found if each not in wanted])

    def counts(self) -> dict[str, object]:
        """Return all of it for a last line."""
        return {
            "lost": self.lost.total(),
            "doubled": self.doubled.total(),
            "wrong": self.wrong.total(),
            "wanted": self.wanted,
            "seen": self.seen,
            **({"examples": dict(self.examples)} if self.examples else {}),
        }


@dataclass(frozen=True, slots=True)
class InLog:
    """What the log holds of a topic's events."""

    events: dict[Place, Event]
    transitions: list[Transition]
    expected: list[Transition]
    places: dict[str, dict[Place, int]]  # table → positions of the topic that it stores
    deliveries: list[Delivery]

    @classmethod
    async def read(cls, log: Log) -> "InLog":
        """Read all of it."""
        events: dict[Place, Event] = {}
        for partition in range(log.partitions(EVENTS)):
            async for record in records_in(log, EVENTS, partition):
                if record.kind == RecordKind.EVENT and record.value is not None:
                    events[partition, record.offset] = decode_event(record.value)
        places: dict[str, dict[Place, int]] = {"events": dict.fromkeys(events, 1)}
        values: list[bytes] = []
        for table, topic in (("transitions", TRANSITIONS), ("deliveries", DELIVERIES), ("dlq", DLQ)):
            places[table] = {}
            for partition in range(log.partitions(topic)):
                async for record in records_in(log, topic, partition):
                    places[table][partition, record.offset] = 1
                    if topic == DELIVERIES and record.value is not None:
                        values.append(record.value)
        return cls(
            events,
            await transitions_in(log),
            await expected_transitions(log),
            places,
            [decode_delivery(value) for value in values],
        )


async def check(
    log: Log, *, acked: Sequence[str], told: Sequence[Told] | None, front: Front | None, detects: bool = True
) -> Findings:
    """Compare everything; `told` or `front` None leaves out messages or rows, `detects` False transitions."""
    found = Findings()
    in_log = await InLog.read(log)
    ids = Counter(str(event.id) for event in in_log.events.values())
    found.seen |= {"acked": len(acked), "events": len(in_log.events), "sent again": ids.total() - len(ids)}
    found.note("lost", "acked events", [each for each in acked if each not in ids])
    check_transitions(found, in_log.expected if detects else [], in_log.transitions)
    if told is not None:
        check_messages(found, in_log, told)
    if front is not None:
        await _check_rows(found, in_log, front)
    return found


def check_transitions(found: Findings, expected: Sequence[Transition], there: Sequence[Transition]) -> None:
    """Compare the transitions of the log with those that its events lead to: ids, and every word of them."""
    wanted = {each.transition_id: encode_transition(each) for each in expected}
    found.compare("transitions", dict.fromkeys(wanted, 1), Counter(each.transition_id for each in there))
    differing = [
        f"{encode_transition(each).decode()} for {wanted[each.transition_id].decode()}"
        for each in there
        if each.transition_id in wanted and encode_transition(each) != wanted[each.transition_id]
    ]
    found.note("wrong", "transitions", differing)
    last = {each.incident_id: each for each in sorted(expected, key=lambda each: each.seq)}
    still = [
        each for each in last.values() if each.rule_kind != "event" and each.to_state not in {"resolved", "inactive"}
    ]
    found.seen["open incidents"] = len([each for each in still if each.window_ms])


def check_messages(found: Findings, in_log: InLog, told: Sequence[Told]) -> None:
    """Compare what the receiver accepted with what had to be told."""
    accepted = Counter(each.message_id for each in told if each.accepted)
    by_id = {delivery_id(each.transition_id, CHANNEL): each for each in in_log.expected}
    superseded = {each.delivery_id for each in in_log.deliveries if each.outcome == "superseded"}
    owed = {name: each for name, each in by_id.items() if CHANNEL in each.notify and is_told(each)}
    first_and_last = _first_and_last(owed)
    lost = [n for n in owed if n not in accepted and (n in first_and_last or n not in superseded)]
    found.seen |= {"messages": len(told), "accepted": accepted.total(), "told": len(accepted)}
    found.seen["told again"] = accepted.total() - len(accepted)
    found.note("lost", "messages", [(name, owed[name].rule, owed[name].to_state) for name in lost])
    found.note("wrong", "messages", [each for each in told if each.message_id not in by_id])
    found.note("wrong", "order of messages", _resolved_before_firing(told))
    delivered = {each.delivery_id for each in in_log.deliveries if each.outcome == "delivered"}
    found.note("wrong", "deliveries", [each for each in delivered if each not in accepted])


def _first_and_last(owed: Mapping[str, Transition]) -> set[str]:
    """Return the ids of what a channel must hear of each incident; what lies between may be superseded."""
    incidents: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name, each in owed.items():
        incidents[each.incident_id].append((each.seq, name))
    return {name for each in incidents.values() for _, name in (min(each), max(each))}


def _resolved_before_firing(told: Sequence[Told]) -> list[Told]:
    fired = set[str]()
    wrong: list[Told] = []
    for each in told:
        if each.type == "incident.resolved" and each.incident_id not in fired:
            wrong.append(each)
        if each.accepted and each.type != "incident.resolved":
            fired.add(each.incident_id)
    return wrong


async def _check_rows(found: Findings, in_log: InLog, front: Front) -> None:
    client = await asyncio.to_thread(
        cast("Any", clickhouse_connect).get_client,
        host="127.0.0.1",
        port=front.port,
        username=front.user,
        password=front.password,
        autogenerate_session_id=False,
    )
    try:
        for table, wanted in in_log.places.items():
            rows = await _ask(client, PLACES.format(table=table))
            found.compare(f"rows of {table}", wanted, {(_int(p), _int(o)): _int(n) for p, o, n in rows})
        ends = {(str(f), str(h), str(s)): _int(n) for f, h, s, n in await _ask(client, ENDS)}
        runs = {str(r): (str(s), _int(n)) for r, s, n in await _ask(client, RUNS)}
    finally:
        client.close()
    _compare_values(found, "run ends", _ends_of(in_log.events.values()), ends)
    _compare_values(found, "runs", _runs_of(in_log.events.values()), runs)


async def _ask(client: Any, sql: str) -> Sequence[Sequence[object]]:
    """Return all rows; the store would refuse so many."""
    rows: Sequence[Sequence[object]] = (await asyncio.to_thread(client.query, sql)).result_rows
    return rows


def _compare_values(found: Findings, what: str, wanted: Mapping[Any, Any], there: Mapping[Any, Any]) -> None:
    found.seen[what] = len(there)
    found.wanted[what] = len(wanted)
    found.note("lost", what, [each for each in wanted if each not in there])
    found.note("wrong", what, [(each, value) for each, value in there.items() if value != wanted.get(each)])


def _ends_of(events: Iterable[Event]) -> dict[tuple[str, str, str], int]:
    runs: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for event in events:
        if event.kind == "flow-run" and event.state in TERMINAL_STATES:
            runs[event.flow or "", f"{event.occurred:%Y-%m-%dT%H}", event.state or ""].add(event.run or "")
    return {key: len(names) for key, names in runs.items()}


def _runs_of(events: Iterable[Event]) -> dict[str, tuple[str, int]]:
    """Return the newest state of each run, and how often it began."""
    newest: dict[str, Event] = {}
    began: dict[str, set[str]] = defaultdict(set)
    for event in events:
        run = event.run or ""
        known = newest.get(run)
        if known is None or _place(event) > _place(known):
            newest[run] = event
        if event.state == "running":
            began[run].add(str(event.id))
    return {run: (event.state or "", len(began[run])) for run, event in newest.items()}


def _place(event: Event) -> tuple[datetime, int]:
    return event.occurred, ORDER.index(event.state) if event.state else -1


def _int(value: object) -> int:
    return int(str(value))


def as_json(value: object) -> str:
    """Return it as one line."""
    return msgspec.json.encode(value).decode()
