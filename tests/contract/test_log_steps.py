"""Contract of the `Log` port: exactly-once steps."""

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.contract_log import NOTHING_MS, SOON_MS, OpenLog, events, output, see, take_assigned

from flowgauge.schemas.errors import Fenced, InvariantBroken
from flowgauge.schemas.topics import EVENTS, SAMPLES, TRANSITIONS
from flowgauge.transport.log import STATE_RECORD_BYTES_MAX, Log, Revoked


async def test_the_first_thing_told_is_each_partition_with_its_state(log: Log) -> None:
    await log.append(EVENTS, [*events(b"a"), *events(b"b", partition=1)])
    steps = await log.open_steps(EVENTS, "detector")

    assigned = await take_assigned(steps)
    seen = await see(steps, 2)

    assert {p: (a.next_offset, dict(a.state)) for p, a in assigned.items()} == {0: (0, {}), 1: (0, {})}
    assert (seen.values(0), seen.values(1), seen.assigned) == ([b"a"], [b"b"], {})


async def test_a_step_shows_state_outputs_and_offset_together(open_log: OpenLog) -> None:
    log = await open_log()
    offsets = await log.append(SAMPLES, events(b"1", b"2"))
    steps = await log.open_steps(SAMPLES, "detector")
    await take_assigned(steps)
    await steps.commit(
        0,
        next_offset=offsets[1],
        state={"sum": b"1"},
        outputs=[output(TRANSITIONS, b"fired", 1), output(EVENTS, b"told"), output(TRANSITIONS, b"resolved", 1)],
    )
    await log.close()

    log = await open_log()
    steps = await log.open_steps(SAMPLES, "detector")

    assigned = (await take_assigned(steps))[0]
    assert (assigned.next_offset, dict(assigned.state)) == (offsets[1], {"sum": b"1"})
    assert [r.value for r in await log.read(TRANSITIONS, 1, 0, 10)] == [b"fired", b"resolved"]
    assert [r.value for r in await log.read(EVENTS, 0, 0, 10)] == [b"told"]
    assert (await see(steps, 1)).values() == [b"2"]


async def test_a_step_that_was_not_committed_never_happened(open_log: OpenLog) -> None:
    log = await open_log()
    await log.append(SAMPLES, events(b"1", b"2"))
    steps = await log.open_steps(SAMPLES, "detector")
    await take_assigned(steps)
    await see(steps, 2)
    await steps.close()

    steps = await (await open_log()).open_steps(SAMPLES, "detector")

    assigned = (await take_assigned(steps))[0]
    assert (assigned.next_offset, dict(assigned.state)) == (0, {})
    assert (await see(steps, 2)).values() == [b"1", b"2"]


async def test_a_fenced_step_changes_nothing(open_log: OpenLog) -> None:
    here, elsewhere = await open_log(), await open_log()
    await here.append(SAMPLES, events(b"1"))
    for later in (here, elsewhere):
        former = await here.open_steps(SAMPLES, "detector")
        await former.commit(0, next_offset=0, state={"owner": b"former"}, outputs=[])
        newer = await later.open_steps(SAMPLES, "detector")

        with pytest.raises(Fenced):
            await former.commit(
                0, next_offset=1, state={"owner": None, "x": b"1"}, outputs=[output(TRANSITIONS, b"ghost")]
            )

        assigned = (await take_assigned(newer))[0]
        assert (assigned.next_offset, dict(assigned.state)) == (0, {"owner": b"former"})
    assert await here.read(TRANSITIONS, 0, 0, 10) == []


async def test_a_fenced_owner_is_told_when_it_polls_and_what_it_still_gets_is_not_its_to_commit(
    open_log: OpenLog,
) -> None:
    here, elsewhere = await open_log(), await open_log()
    former = await here.open_steps(SAMPLES, "detector")
    await take_assigned(former)
    newer = await elsewhere.open_steps(SAMPLES, "detector")
    await take_assigned(newer)

    await here.append(SAMPLES, events(b"1"))

    assert (await see(newer, 1)).values() == [b"1"]
    with pytest.raises(Fenced):
        await former.commit(0, next_offset=1, state={}, outputs=[])
    with contextlib.suppress(Fenced):  # either way it knows
        while Revoked(0) not in await former.poll(records_max=10, timeout_ms=SOON_MS):
            pass


