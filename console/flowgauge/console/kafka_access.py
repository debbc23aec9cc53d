"""What each program may do to the topics, groups and transactions of one prefix: what it needs, and nothing else. Pure.

    PROGRAMS[name] ──► statements     what grants it, as kafka-acls takes it
          │
          └─ against what brokers let a user do (access_reader) ──► misfits, each with its remedy

A worker that writes to Kafka itself names the tenant of its events, which brokers cannot check. So its rights are all
that stands between it and everybody's rules, incidents and events: to write events is all that it may do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowgauge.console.groups import ALL_GROUPS, DETECTOR, MATCHER, NOTIFIER, SINK
from flowgauge.schemas import topics
from flowgauge.transport.access_reader import Found, Operation, Operations
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.topic_plan import ALL

# Harmless: brokers before 3.0 ask an idempotent producer for the one, and the other tells nothing of records.
CLUSTER_HARMLESS: Operations = frozenset({Operation.Describe, Operation.IdempotentWrite})
# Whoever may do one of these may do what it implies, without being granted it.
_IMPLIED: Mapping[Operation, Operation] = {
    Operation.Read: Operation.Describe,
    Operation.Write: Operation.Describe,
    Operation.AlterConfigs: Operation.DescribeConfigs,
}
_CLUSTER = "the cluster"
_JOINS: Operations = frozenset({Operation.Read})
_LOOKS: Operations = frozenset({Operation.Describe})


@dataclass(frozen=True, slots=True)
class Rights:
    """What a program needs, by the names of `schemas.topics`; groups as topic and name.

    `joins` are the groups that it is a member of, with transactions for their steps if it `is_transactional`; of those
    in `looks` it only asks where they are.
    """

    topics: Mapping[str, Operations]
    joins: Sequence[tuple[str, str]] = ()
    looks: Sequence[tuple[str, str]] = ()
    is_transactional: bool = False

    def groups(self, names: Names) -> list[str]:
        """Return the groups that it joins, as Kafka knows them."""
        return [names.group(group, topic) for topic, group in self.joins]

    def transactions(self, names: Names) -> list[str]:
        """Return of each group with transactions the id of its first partition's."""
        return [names.transaction(group, topic, 0) for topic, group in self.joins if self.is_transactional]


def _role(
    reads: Iterable[str] = (),
    writes: Iterable[str] = (),
    *,
    joins: Sequence[tuple[str, str]] = (),
    looks: Sequence[tuple[str, str]] = (),
    is_transactional: bool = False,
) -> Rights:
    """Return the rights of a role: it also checks all topics at its start, and reads the log's identity in `state`."""
    checks = {Operation.Describe, Operation.DescribeConfigs}
    reads, writes = {*reads, topics.STATE}, set(writes)
    allowed = {
        topic: frozenset(
            checks
            | ({Operation.Read} if topic in reads else set[Operation]())
            | ({Operation.Write} if topic in writes else set[Operation]())
        )
        for topic in ALL
    }
    return Rights(allowed, joins, looks, is_transactional)


_STORED = tuple(topic for topic, _ in SINK)

WORKER = "worker"
PROGRAMS: Mapping[str, Rights] = {
    WORKER: Rights({topics.EVENTS: frozenset({Operation.Describe, Operation.Write})}),
    "gateway": _role(writes=(topics.EVENTS, topics.DLQ)),
    "pulse": _role(writes=(topics.EVENTS,)),
    "match": _role((topics.EVENTS, topics.RULES), (topics.SAMPLES,), joins=(MATCHER,)),
    "detect": _role(
        (topics.SAMPLES, topics.RULES),
        (topics.STATE, topics.TRANSITIONS),
        joins=(DETECTOR,),
        is_transactional=True,
    ),
    "sink": _role(_STORED, (topics.DLQ,), joins=SINK),
    "notify": _role(
        # The last two to see where detection is: what it has not passed is not told to have ended.
        (topics.TRANSITIONS, topics.OUTBOX, topics.CONTROLS, topics.SAMPLES, topics.RULES),
        (topics.OUTBOX, topics.DELIVERIES),
        joins=(NOTIFIER,),
        looks=(DETECTOR,),
        is_transactional=True,
    ),
    "console": _role(ALL, (topics.EVENTS, topics.RULES, topics.CONTROLS), looks=ALL_GROUPS),
}


