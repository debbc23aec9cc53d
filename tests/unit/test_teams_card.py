"""Teams cards within what a workflow can post, made of what Teams shows, whatever rules and events say."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tests.notices import DETAILS, FIRING, RESOLVED, crammed, notice, notices, storm

from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.teams_card import CARD_BYTES_MAX, teams_message

GOLDEN = Path(__file__).parents[1] / "golden" / "teams"
FIELDS = {  # of each element that we use, as adaptivecards.io has them in version 1.4
    "RichTextBlock": {"type", "inlines", "spacing"},
    "TextRun": {"type", "text", "size", "weight", "color", "selectAction"},
    "FactSet": {"type", "facts"},
    "Action.OpenUrl": {"type", "title", "url"},
}


def elements_in(element: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an element and those within it."""
    yield element
    for inner in element.get("inlines", []):
        yield from elements_in(inner)
    if "selectAction" in element:
        yield element["selectAction"]


def card_of(message: bytes) -> dict[str, Any]:
    """Return the card of a message, which is whole and fits."""
    assert len(message) <= CARD_BYTES_MAX
    assert len(message.decode().encode("utf-16-le")) <= CARD_BYTES_MAX
    envelope = json.loads(message)
    (attachment,) = envelope["attachments"]
    assert envelope["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = dict(attachment["content"])
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    return card


@given(notices)
def test_any_notice_is_a_card_within_the_limit_of_known_elements(told: Notice) -> None:
    card = card_of(teams_message(told))

    found = [each for top in (*card["body"], *card["actions"]) for each in elements_in(top)]
    assert all(each.keys() <= FIELDS[each["type"]] for each in found)
    assert all(each["text"] for each in found if each["type"] == "TextRun")


@given(notices)
def test_no_fact_is_a_link(told: Notice) -> None:
    card = card_of(teams_message(told))

    facts = [fact for each in card["body"] if each["type"] == "FactSet" for fact in each["facts"]]
    assert not any(re.search(r"\][(\[:]", fact["value"]) for fact in facts)
    assert all(fact["title"] and fact["value"] for fact in facts)


def test_details_give_way_where_all_is_too_long_and_the_button_stays() -> None:
    long = notice(FIRING, details=tuple("語" * 2_000 for _ in range(30)))

    card = card_of(teams_message(long))

    assert card["body"][-1]["inlines"][0]["text"].startswith("語")
    assert [action["title"] for action in card["actions"]] == ["Open the incident", "Runbook"]


@pytest.mark.parametrize("incidents", [1, 2, 40])
@pytest.mark.parametrize("char", ["x", '"', "<", "語", "\U0001f600"])
def test_what_is_as_long_as_it_can_be_fits(char: str, incidents: int) -> None:
    card_of(teams_message(crammed(char, incidents)))


def test_a_storm_of_two_thousand_is_one_card() -> None:
    card = card_of(teams_message(notice(*storm(2_000))))

    said = ["".join(run["text"] for run in each["inlines"]) for each in card["body"]]
    assert said[0] == "🔴 2,000 incidents: 1,800 firing, 200 resolved"
    assert said[1] == "billing failing 600 firing, 67 resolved"
    assert (said[-1], sum("runs failed" in line for line in said)) == ("and 1,980 more", 20)
    assert card["actions"][0]["title"] == "All open incidents"


def test_the_cards_are_those_that_were_read() -> None:
    """With FLOWGAUGE_UPDATE_GOLDEN=1 they are written again."""
    told = {"firing": notice(FIRING, details=DETAILS), "resolved": notice(RESOLVED), "storm": notice(*storm(40))}
    for name, each in told.items():
        text = json.dumps(json.loads(teams_message(each)), indent=2, ensure_ascii=False) + "\n"
        golden = GOLDEN / f"{name}.json"
        if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8")