async def test_a_fenced_step_among_others_spoils_none_of_them(log: Log) -> None:
    await log.append(SAMPLES, events(b"1"))
    former = await log.open_steps(SAMPLES, "detector")
    newer = await log.open_steps(SAMPLES, "detector")
    steps = await log.open_steps(EVENTS, "notifier")

    results = await asyncio.gather(
        log.append(TRANSITIONS, events(b"append")),
        former.commit(0, next_offset=1, state={"a": b"former"}, outputs=[output(TRANSITIONS, b"ghost")]),
        newer.commit(0, next_offset=1, state={"a": b"newer"}, outputs=[output(TRANSITIONS, b"real")]),
        steps.commit(0, next_offset=None, state={"b": b"1"}, outputs=[output(TRANSITIONS, b"other")]),
        return_exceptions=True,
    )

    assert [type(result) for result in results if isinstance(result, Exception)] == [Fenced]
    assert sorted(r.value or b"" for r in await log.read(TRANSITIONS, 0, 0, 10)) == [b"append", b"other", b"real"]
    again = await log.open_steps(SAMPLES, "detector")
    assert dict((await take_assigned(again))[0].state) == {"a": b"newer"}


async def test_a_step_without_a_next_offset_keeps_the_offset(log: Log) -> None:
    offsets = await log.append(SAMPLES, events(b"1", b"2"))
    steps = await log.open_steps(SAMPLES, "detector")
    await steps.commit(0, next_offset=offsets[1], state={}, outputs=[])

    await steps.commit(0, next_offset=None, state={"timer": b"9"}, outputs=[])

    assigned = (await take_assigned(await log.open_steps(SAMPLES, "detector")))[0]
    assert (assigned.next_offset, dict(assigned.state)) == (offsets[1], {"timer": b"9"})


async def test_a_none_value_deletes_a_state_record_and_deleting_what_is_not_there_is_fine(log: Log) -> None:
    steps = await log.open_steps(SAMPLES, "detector")
    await steps.commit(0, next_offset=None, state={"a": b"1", "b": b"", "c": b"3"}, outputs=[])

    await steps.commit(0, next_offset=None, state={"a": None, "never": None, "c": b"4"}, outputs=[])

    assigned = (await take_assigned(await log.open_steps(SAMPLES, "detector")))[0]
    assert dict(assigned.state) == {"b": b"", "c": b"4"}


async def test_each_partition_and_each_group_has_its_own_state(log: Log) -> None:
    await log.append(EVENTS, [*events(b"", b""), *events(b"", b"", b"", partition=1)])
    detector, notifier = await log.open_steps(EVENTS, "detector"), await log.open_steps(EVENTS, "notifier")
    await detector.commit(0, next_offset=1, state={"key": b"detector 0"}, outputs=[])
    await detector.commit(1, next_offset=2, state={"key": b"detector 1"}, outputs=[])
    await notifier.commit(1, next_offset=3, state={"key": b"notifier 1"}, outputs=[])

    found = {
        group: {
            partition: (each.next_offset, dict(each.state))
            for partition, each in (await take_assigned(await log.open_steps(EVENTS, group))).items()
        }
        for group in ("detector", "notifier")
    }

    assert found["detector"] == {0: (1, {"key": b"detector 0"}), 1: (2, {"key": b"detector 1"})}
    assert found["notifier"] == {0: (0, {}), 1: (3, {"key": b"notifier 1"})}


