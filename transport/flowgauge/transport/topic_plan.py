"""What the topics of a cluster should be, against what they are: steps that lose nothing, and refusals. Pure.

    wanted_topics(sizes) ─┐
                          ├─► plan_topics ─► Plan(steps, refusals)
    what the cluster has ─┘

A step is one of: create a topic, change one of its settings, add partitions to events. Those of a log in use are
announced in it first, so that every pane waits for the new sources too. All else that differs is refused with its
remedy, for one of these reasons:

1. Records would be lost: fewer partitions, compact → delete, a shorter retention (which alone can be allowed).
2. State would no longer meet its input: the partitions of samples and state, of transitions and outbox, of the
   topics that are read as a whole.
3. The clock of detection would be other than the broker's: message.timestamp.type. Records that stand there already
   keep the time of their producer, so no change mends it.
4. We cannot do it: more replicas is a move of data that the cluster's operator plans.

Settings of a topic that are not named here are its operator's own; no step touches them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowgauge.schemas import topics
from flowgauge.transport.kafka_names import Names

CLEANUP = "cleanup.policy"
RETENTION = "retention.ms"
TIMESTAMP = "message.timestamp.type"
MESSAGE_BYTES = "max.message.bytes"
PARTITIONS = "partitions"
REPLICAS = "replicas"

MESSAGE_BYTES_MAX = 4 * 1_048_576  # what our producers send at most as one batch; the cluster's default is 1 MiB
SEGMENT_BYTES_MAX = 32 * 1_048_576  # compaction leaves the newest segment alone, and a restore reads all of it
FOREVER: Final = -1  # what Kafka calls a retention without end

# Read by key, so only the newest record of each is needed.
COMPACT = frozenset({topics.STATE, topics.RULES, topics.CONTROLS, topics.OUTBOX})
ALL = (
    topics.EVENTS,
    topics.SAMPLES,
    topics.STATE,
    topics.TRANSITIONS,
    topics.RULES,
    topics.CONTROLS,
    topics.OUTBOX,
    topics.DELIVERIES,
    topics.DLQ,
)
_SIZED_BY = {topics.EVENTS: "partitions", topics.SAMPLES: "samples_partitions", topics.STATE: "samples_partitions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What people choose about topics."""

    partitions: int = 1  # of events
    samples_partitions: int = 1  # of samples and state
    retention_ms: int = 7 * 86_400_000
    replication: int = 3

    @property
    def in_sync_min(self) -> int:
        """How many replicas hold a record before it counts: all but one, so that one broker may be away."""
        return max(1, self.replication - 1)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the cluster, as wanted or as found. `settings` may hold more when found."""

    name: str
    partitions: int
    replicas: int  # of the partition that has the fewest
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Create:
    """Make a topic that is missing."""

    topic: Topic


@dataclass(frozen=True, slots=True)
class AddPartitions:
    """Grow a topic. One that `is_in_use` only after the log was told (flowgauge.processors.growing)."""

    topic: str
    found: int
    wanted: int
    is_in_use: bool = False


@dataclass(frozen=True, slots=True)
class ChangeSetting:
    """Give a topic's setting another value."""

    topic: str
    setting: str
    found: str  # "" where the cluster tells none
    wanted: str


Step = Create | AddPartitions | ChangeSetting


