"""Identities: pinned, because a new version must make the ids of the old one."""

from flowgauge.schemas.ids import (
    delivery_id,
    digest,
    events_partition,
    incident_id,
    samples_partition,
    transition_id,
)

PINNED = ("5c37a1288fa07a35d4f112c1a956337f", "f0a167ed96b2ae14b63a8eb8113b1a9e", "07db7b2c055de169fa99c17d7848fd81")
PINNED_PARTITIONS = (3, 5)


def test_ids_are_what_they_have_always_been() -> None:
    incident = incident_id("acme", "orders failing", ["orders-sync"], 1_790_000_000_000)
    transition = transition_id(incident, 0, "firing")

    assert (incident, transition, delivery_id(transition, "data-oncall")) == PINNED
    assert samples_partition("acme", "orders failing", ["orders-sync"], 7) == PINNED_PARTITIONS[0]
    assert events_partition("orders-sync", 7) == PINNED_PARTITIONS[1]


def test_ids_are_128_bits_in_hex_and_tell_every_part_apart() -> None:
    ids = {
        incident_id("a", "b", ["c"], 1),
        incident_id("a", "bc", [], 1),
        incident_id("a", "b", ["c", ""], 1),
        incident_id("a", "b", ["c"], 2),
        incident_id("ab", "", ["c"], 1),
    }

    assert len(ids) == 5
    assert {len(each) for each in ids} == {32}


def test_a_key_may_hold_any_text() -> None:
    assert digest("a", ["\x00/\ud7ff€"]) != digest("a", ["\x00/\ud7ff"])
    assert 0 <= events_partition("\x00€", 3) < 3
