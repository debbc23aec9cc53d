"""Log lines as an answer: what was found marked, the lines around it, and where to go on. Pure.

hit 1 2 3 …   the lines that were found, the newest first; none for the lines around them
group         lines of one run that follow each other, in their order; the group of the newest hit first
cursor        of a line: `before` it are the lines that are older
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from uuid import UUID

from flowgauge.sinks.clickhouse.metric import InvalidQuestion
from flowgauge.sinks.clickhouse.text_search import TextSearch, spans

LOG_COLUMNS = ("time", "level", "flow", "run", "logger", "message", "matches", "hit", "group", "cursor")
WINDOW_MS = 15 * 60_000  # where the newest lines are looked for first, then in ever longer times (`windows`)
CONTEXT_MS_MAX = 86_400_000  # how far away the lines around a hit are looked for
LAST_TENANT = "\U0010ffff"  # no name comes after it
NEWEST_US = 4_102_444_800_000_000  # 2100, as far as questions reach
ID_CHARS = 36  # of a UUID with its dashes
CURSOR_EXAMPLE = "1763251200123456-6ba7b810-9dad-11d1-80b4-00c04fd430c8"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `number` counts the lines of its run, where the lines around it were asked for.

    Runs and ids are a tenant's own: where all are asked, two may have the same.
    """

    tenant: str
    time: str
    level: str
    flow: str
    run: str
    logger: str
    message: str
    id: str
    occurred_us: int
    number: int = 0

    @property
    def whole_run(self) -> tuple[str, str]:
        """Tell its run apart from those of other tenants."""
        return self.tenant, self.run

    @property
    def whole_id(self) -> tuple[str, str]:
        """Tell it apart from lines of other tenants."""
        return self.tenant, self.id

    def cursor(self, *, of_all: bool) -> str:
        """Tell this line's place among its tenant's, or among those `of_all` tenants: two may have the same id."""
        whose = f"-{self.tenant}" if of_all else ""
        return f"{self.occurred_us}-{self.id}{whose}"


def before(cursor: str) -> tuple[int, str, str]:
    """Return the time (µs), id and tenant of `cursor`, for an empty one what all lines are before.

    One that names no tenant stands after the lines of all.

    Raises InvalidQuestion for what is no cursor.
    """
    if not cursor:
        return NEWEST_US, str(UUID(int=0)), ""
    occurred_us, _, line = cursor.partition("-")
    line_id, dash, tenant = line[:ID_CHARS], line[ID_CHARS : ID_CHARS + 1], line[ID_CHARS + 1 :]
    try:
        found = int(occurred_us), str(UUID(line_id)), tenant or LAST_TENANT
    except ValueError:
        found = -1, "", ""
    if dash not in ("", "-") or bool(dash) != bool(tenant):
        found = -1, "", ""
    if not occurred_us.isdecimal() or not 0 <= found[0] < NEWEST_US:
        raise InvalidQuestion(f"before: expected the cursor of a line such as {CURSOR_EXAMPLE}, got {cursor[:80]!r}")
    return found


def log_rows(
    hits: Sequence[LogLine], around: Iterable[LogLine], search: TextSearch | None, *, of_all: bool
) -> Iterator[tuple[object, ...]]:
    """Yield tenant and LOG_COLUMNS: of `hits`, the newest first, and the lines `around` them by run and number.

    `of_all` tenants together, a cursor tells whose line it is of.
    """
    ranks = {line.whole_id: rank for rank, line in enumerate(hits, 1)}
    grouped = list(_groups(around))
    known = {line.whole_id for group in grouped for line in group}
    groups = [*grouped, *([line] for line in hits if line.whole_id not in known)]
    groups.sort(key=lambda group: min(ranks.get(line.whole_id, len(ranks) + 1) for line in group))
    for number, group in enumerate(groups, 1):
        for line in group:
            place = ranks.get(line.whole_id), number, line.cursor(of_all=of_all)
            yield (*_told(line), _matches(line, search), *place)


def named(lines: Iterable[LogLine], flows: Mapping[tuple[str, str], str]) -> list[LogLine]:
    """Return the lines, each that does not know its flow with that of its run."""
    return [
        line if line.flow or line.whole_run not in flows else replace(line, flow=flows[line.whole_run])
        for line in lines
    ]


def _told(line: LogLine) -> tuple[str, ...]:
    return line.tenant, line.time, line.level, line.flow, line.run, line.logger, line.message


def _matches(line: LogLine, search: TextSearch | None) -> list[tuple[int, int]]:
    return spans(search, line.message) if search else []


def _groups(around: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    lines = list(around)
    if not lines:
        return
    group = [lines[0]]
    for one, following in pairwise(lines):
        if (one.whole_run, one.number + 1) != (following.whole_run, following.number):
            yield group
            group = []
        group.append(following)
    yield group