@dataclass(frozen=True, slots=True)
class Refusal:
    """A difference that no step mends: what would break, and what to do instead."""

    topic: str
    setting: str
    found: str
    wanted: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.topic}: {self.setting} is {self.found}, not {self.wanted}: {self.reason} ({self.remedy})"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in order, and what will not be done."""

    steps: tuple[Step, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Tell whether the topics are as wanted."""
        return not self.steps and not self.refusals


def wanted_topics(names: Names, sizes: Sizes) -> tuple[Topic, ...]:
    """Return every topic of a log, in the order of the pipeline."""
    return tuple(_wanted(topic, names, sizes) for topic in ALL)


def plan_topics(
    names: Names,
    sizes: Sizes,
    found: Mapping[str, Topic],
    *,
    is_in_use: bool = False,
    allow_shorter_retention: bool = False,
) -> Plan:
    """Return what makes `found` (name → topic; a missing one is not in it) what `sizes` asks for.

    `is_in_use` says that the log has had rules or detection, so that it must be told before its events grow.
    `allow_shorter_retention` lets records go that are older than the wanted retention; nothing else loses any.
    """
    steps: list[Step] = []
    refusals: list[Refusal] = []
    for logical in ALL:
        wanted = _wanted(logical, names, sizes)
        has = found.get(wanted.name)
        if has is None:
            steps.append(Create(wanted))
            continue
        differences = [_partitions(logical, has, wanted, is_in_use=is_in_use), _replicas(has, wanted)]
        differences += [
            _setting(has, wanted, setting, allow_shorter_retention=allow_shorter_retention)
            for setting in wanted.settings
        ]
        for difference in differences:
            if isinstance(difference, Refusal):
                refusals.append(difference)
            elif difference is not None:
                steps.append(difference)
    return Plan(tuple(steps), tuple(refusals))


def after_step(found: Mapping[str, Topic], step: Step) -> dict[str, Topic]:
    """Return what the cluster has after `step`."""
    match step:
        case Create(topic):
            return {**found, topic.name: topic}
        case AddPartitions(name, _, wanted, _):
            has = found[name]
            return {**found, name: Topic(name, wanted, has.replicas, has.settings)}
        case ChangeSetting(name, setting, _, value):
            has = found[name]
            return {**found, name: Topic(name, has.partitions, has.replicas, {**has.settings, setting: value})}


def differences(plan: Plan) -> list[str]:
    """Return each difference as one line with its remedy: what a role says that will not start."""
    remedy = "(flowgauge topics apply)"
    lines: list[str] = []
    for step in plan.steps:
        match step:
            case Create(topic):
                lines.append(f"{topic.name}: there is no such topic {remedy}")
            case AddPartitions(name, has, wanted, _):
                lines.append(f"{name}: {PARTITIONS} is {has}, not {wanted} {remedy}")
            case ChangeSetting(name, setting, has, wanted):
                lines.append(f"{name}: {setting} is {has or 'not told'}, not {wanted} {remedy}")
    return [*lines, *(str(refusal) for refusal in plan.refusals)]


def _wanted(logical: str, names: Names, sizes: Sizes) -> Topic:
    partitions = {
        topics.EVENTS: sizes.partitions,
        topics.SAMPLES: sizes.samples_partitions,
        topics.STATE: sizes.samples_partitions,  # one of state for each of samples
    }.get(logical, 1)
    return Topic(names.topic(logical), partitions, sizes.replication, _settings(logical, sizes))


def _settings(logical: str, sizes: Sizes) -> dict[str, str]:
    settings = {
        CLEANUP: "compact" if logical in COMPACT else "delete",
        TIMESTAMP: "LogAppendTime",  # the only clock of detection
        "min.insync.replicas": str(sizes.in_sync_min),
        "unclean.leader.election.enable": "false",  # a replica that lags would take acknowledged records back
        MESSAGE_BYTES: str(MESSAGE_BYTES_MAX),
        "compression.type": "lz4",  # what our producers send; others are packed by the broker, for readers' sake
    }
    if logical in COMPACT:
        return settings | {"segment.bytes": str(SEGMENT_BYTES_MAX)}
    return settings | {RETENTION: str(sizes.retention_ms), "retention.bytes": str(FOREVER)}


def _partitions(logical: str, has: Topic, wanted: Topic, *, is_in_use: bool) -> Step | Refusal | None:
    if has.partitions == wanted.partitions:
        return None
    if logical == topics.EVENTS and has.partitions > wanted.partitions:
        reason = "Kafka takes no partitions away"
    elif logical == topics.EVENTS:
        return AddPartitions(has.name, has.partitions, wanted.partitions, is_in_use)
    elif logical in (topics.SAMPLES, topics.STATE):
        reason = "detection keeps its state by partition"
    else:
        reason = "its records are found by partition"
    remedy = "delete it if it is empty, or set another kafka.prefix"
    if sized_by := _SIZED_BY.get(logical):
        remedy = f"set {sized_by} = {has.partitions}, or move to a new log: docs/kafka.md"
    return Refusal(has.name, PARTITIONS, str(has.partitions), str(wanted.partitions), reason, remedy)


def _replicas(has: Topic, wanted: Topic) -> Refusal | None:
    """More than wanted is the operator's own choice."""
    if has.replicas >= wanted.replicas:
        return None
    reason = "adding replicas moves data between brokers"
    remedy = f"use kafka-reassign-partitions, or set kafka.replication = {has.replicas}"
    return Refusal(has.name, REPLICAS, str(has.replicas), str(wanted.replicas), reason, remedy)


def _setting(has: Topic, wanted: Topic, setting: str, *, allow_shorter_retention: bool) -> Step | Refusal | None:
    value, present = wanted.settings[setting], has.settings.get(setting, "")
    if _is_as_wanted(setting, present, value):
        return None
    refused = None
    if setting == TIMESTAMP:
        reason = "its records would move the clock of detection"
        refused = (reason, "delete it if it is empty, or set another kafka.prefix; then flowgauge topics apply")
    elif setting == CLEANUP and value == "delete" and "delete" not in _policies(present):
        reason = f"records older than {RETENTION} would be lost"
        refused = (reason, f"if they may go: kafka-configs --alter --add-config {CLEANUP}=delete")
    elif setting == RETENTION and _ends_earlier(value, present) and not allow_shorter_retention:
        reason = "older records would be lost"
        refused = (reason, "set retention_days as it is there, or flowgauge topics apply --allow-shorter-retention")
    if refused:
        return Refusal(has.name, setting, present or "not told", value, *refused)
    return ChangeSetting(has.name, setting, present, value)


def _is_as_wanted(setting: str, present: str, value: str) -> bool:
    if setting == CLEANUP:
        return _policies(present) == _policies(value)
    if setting == MESSAGE_BYTES and present.isdecimal():
        return int(present) >= int(value)  # room for more is the operator's own
    return present == value


def _policies(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _ends_earlier(value: str, present: str) -> bool:
    """Tell whether retention `value` ends before `present`, which may have no end or not be told."""
    return not present.isdecimal() or int(value) < int(present)