async def test_a_state_record_may_be_as_large_as_the_port_says_and_no_larger(log: Log) -> None:
    steps = await log.open_steps(SAMPLES, "detector")
    largest = b"x" * STATE_RECORD_BYTES_MAX
    await steps.commit(0, next_offset=None, state={"large": largest}, outputs=[])

    with pytest.raises(InvariantBroken, match=r"'huge'.*262145 bytes.*split"):
        await steps.commit(0, next_offset=5, state={"huge": largest + b"x", "large": None}, outputs=[])

    assigned = (await take_assigned(await log.open_steps(SAMPLES, "detector")))[0]
    assert (assigned.next_offset, dict(assigned.state)) == (0, {"large": largest})


async def test_a_step_with_an_output_that_cannot_be_written_changes_nothing(log: Log) -> None:
    steps = await log.open_steps(SAMPLES, "detector")

    with pytest.raises(InvariantBroken):
        await steps.commit(
            0, next_offset=5, state={"a": b"1"}, outputs=[output(TRANSITIONS, b"good"), output(TRANSITIONS, b"bad", 9)]
        )

    assigned = (await take_assigned(await log.open_steps(SAMPLES, "detector")))[0]
    assert (assigned.next_offset, dict(assigned.state)) == (0, {})
    assert await log.read(TRANSITIONS, 0, 0, 10) == []


async def test_steps_read_what_they_write_to_their_own_topic(log: Log) -> None:
    steps = await log.open_steps(SAMPLES, "detector")
    await take_assigned(steps)

    await steps.commit(0, next_offset=None, state={}, outputs=[output(SAMPLES, b"again")])

    assert (await see(steps, 1)).values() == [b"again"]
    assert await steps.poll(records_max=1, timeout_ms=NOTHING_MS) == []


ACTIONS_MAX = 12  # in one example
STORIES = int(os.environ.get("FLOWGAUGE_STORIES", "8"))  # `make torture` does more


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens to a group: a step by its owner or by the one before, an opening, a restart."""

    what: Literal["commit", "stale", "open", "restart"]
    partition: int
    changes: dict[str, bytes | None]
    outputs: list[bytes]


_ACTIONS = st.builds(
    Action,
    st.sampled_from(["commit", "commit", "stale", "open", "restart"]),
    st.integers(0, 1),
    st.dictionaries(st.sampled_from(["", "a", "b", "rule/ключ/0"]), st.none() | st.binary(max_size=20), max_size=4),
    st.lists(st.binary(max_size=5), max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=STORIES)
@given(actions=st.lists(_ACTIONS, max_size=ACTIONS_MAX))
async def test_restored_state_is_exactly_what_was_committed(open_log: OpenLog, actions: list[Action]) -> None:
    name = uuid4().hex  # each example has a log of its own
    log = await open_log(name)
    states: dict[int, dict[str, bytes]] = {0: {}, 1: {}}
    offsets = {0: 0, 1: 0}
    await log.append(EVENTS, [record for p in offsets for record in events(*[b""] * ACTIONS_MAX, partition=p)])
    outputs: list[bytes] = []
    former = steps = await log.open_steps(EVENTS, "detector")

    for action in actions:
        told = [output(TRANSITIONS, value) for value in action.outputs]
        if action.what == "commit":
            offsets[action.partition] += 1
            next_offset = offsets[action.partition]
            await steps.commit(action.partition, next_offset=next_offset, state=action.changes, outputs=told)
            merged = {**states[action.partition], **action.changes}
            states[action.partition] = {key: value for key, value in merged.items() if value is not None}
            outputs += action.outputs
        elif action.what == "stale":
            if former is not steps:
                with pytest.raises(Fenced):
                    await former.commit(action.partition, next_offset=99, state=action.changes, outputs=told)
        elif action.what == "open":
            former, steps = steps, await log.open_steps(EVENTS, "detector")
        else:
            await log.close()
            log = await open_log(name)
            former = steps = await log.open_steps(EVENTS, "detector")

    restored = await take_assigned(await log.open_steps(EVENTS, "detector"))
    assert {p: dict(each.state) for p, each in restored.items()} == states
    assert {p: each.next_offset for p, each in restored.items()} == offsets
    assert [r.value for r in await log.read(TRANSITIONS, 0, 0, 100)] == outputs
    await log.close()