def statements(program: str, names: Names, principal: str) -> list[str]:
    """Return what grants `principal` all that a program needs, as arguments of kafka-acls, a line each."""
    rights = PROGRAMS[program]
    granted: list[tuple[str, Iterable[Operation]]] = []
    for needed in dict.fromkeys(rights.topics.values()):
        named = [f"--topic {names.topic(topic)}" for topic, operations in rights.topics.items() if operations == needed]
        granted.append((" ".join(named), needed))
    granted += [(f"--group {name}", _JOINS) for name in rights.groups(names)]
    if looked := [f"--group {names.group(group, topic)}" for topic, group in rights.looks]:
        granted.append((" ".join(looked), _LOOKS))
    for first in rights.transactions(names):
        every = f"--resource-pattern-type prefixed --transactional-id {first.removesuffix('0')}"
        granted.append((every, [Operation.Write]))
    return [f"--add --allow-principal {principal} {_flags(sorted(needed))} {what}" for what, needed in granted]


def misfits(program: str, names: Names, found: Found) -> list[str]:
    """Return what a user that is to run `program` may not do and should, and what it may do and should not."""
    rights = PROGRAMS[program]
    lines: list[str] = []
    for topic in ALL:
        may, needs = found.topics.get(names.topic(topic), frozenset[Operation]()), rights.topics.get(topic, frozenset())
        lines += _missing(names.topic(topic), needs - may, program)
        lines += _excess(names.topic(topic), may - _with_implied(needs), program)
    groups: dict[str, Operations] = dict.fromkeys(asked_about(names)[0], frozenset())
    groups |= dict.fromkeys((names.group(group, topic) for topic, group in rights.looks), _LOOKS)
    groups |= dict.fromkeys(rights.groups(names), _JOINS)
    for group, needs in sorted(groups.items()):
        may = found.groups.get(group, frozenset[Operation]())
        lines += _missing(f"group {group}", needs - may, program)
        lines += _excess(f"group {group}", may - _with_implied(needs), program)
    needed = set(rights.transactions(names))
    lines += [
        f"transactional id {name}: it may not ask about it ({_GRANT.format(program)})"
        for name in sorted(needed - found.transactions)
    ]
    lines += [
        f"transactional id {name}: it may ask about it, and {program} needs not ({_TAKE})"
        for name in sorted(found.transactions - needed)
    ]
    return lines + _excess(_CLUSTER, found.cluster - CLUSTER_HARMLESS, program)


def all_fine(program: str) -> str:
    """Return what is said where there are no misfits, and what nobody could look at."""
    unknown = "; whether it may write under its transactional ids brokers do not tell"
    rest = unknown if PROGRAMS[program].is_transactional else ""
    return f"this user may do what {program} needs, and nothing else{rest}"


def asked_about(names: Names) -> tuple[list[str], list[str]]:
    """Return the groups of a log and, of each that has transactions, the id of the first."""
    rights = PROGRAMS.values()
    return (
        [name for each in rights for name in each.groups(names)],
        [name for each in rights for name in each.transactions(names)],
    )


_GRANT = "flowgauge topics access --as {} says what grants it"
_TAKE = (
    "kafka-acls --list says what grants it; a super user may do all, and so may all where brokers have no authorizer"
)


def _missing(name: str, operations: Operations, program: str) -> list[str]:
    return [f"{name}: it may not {_listed(operations)} ({_GRANT.format(program)})"] if operations else []


def _excess(name: str, operations: Operations, program: str) -> list[str]:
    return [f"{name}: it may {_listed(operations)}, and {program} needs not ({_TAKE})"] if operations else []


def _flags(operations: Iterable[Operation]) -> str:
    return " ".join(f"--operation {each.name}" for each in operations)


def _with_implied(operations: Operations) -> Operations:
    return operations | {_IMPLIED[each] for each in operations if each in _IMPLIED}


def _listed(operations: Operations) -> str:
    return ", ".join(each.name for each in sorted(operations))
