"""Slack messages within Slack's limits, checked by Slack's own models, and nothing in them that a name can misuse."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tests.notices import DETAILS, FIRING, RESOLVED, crammed, notice, notices, storm
from tests.slack_models import block_fault

from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.slack_blocks import (
    BLOCKS_CHARS_MAX,
    BLOCKS_MAX,
    FIELD_CHARS_MAX,
    SECTION_CHARS_MAX,
    TEXT_CHARS_MAX,
    escaped,
    slack_message,
)
from flowgauge.sinks.webhooks.kinds.wording import units

GOLDEN = Path(__file__).parents[1] / "golden" / "slack"
LINK = re.compile(
    r"<https://[^<>|\s]+\|(?:Open the incident|Runbook|All open incidents|Firing|Resolved|No data|Happened)>"
)


def texts_in(blocks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every text object."""
    for block in blocks:
        yield from ([block["text"]] if "text" in block else [])
        yield from block.get("fields", [])
        yield from block.get("elements", [])


def check(message: dict[str, Any]) -> None:
    """Hold a message against Slack's models, and against the limits that they do not know."""
    blocks = message["blocks"]
    assert block_fault(blocks) == ""
    assert 0 < len(blocks) <= BLOCKS_MAX
    assert units(json.dumps(blocks, ensure_ascii=False, separators=(",", ":"))) <= BLOCKS_CHARS_MAX
    assert 0 < units(message["text"]) <= TEXT_CHARS_MAX
    for block in blocks:
        for field in block.get("fields", []):
            assert units(field["text"]) <= FIELD_CHARS_MAX
    for text in texts_in(blocks):
        assert 0 < units(text["text"]) <= SECTION_CHARS_MAX


@given(notices)
def test_any_notice_is_a_message_within_the_limits(told: Notice) -> None:
    check(slack_message(told))


@given(notices)
def test_no_name_becomes_a_link_or_a_mention(told: Notice) -> None:
    message = slack_message(told)

    marked = [text for text in texts_in(message["blocks"]) if text["type"] == "mrkdwn"]
    assert all(text["verbatim"] for text in marked)
    for text in (*(text["text"] for text in marked), message["text"]):
        ours_taken = LINK.sub("", text)
        assert "<" not in ours_taken
        assert ">" not in ours_taken
        assert not re.search(r"&(?!amp;|lt;|gt;)", ours_taken)
        assert not re.search(r"@(channel|here|everyone)\b", ours_taken, re.IGNORECASE)


@pytest.mark.parametrize("incidents", [1, 2, 40])
@pytest.mark.parametrize("char", ["x", '"', "<", "語", "\U0001f600"])
def test_what_is_as_long_as_it_can_be_fits(char: str, incidents: int) -> None:
    check(slack_message(crammed(char, incidents)))


def test_a_storm_of_two_thousand_is_one_message() -> None:
    message = slack_message(notice(*storm(2_000)))

    check(message)
    said = "\n".join(text["text"] for text in texts_in(message["blocks"]))
    assert "🔴 2,000 incidents: 1,800 firing, 200 resolved" in said
    assert "`orders failing` 600 firing, 67 resolved" in said
    assert said.count("runs failed") == 20
    assert "and 1,980 more" in said
    assert "<https://gauge.example/|All open incidents>" in said


def test_what_is_cut_is_no_half_an_entity() -> None:
    assert escaped("<<<", 8) == "&lt;…"
    assert escaped("<<<", 9) == "&lt;&lt;…"
    assert escaped("<<<", 12) == "&lt;&lt;&lt;"
    assert escaped("Tell @channel & <!here>", 100) == "Tell @\u2060channel &amp; &lt;!here&gt;"


def test_details_that_do_not_fit_are_cut_and_the_link_stays() -> None:
    message = slack_message(notice(FIRING, details=("x" * 2_900, "y" * 9_000, "z")))

    check(message)
    *_, details, link = message["blocks"]
    assert details["text"]["text"].endswith("y…")
    assert [each["text"].rpartition("|")[2] for each in link["elements"]] == ["Open the incident>", "Runbook>"]


def test_the_messages_are_those_that_were_read() -> None:
    """With FLOWGAUGE_UPDATE_GOLDEN=1 they are written again."""
    told = {
        "firing": notice(FIRING, details=DETAILS),
        "resolved": notice(FIRING, RESOLVED),
        "storm": notice(*storm(40)),
    }
    for name, each in told.items():
        text = json.dumps(slack_message(each), indent=2, ensure_ascii=False) + "\n"
        golden = GOLDEN / f"{name}.json"
        if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert text == golden.read_text(encoding="utf-8")
