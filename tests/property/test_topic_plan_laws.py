"""Plans for topics converge, and none of their steps loses a record that somebody still needs.

What is kept is asked of a model of its own: records of a topic are (key, age), and cleanup decides by them alone.
"""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.schemas import topics
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.topic_plan import (
    ALL,
    AddPartitions,
    ChangeSetting,
    Create,
    Plan,
    Sizes,
    Topic,
    after_step,
    plan_topics,
    wanted_topics,
)

NAMES = Names("flowgauge")
DAY_MS = 86_400_000
READ_BY_KEY = {"flowgauge.state", "flowgauge.rules", "flowgauge.controls", "flowgauge.outbox"}
RECORDS = [(key, age * DAY_MS) for key in "ab" for age in (0, 1, 3, 6, 8, 20, 400)]

sizes = st.builds(
    Sizes,
    partitions=st.integers(1, 9),
    samples_partitions=st.integers(1, 9),
    retention_ms=st.sampled_from([DAY_MS, 7 * DAY_MS, 30 * DAY_MS]),
    replication=st.integers(1, 3),
)
SETTINGS: Mapping[str, st.SearchStrategy[str]] = {
    "cleanup.policy": st.sampled_from(["delete", "compact", "compact,delete", "delete, compact", ""]),
    "retention.ms": st.sampled_from(["-1", str(DAY_MS), str(7 * DAY_MS), str(365 * DAY_MS)]),
    "retention.bytes": st.sampled_from(["-1", "1000000"]),
    "message.timestamp.type": st.sampled_from(["LogAppendTime", "LogAppendTime", "CreateTime"]),
    "min.insync.replicas": st.sampled_from(["1", "2", "3"]),
    "max.message.bytes": st.sampled_from(["1048588", "4194304", "9000000"]),
    "compression.type": st.sampled_from(["producer", "lz4", "gzip"]),
    "segment.bytes": st.sampled_from(["1073741824", "33554432"]),
    "unclean.leader.election.enable": st.sampled_from(["true", "false"]),
    "flush.ms": st.just("17"),  # the operator's own
}


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Topic]:
    """Draw some of our topics in any state, and one that is not ours."""
    found = {"theirs": Topic("theirs", 1, 1, {"retention.ms": "1"})}
    for name in draw(st.sets(st.sampled_from(ALL))):
        settings = draw(st.fixed_dictionaries({}, optional=dict(SETTINGS)))
        found[name] = Topic(name, draw(st.integers(1, 9)), draw(st.integers(1, 3)), settings)
    return found


def kept(topic: Topic) -> set[tuple[str, int]]:
    """Return the records that the cluster keeps of RECORDS, were they in every partition of `topic`."""
    policy = topic.settings.get("cleanup.policy", "delete")
    retention_ms = int(topic.settings.get("retention.ms", "-1"))
    records = set(RECORDS)
    if "delete" in policy and retention_ms >= 0:
        records = {record for record in records if record[1] <= retention_ms}
    if "compact" in policy:
        records = {(key, age) for key, age in records if age == min(a for k, a in records if k == key)}
    if "delete" in policy and topic.settings.get("retention.bytes", "-1") != "-1":
        records = {record for record in records if record[1] <= DAY_MS}
    return records


def needed(topic: Topic) -> set[tuple[str, int]]:
    """Return the records that readers of `topic` need: the newest of a key where they read by key."""
    newest = {record for record in RECORDS if record[1] == 0}
    return newest if topic.name in READ_BY_KEY else set(RECORDS)


def applied(found: Mapping[str, Topic], plan: Plan) -> dict[str, Topic]:
    after = dict(found)
    for step in plan.steps:
        after = after_step(after, step)
    return after


@given(clusters(), sizes, st.booleans(), st.booleans())
def test_after_the_steps_of_a_plan_only_its_refusals_are_left(
    found: dict[str, Topic], wanted: Sizes, in_use: bool, allowed: bool
) -> None:
    plan = plan_topics(NAMES, wanted, found, is_in_use=in_use, allow_shorter_retention=allowed)

    again = plan_topics(NAMES, wanted, applied(found, plan), is_in_use=in_use, allow_shorter_retention=allowed)

    assert again == Plan((), plan.refusals)


@given(clusters(), sizes)
def test_no_step_loses_a_record_that_a_reader_needs(found: dict[str, Topic], wanted: Sizes) -> None:
    before = dict(found)
    for step in plan_topics(NAMES, wanted, found).steps:
        after = after_step(before, step)

        assert before.keys() <= after.keys()
        for name, topic in before.items():
            assert kept(topic) & needed(topic) <= kept(after[name]), step
            assert topic.partitions <= after[name].partitions
        before = after


@given(clusters(), sizes, st.booleans(), st.booleans())
def test_no_step_moves_state_away_from_its_input_nor_the_clock(
    found: dict[str, Topic], wanted: Sizes, in_use: bool, allowed: bool
) -> None:
    for step in plan_topics(NAMES, wanted, found, is_in_use=in_use, allow_shorter_retention=allowed).steps:
        match step:
            case AddPartitions(topic):
                assert (topic, step.is_in_use) == (topics.EVENTS, in_use)
                assert step.found < step.wanted
            case ChangeSetting(_, setting):
                assert setting != "message.timestamp.type"
            case Create(topic):
                assert topic.name not in found
                assert topic.settings["message.timestamp.type"] == "LogAppendTime"


@given(clusters(), sizes)
def test_what_is_not_ours_stays_as_it_is(found: dict[str, Topic], wanted: Sizes) -> None:
    after = applied(found, plan_topics(NAMES, wanted, found))

    assert after["theirs"] == found["theirs"]
    assert all(topic.settings.get("flush.ms") == after[name].settings.get("flush.ms") for name, topic in found.items())


@given(sizes)
def test_state_has_a_partition_for_each_of_samples(wanted: Sizes) -> None:
    partitions = {topic.name: topic.partitions for topic in wanted_topics(NAMES, wanted)}

    assert partitions[topics.STATE] == partitions[topics.SAMPLES]
    assert len(partitions) == 9
