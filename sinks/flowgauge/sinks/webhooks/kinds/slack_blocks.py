"""What a Slack message is made of: Block Kit as data, cut to Slack's limits, whatever rules and events say.

    header   🔴 Firing: orders-sync failing        header   🔴 1,234 incidents: 1,200 firing, 34 resolved
    section  the summary                           section  by rule
    fields   value, threshold, window, key …       section  a line for each of the first ten, and ten more
    section  runs · section  details               section  details
    context  links to incident and runbook         context  and 1,214 more, link to the list

All that is not ours is escaped, so that no name can notify a channel (`<!channel>`) or pass for a link; `verbatim`
keeps Slack from finding addresses and names of channels in it. Links stand in texts: a button would ask the app for
an answer, which an incoming webhook cannot give.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from flowgauge.schemas.counted import counted
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.wording import Fact, Worded, cut, gathered, is_group, units, worded

HEADER_CHARS_MAX = 150
SECTION_CHARS_MAX = 3_000
FIELDS_MAX = 10
FIELD_CHARS_MAX = 2_000
BLOCKS_MAX = 50
BLOCKS_CHARS_MAX = 13_000  # of all blocks as JSON: from about 13,200 on Slack answers msg_blocks_too_long

# Ours, so that all of them together fit, even where each character is written as two.
TEXT_CHARS_MAX = 500  # what a notification on a phone shows
SUMMARY_CHARS_MAX = 600
FACT_CHARS_MAX = 180
RUN_CHARS_MAX = 160
RULE_CHARS_MAX = 80
LINE_CHARS_MAX = 110
LINE_LINK_CHARS_MAX = 170  # a longer address would leave no room for the lines
LINK_CHARS_MAX = 1_200
LINES_IN_SECTION = 10

Block: TypeAlias = dict[str, Any]

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_IN_ADDRESS = {"&": "&amp;", "<": "%3C", ">": "%3E", "|": "%7C", " ": "%20"}  # what would end it
_CALL_TO_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.IGNORECASE)
_encode = msgspec.json.Encoder().encode


def slack_message(notice: Notice) -> dict[str, Any]:
    """Return the text and the blocks that tell of `notice`, of one incident or of many."""
    return _about_many(notice) if is_group(notice) else _about_one(notice)


def thread_reply(notice: Notice) -> dict[str, Any]:
    """Return the line that tells a thread of the newest state."""
    return {"text": escaped(worded(notice).line, TEXT_CHARS_MAX)}


def escaped(text: str, chars_max: int) -> str:
    """Return `text` as mrkdwn in which nothing is a link or a mention, in at most `chars_max` characters."""
    calm = _CALL_TO_ALL.sub("@\u2060", text)
    return cut(calm, chars_max, lambda char: _ESCAPES.get(char, char))


def _about_one(notice: Notice) -> dict[str, Any]:
    words = worded(notice)
    fields = [_field(fact) for fact in words.facts[:FIELDS_MAX]]
    blocks = [
        _header(words.headline),
        _section([escaped(words.summary, SUMMARY_CHARS_MAX)]),
        {"type": "section", "fields": fields},
    ]
    if words.runs:
        blocks.append(_section(["*Runs*", *(f"• {escaped(run, RUN_CHARS_MAX)}" for run in words.runs)]))
    addresses = {"Open the incident": words.link, "Runbook": notice.transition.runbook}
    links = [_link(address, name) for name, address in addresses.items() if address]
    end = [_context(links)] if links else []
    blocks += [*_details(words.details, [*blocks, *end]), *end]
    return {"text": escaped(words.line, TEXT_CHARS_MAX), "blocks": blocks}


def _about_many(notice: Notice) -> dict[str, Any]:
    words = gathered(notice)
    counts = [f"{_code(each.rule, RULE_CHARS_MAX)} {each.text}" for each in words.rules]
    if words.more_rules:
        counts.append(f"and {counted(words.more_rules, 'more rule')}")
    lines = [_line(each) for each in words.lines]
    parts = (lines[at : at + LINES_IN_SECTION] for at in range(0, len(lines), LINES_IN_SECTION))
    blocks = [_header(words.headline), *(_section(part) for part in (counts, *parts))]
    rest = [f"and {words.more:,} more"] if words.more else []
    rest += [_link(words.link, "All open incidents")] if words.link else []
    end = [_context(rest)] if rest else []
    blocks += [*_details(words.details, [*blocks, *end]), *end]
    return {"text": escaped(words.headline, TEXT_CHARS_MAX), "blocks": blocks}


def _details(lines: Sequence[str], others: Sequence[Block]) -> list[Block]:
    """Return the block of the details, as much of them as fits beside the `others`; none where nothing does."""
    if not lines:
        return []
    room = BLOCKS_CHARS_MAX - units(_encode(others).decode()) - units(_encode([_section([""])]).decode())
    taken: list[str] = []
    left = min(SECTION_CHARS_MAX, room // 2)  # a quote is two characters of JSON
    for line in lines:
        if left < units("…\n"):
            break
        taken.append(escaped(line, left - 1))
        left -= units(taken[-1]) + 1
    return [_section(taken)] if any(taken) else []


def _field(fact: Fact) -> Block:
    said = _code(fact.text, FACT_CHARS_MAX) if fact.is_quoted else escaped(fact.text, FACT_CHARS_MAX)
    return _mrkdwn(f"*{fact.name}*\n{said}")


def _line(words: Worded) -> str:
    state = _link(words.link, words.state, LINE_LINK_CHARS_MAX)
    return f"{words.mark} {state}: {escaped(words.summary, LINE_CHARS_MAX)}"


def _code(text: str, chars_max: int) -> str:
    """Return a name that people chose as code, in which no `*` or `_` is markup."""
    return f"`{escaped(text.replace('`', chr(39)), chars_max)}`"


def _link(url: str | None, text: str, chars_max: int = LINK_CHARS_MAX) -> str:
    """Return a text of ours as a link, and as it is where nothing is to be linked or the address is too long."""
    address = "".join(_IN_ADDRESS.get(char, char) for char in url or "")
    link = f"<{address}|{text}>"
    return link if address and units(link) <= chars_max else text


def _header(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": cut(text, HEADER_CHARS_MAX), "emoji": False}}


def _section(lines: Iterable[str]) -> Block:
    return {"type": "section", "text": _mrkdwn("\n".join(lines))}


def _context(texts: Iterable[str]) -> Block:
    return {"type": "context", "elements": [_mrkdwn(text) for text in texts]}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
