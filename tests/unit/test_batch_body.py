"""A body cut into events: what was not meant as a batch costs little, and says so."""

import pytest

from flowgauge.producers.gateway.batch_body import EVENTS_MAX, BodyTooLarge, BrokenBody, split_events

JSON = "application/json"


@pytest.mark.parametrize(
    "body",
    [b"[" + b'"\\' * 2_000_000, b'["' + b'a\\"' * 2_000_000, b'["' + b"\\" * 2_000_001, b'[{"a' + b"x" * 5_000_000],
    ids=["half an escape at the end", "escaped quotes", "backslashes", "no end"],
)
def test_a_string_that_never_closes_is_looked_at_once(body: bytes) -> None:
    with pytest.raises(BrokenBody, match="does not end where its first bracket closes"):
        split_events(body, JSON)


@pytest.mark.parametrize("count", [EVENTS_MAX + 1, 900_000, 3_000_000])
def test_a_list_of_too_many_tiny_elements_is_refused_with_the_bound_and_the_remedy(count: int) -> None:
    with pytest.raises(BodyTooLarge, match=f"more than {EVENTS_MAX} events: send smaller batches"):
        split_events(b"[" + b"1," * (count - 1) + b"1]", JSON)


def test_strings_with_brackets_commas_and_escapes_stay_whole_in_a_broken_list() -> None:
    elements = [rb'{"a":"},{"}', rb'{"b":"\"],["}', rb'{"c":"\\"}', b'{"d":NaN}']

    assert split_events(b"[" + b" , ".join(elements) + b"]", JSON) == elements
