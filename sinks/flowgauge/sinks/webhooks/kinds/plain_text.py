"""A notice as plain paragraphs, for what takes no markup of its own: mail, and descriptions of alerts elsewhere.

Every line is bounded, and so is their number: what rules and events say cannot make a text grow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flowgauge.schemas.counted import counted
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.kinds.wording import Worded, cut, gathered, is_group, worded

LINE_CHARS_MAX = 600
DETAILS_MAX = 50
LINES_MAX = 50  # of a text about many incidents


@dataclass(frozen=True, slots=True)
class PlainText:
    """A title, paragraphs of lines, and links by what they lead to."""

    title: str
    paragraphs: tuple[tuple[str, ...], ...]
    links: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return the paragraphs and the links, without the title."""
        links = tuple(f"{name}: {address}" for name, address in self.links)
        return "\n\n".join("\n".join(lines) for lines in (*self.paragraphs, links) if lines)


def plain_text(notice: Notice) -> PlainText:
    """Return the text of `notice`, of one incident or of many."""
    return _about_many(notice) if is_group(notice) else _about_one(notice)


def _about_one(notice: Notice) -> PlainText:
    words = worded(notice)
    links = {"Incident": words.link, "Runbook": notice.transition.runbook}
    return PlainText(
        _cut(words.headline),
        _paragraphs(
            (words.summary,),
            [f"{fact.name}: {fact.text}" for fact in words.facts],
            _titled("Runs", words.runs),
            _titled("Details", words.details),
        ),
        tuple((name, address) for name, address in links.items() if address),
    )


def _about_many(notice: Notice) -> PlainText:
    words = gathered(notice, lines_max=LINES_MAX)
    more_rules = [f"and {counted(words.more_rules, 'more rule')}"] if words.more_rules else []
    more = [f"and {counted(words.more, 'more incident')}"] if words.more else []
    return PlainText(
        _cut(words.headline),
        _paragraphs(
            _titled("By rule", [*(f"{each.rule}: {each.text}" for each in words.rules), *more_rules]),
            _titled("Incidents", [*map(_line, words.lines), *more]),
            _titled("Details", words.details),
        ),
        (("Incidents", words.link),) if words.link else (),
    )


def _line(words: Worded) -> str:
    return f"{words.line} {words.link}" if words.link else words.line


def _titled(title: str, lines: Sequence[str]) -> Sequence[str]:
    return [title, *lines[: DETAILS_MAX + 1]] if lines else ()


def _paragraphs(*paragraphs: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(_cut(line) for line in lines) for lines in paragraphs if lines)


def _cut(line: str) -> str:
    return cut(" ".join(line.split()), LINE_CHARS_MAX)
