"""What a Teams message is made of: an Adaptive Card as data, cut to what a workflow can post.

    🔴 Firing: orders-sync failing                 🔴 1,234 incidents: 1,200 firing, 34 resolved
    the summary                                    by rule
    facts: value, threshold, window, key …         a line for each of the first twenty
    runs, details                                  and 1,214 more; details
    [Open the incident] [Runbook]                  [All open incidents]

What rules and events say stands in text runs, which Teams takes as it is. Facts are Markdown to it: in these, what
would make a link of a name is taken apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from flowgauge.schemas.counted import counted
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.wording import Fact, Worded, cut, gathered, is_group, units, worded

CARD_BYTES_MAX = 28_000  # of the whole message, in UTF-8 and in UTF-16: Teams says 28 KB and not of what
VERSION = "1.4"  # of the cards that Teams shows on every device
CONTENT_TYPE = "application/vnd.microsoft.card.adaptive"

# Ours, so that all of them together fit, even where each character is three bytes, or written as two.
HEADLINE_CHARS_MAX = 150
SUMMARY_CHARS_MAX = 600
FACT_CHARS_MAX = 180
RUN_CHARS_MAX = 160
DETAIL_CHARS_MAX = 500
DETAILS_MAX = 20  # lines
RULE_CHARS_MAX = 60
LINE_CHARS_MAX = 100
LINE_LINK_CHARS_MAX = 150  # a longer address would leave no room for the lines

Element: TypeAlias = dict[str, Any]

_TONES = {"Firing": "Attention", "Resolved": "Good", "No data": "Warning"}
_LINK_END = re.compile(r"\](?=[(\[:])")
_encode = msgspec.json.Encoder().encode


def teams_message(notice: Notice) -> bytes:
    """Return the message that tells of `notice`, of one incident or of many: at most CARD_BYTES_MAX bytes."""
    return _about_many(notice) if is_group(notice) else _about_one(notice)


def _about_one(notice: Notice) -> bytes:
    words = worded(notice)
    body = [
        _headline(words.headline, _TONES.get(words.state, "Default")),
        _text([_run(cut(words.summary, SUMMARY_CHARS_MAX))]),
        {"type": "FactSet", "facts": [_fact(fact) for fact in words.facts]},
    ]
    if words.runs:
        body.append(_text([_run("Runs", weight="Bolder")]))
        body += [_line([_run(cut(run, RUN_CHARS_MAX))]) for run in words.runs]
    return _fitted(
        body, words.details, _actions({"Open the incident": words.link, "Runbook": notice.transition.runbook})
    )


def _about_many(notice: Notice) -> bytes:
    words = gathered(notice)
    body = [_headline(words.headline, "Default")]
    body += [
        _line([_run(cut(each.rule, RULE_CHARS_MAX), weight="Bolder"), _run(f" {each.text}")]) for each in words.rules
    ]
    if words.more_rules:
        body.append(_line([_run(f"and {counted(words.more_rules, 'more rule')}")]))
    body += [_line(_linked(each)) for each in words.lines]
    if words.more:
        body.append(_line([_run(f"and {words.more:,} more")]))
    return _fitted(body, words.details, _actions({"All open incidents": words.link}))


def _fitted(body: Sequence[Element], details: Sequence[str], actions: Sequence[Element]) -> bytes:
    """Return the message with as many lines of the details as fit."""
    lines = [_line([_run(cut(line, DETAIL_CHARS_MAX))]) for line in details[:DETAILS_MAX] if line]
    while True:
        message = _encode(_message([*body, *lines], actions))
        if not lines or _size(message) <= CARD_BYTES_MAX:
            return message
        lines.pop()


def _size(message: bytes) -> int:
    return max(len(message), 2 * units(message.decode()))


def _message(body: Sequence[Element], actions: Sequence[Element]) -> Element:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        "msteams": {"width": "Full"},
        "body": body,
        "actions": actions,
    }
    return {"type": "message", "attachments": [{"contentType": CONTENT_TYPE, "contentUrl": None, "content": card}]}


def _headline(text: str, tone: str) -> Element:
    return _text([_run(cut(text, HEADLINE_CHARS_MAX), size="Large", weight="Bolder", color=tone)])


def _linked(words: Worded) -> list[Element]:
    is_linked = words.link is not None and units(words.link) <= LINE_LINK_CHARS_MAX
    link = {"selectAction": {"type": "Action.OpenUrl", "url": words.link}} if is_linked else {}
    return [_run(f"{words.mark} {words.state}", **link), _run(f": {cut(words.summary, LINE_CHARS_MAX)}")]


def _fact(fact: Fact) -> Element:
    return {"title": fact.name, "value": cut(_LINK_END.sub("]\u200b", fact.text), FACT_CHARS_MAX)}


def _actions(addresses: Mapping[str, str | None]) -> list[Element]:
    return [{"type": "Action.OpenUrl", "title": name, "url": url} for name, url in addresses.items() if url]


def _text(runs: Iterable[Element]) -> Element:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _line(runs: Iterable[Element]) -> Element:
    return {**_text(runs), "spacing": "Small"}


def _run(text: str, **style: Any) -> Element:
    return {"type": "TextRun", "text": text, **style}
