"""What is marked as history changes nothing that detection says, wherever it stands and whatever it tells."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from hypothesis import given
from tests.property.detection import START_MS, Happening, happenings, rules, run_whole

from flowgauge.schemas.transition import Transition

RULES = rules()
END_MS = START_MS + 600_000


def told(happened: Sequence[Happening]) -> list[Transition]:
    return run_whole(RULES, sorted(happened, key=lambda item: item.append_ms), END_MS)


@given(happened=happenings(), looked_back=happenings())
def test_history_among_the_events_even_under_their_ids_changes_no_transition(
    happened: list[Happening], looked_back: list[Happening]
) -> None:
    marked = [replace(each, event=msgspec.structs.replace(each.event, history=True)) for each in looked_back]

    assert told([*marked, *happened]) == told(happened)
