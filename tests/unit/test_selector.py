"""Selectors: which events match, and the group they belong to."""

from uuid import UUID

import msgspec
import pytest

from flowgauge.processors.selector import getter, predicate, text_test
from flowgauge.schemas.event import Event
from flowgauge.schemas.times import EPOCH


def event(**fields: object) -> Event:
    base = {"id": UUID(int=1), "tenant": "t", "occurred": EPOCH, "event": "x", "resource": {"id": "r", "env": "prod"}}
    return msgspec.convert(base | fields, Event)


@pytest.mark.parametrize(
    ("patterns", "yes", "no"),
    [
        (["orders"], ["orders"], ["orders-1", "Orders", ""]),
        (["orders-*"], ["orders-", "orders-sync"], ["orders", "my-orders-1"]),
        (["dev-?", "stage"], ["dev-1", "stage"], ["dev-12", "stage2"]),
        (["dev-[12]"], ["dev-1"], ["dev-3"]),
        (["*"], ["", "anything"], []),
        (["!dev-*"], ["prod", ""], ["dev-1"]),
        (["dev-*", "!dev-1"], ["dev-2"], ["dev-1", "prod"]),
        (["!dev-1", "dev-*", "!dev-2"], ["dev-3"], ["dev-1", "dev-2"]),
        (["a.b"], ["a.b"], ["axb"]),  # a point is a point
        (["a*\n*"], ["a\nb"], ["ab"]),
        (["!"], ["a"], [""]),
    ],
)
def test_lists_are_or_and_exclamation_marks_are_not(patterns: list[str], yes: list[str], no: list[str]) -> None:
    test = text_test(patterns)

    assert [text for text in (*yes, *no) if test(text)] == yes


def test_an_event_without_the_field_never_matches_not_even_a_negation() -> None:
    assert not predicate("flow", ["!orders"])(event())
    assert not predicate("resource.region", ["!eu"])(event())
    assert not predicate("related.flow.name", ["!orders"])(event())
    assert predicate("flow", ["!orders"])(event(flow="etl"))


def test_labels_of_the_resource_match_by_name() -> None:
    assert predicate("resource.env", ["prod"])(event())
    assert not predicate("resource.env", ["dev"])(event())


def test_any_related_thing_of_the_role_may_match() -> None:
    tags = [{"id": "a", "role": "tag"}, {"id": "b", "role": "tag"}, {"id": "c", "role": "flow"}]

    assert predicate("related.tag.id", ["b"])(event(related=tags))
    assert not predicate("related.tag.id", ["c"])(event(related=tags))
    assert predicate("related.tag.id", ["!a"])(event(related=tags))  # b is a tag that is not a


def test_a_label_name_may_hold_points() -> None:
    assert getter("resource.k8s.pod")(event(resource={"id": "r", "k8s.pod": "p"})) == "p"
    assert getter("related.pod.k8s.name")(event(related=[{"id": "a", "role": "pod", "k8s.name": "n"}])) == "n"


def test_the_group_value_of_related_things_is_that_of_the_first_that_has_it() -> None:
    related = [
        {"id": "a", "role": "pool"},
        {"id": "b", "role": "pool", "name": "x"},
        {"id": "c", "role": "pool", "name": "y"},
    ]

    assert getter("related.pool.name")(event(related=related)) == "x"
    assert getter("related.queue.name")(event(related=related)) is None
    assert getter("flow")(event()) is None
