"""What an incident tells besides its numbers: errors, what changed before it, what else is open, where to look. Pure.

Made when it is asked for, from what ClickHouse has by then: no part of a transition, and never in an identity.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import quote

import msgspec

ERRORS_MAX = 5  # groups of errors: a message has room for few, and the question `errors` has all
LINES_MAX = 10  # error lines of the failing runs, the newest
CHANGES_MAX = 10  # the nearest to the opening
RELATED_MAX = 10  # incidents
TEXT_CHARS_MAX = 300  # of an error, a line, or a name: what people read at a glance
URL_CHARS_MAX = 2_000  # of a link: browsers and chats take as much
CONTEXT_LINES_MAX = 50  # of all lines together: each part's own, and a title each


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that say the same but for what names one case. Times are RFC 3339."""

    error: str
    count: int
    runs: int
    first_seen: str
    last_seen: str
    example_run: str


class ErrorLine(msgspec.Struct, frozen=True, kw_only=True):
    """One of the last error lines of a failing run."""

    time: str
    level: str
    run: str
    flow: str
    text: str


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What was new before the incident opened: a deploy event, or something that the flow's runs had not had before.

    `what` is `deploy event`, `version`, `Prefect version`, `flow version`, `deployment version`, or the role of a thing
    that runs are related to, such as `worker`.
    """

    at: str
    what: str
    name: str
    flow: str
    run: str = ""  # the first that had it
    detail: str = ""  # of a deploy event: its own message or version


class RelatedIncident(msgspec.Struct, frozen=True, kw_only=True):
    """Another incident of the tenant that was open at the same time and shares a flow or a value of its key."""

    incident_id: str
    rule: str
    severity: str
    state: str
    opened_at: str
    key: dict[str, str]
    shares: list[str]
    link: str = ""


class RunLink(msgspec.Struct, frozen=True, kw_only=True):
    """A run that made the rule breach, with where to look at it: "" where nothing is known."""

    run: str
    flow: str
    state: str
    link: str = ""  # the orchestrator's page
    page: str = ""  # the console's


class IncidentContext(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around one incident. Parts that could not be told in time are named in `untold`."""

    incident_id: str
    errors: list[ErrorGroup] = []
    lines: list[ErrorLine] = []
    changes: list[Changed] = []  # the newest first
    related: list[RelatedIncident] = []
    runs: list[RunLink] = []
    untold: list[str] = []


def run_link(run: str, flow: str, run_url: str) -> str:
    """Return the orchestrator's page of a run: `run_url` with {run} and {flow} filled in, "" without one."""
    if not run or not run_url:
        return ""
    link = run_url.replace("{flow}", quote(flow, safe="")).replace("{run}", quote(run, safe=""))
    return link if len(link) <= URL_CHARS_MAX else ""


def in_short(message: str) -> str:
    """Return the first line of a message and, of a longer one, the last: of a traceback that is what went wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if len(lines) < 2:
        return message.strip()
    return f"{lines[0]} … {lines[-1]}" if lines[-1] not in lines[0] else lines[0]


def shortened(text: str) -> str:
    """Return `text` as one printable line of at most TEXT_CHARS_MAX characters, cut in the end."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * TEXT_CHARS_MAX]).split())
    return line if len(line) <= TEXT_CHARS_MAX else line[: TEXT_CHARS_MAX - 1] + "…"


def context_lines(context: IncidentContext) -> list[str]:
    """Return the context as plain text for a message: at most CONTEXT_LINES_MAX lines, each part under its title."""
    parts = (
        ("Errors", map(_error, context.errors[:ERRORS_MAX])),
        ("Last error lines", map(_line, context.lines[:LINES_MAX])),
        ("Changed before", map(_change, context.changes[:CHANGES_MAX])),
        ("Also open", map(_related, context.related[:RELATED_MAX])),
        ("Runs", map(_run, context.runs[:ERRORS_MAX])),
        ("Not known now", map(shortened, context.untold)),
    )
    return [line for title, lines in parts for line in _titled(title, lines)][:CONTEXT_LINES_MAX]


def _titled(title: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if not number:
            yield f"{title}:"
        yield f"  {line}"


def _error(group: ErrorGroup) -> str:
    runs = f" in {group.runs} run{'s' * (group.runs != 1)}" if group.runs else ""
    seen = f"{_clock(group.first_seen)} to {_clock(group.last_seen)}" if group.count > 1 else _clock(group.last_seen)
    return f"{group.count} × {shortened(group.error)}{runs}, {seen}"


def _line(line: ErrorLine) -> str:
    return shortened(f"{_clock(line.time)} {line.level} {line.flow or line.run}: {line.text}")


def _change(change: Changed) -> str:
    of = f" of {change.flow}" if change.flow else ""
    detail = f": {change.detail}" if change.detail else ""
    return shortened(f"{_clock(change.at)} {change.what} {change.name}{of}{detail}")


def _related(other: RelatedIncident) -> str:
    said = f"{other.rule} ({', '.join(other.shares)}), {other.state} since {_clock(other.opened_at)}"
    return _linked(said, other.link)


def _run(run: RunLink) -> str:
    return _linked(" ".join(part for part in (run.run, run.flow, run.state) if part), run.link or run.page)


def _linked(said: str, link: str) -> str:
    return f"{shortened(said)} {link}" if link else shortened(said)


def _clock(time: str) -> str:
    """Return the moment as people read it: to the second, in UTC."""
    return f"{time[:10]} {time[11:19]} UTC"
