"""Groups by themselves: who goes together and when, and what is forgotten."""

from tests.actions_about import NOW_MS, firing

from flowgauge.sinks.webhooks.groups import MEMBERS_MAX, Groups
from flowgauge.sinks.webhooks.policy import Grouping

LANE = ("acme", "ops")
BY_RULE = Grouping(("rule",), wait_ms=1_000, interval_ms=15_000)


def test_each_group_waits_for_itself_and_the_one_that_is_ready_first_goes_first() -> None:
    groups = Groups()
    b, a, c = firing("f1", rule="b"), firing("f2", rule="a"), firing("f3", rule="b")
    groups.add(LANE, BY_RULE, b, NOW_MS)
    groups.add(LANE, BY_RULE, a, NOW_MS + 1)
    groups.add(LANE, BY_RULE, c, NOW_MS + 2)

    assert groups.ready_ms(LANE) == NOW_MS + 1_000
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 999)) == []
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 1_001)) == [b.incident_id, c.incident_id]
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 1_001)) == [a.incident_id]
    assert (groups.lanes(), groups.ready_ms(LANE)) == ([], None)


def test_a_group_that_went_waits_for_its_interval_and_is_forgotten_when_nobody_came_in_it() -> None:
    groups = Groups()
    first, second, third = firing("f1"), firing("f2"), firing("f3")
    groups.add(LANE, BY_RULE, first, NOW_MS)
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 1_000)) == [first.incident_id]

    groups.add(LANE, BY_RULE, second, NOW_MS + 1_001)
    assert groups.ready_ms(LANE) == NOW_MS + 16_000
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 16_000)) == [second.incident_id]
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 31_000)) == []

    groups.add(LANE, BY_RULE, third, NOW_MS + 31_001)
    assert groups.ready_ms(LANE) == NOW_MS + 32_001


def test_who_comes_twice_is_one_and_what_does_not_fit_into_a_message_goes_with_the_next() -> None:
    groups = Groups()
    members = [firing(f"f{number}") for number in range(MEMBERS_MAX + 1)]
    for each in (*members, members[0]):
        groups.add(LANE, BY_RULE, each, NOW_MS)

    assert len(groups.take_ready(LANE, BY_RULE, NOW_MS + 1_000)) == MEMBERS_MAX
    assert groups.lanes() == [LANE]
    groups.step_back(10_000)
    assert list(groups.take_ready(LANE, BY_RULE, NOW_MS + 6_000)) == [members[-1].incident_id]
    assert groups.lanes() == []
