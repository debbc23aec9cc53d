"""Checks of what a rule sees: which events match, how they are grouped, and whether they come in time. Pure."""

import re
from collections.abc import Iterator, Sequence

from flowgauge.processors.lint.placed_rule import Complaint, PlacedRule
from flowgauge.processors.selector import text_test
from flowgauge.schemas.event import KINDS as EVENT_KINDS
from flowgauge.schemas.event import STATES
from flowgauge.schemas.times import format_duration

RUN_KINDS = frozenset({"flow-run", "task-run", "log"})  # of events that belong to one run
LATENESS_MS_MIN = 1_000  # a publisher gathers events for 200 ms, and networks and clocks differ by more
_WORDS = {"kind": EVENT_KINDS, "state": STATES}
_WILD = re.compile(r"[*?\[]")
_REGEX = re.compile(r"^\^|\$$|\.\+|\\[dwsb.]|\(\?|\S\|\S")  # no glob is written so, and few names
_ID_OF_ONE = re.compile(r"(^|[._-])((flow|task)[._-])?(run|trace|span|request|execution)[._-]?id$|uuid|timestamp")


def never_matches(item: PlacedRule) -> Iterator[Complaint]:
    """Find fields of `match` whose patterns refuse everything that they ask for."""
    for path, match in item.matches:
        for field, patterns in match.items():
            if _is_nothing(field, patterns):
                remedy = "remove one of the patterns that exclude each other"
                yield (*path, field), f"no {field} is left: no event matches", remedy


def _is_nothing(field: str, patterns: Sequence[str]) -> bool:
    """Tell whether no value has these patterns."""
    if field in _WORDS:
        return not any(map(text_test(patterns), _WORDS[field]))
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    refused = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return all(_is_covered(pattern, refused) for pattern in wanted or ["*"])


def _is_covered(pattern: str, refused: Sequence[str]) -> bool:
    """Tell whether all that `pattern` takes is refused, as far as that is sure without looking at names."""
    if not _WILD.search(pattern):
        return text_test(refused)(pattern) if refused else False
    # A glob that takes the other's own text, where only its stars stand for anything, takes all that it stands for.
    starred = [other for other in refused if "?" not in other and "[" not in other]
    return pattern in refused or ("[" not in pattern and bool(starred) and text_test(starred)(pattern))


def regular_expression(item: PlacedRule) -> Iterator[Complaint]:
    """Find patterns that are written as regular expressions: here they are globs, and match no name."""
    for path, match in item.matches:
        for field, patterns in match.items():
            for pattern in patterns:
                if _REGEX.search(pattern.removeprefix("!")):
                    message = f"{pattern!r} looks like a regular expression, and is compared as a glob"
                    yield (*path, field), message, "write * for any text, and a list for alternatives"


def unbounded_key(item: PlacedRule) -> Iterator[Complaint]:
    """Find fields of `for_each` that have a new value with every run: incidents and memory grow with the runs."""
    if not item.compiled.pane_ms:
        return  # each event is an incident of its own anyway
    ends_with_its_run = item.kind.ends_with_its_run and "run" in item.rule.for_each
    for index, field in enumerate(item.rule.for_each):
        if _is_of_one_run(field, item) and not ends_with_its_run:
            message = f"`{field}` has a new value with every run: each gets a window and may open an incident"
            yield ("for_each", index), message, "group by flow, or by what there are few of"


def _is_of_one_run(field: str, item: PlacedRule) -> bool:
    if field == "resource.id":
        return item.event_kinds <= RUN_KINDS or "state" in item.rule.match
    if field in {"related.flow-run.id", "related.task-run.id"}:
        return True
    return field in {"run", "task"} or ("." in field and bool(_ID_OF_ONE.search(field)))


def tasks_too(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules that name a state and not whose: the runs of a flow and of its tasks have the same ones."""
    if item.kind.default_event_kinds is not None or "task" in item.rule.for_each:
        return
    for path, match in item.matches:
        if "state" in match and not {"kind", "event", "task"} & {*match, *item.rule.match}:
            yield (*path, "state"), "runs of tasks have this state as well, and count too", "add `kind: flow-run`"


def every_event(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules that tell of each single event, whatever happened."""
    is_narrow = {"event", "state"} & item.rule.match.keys()
    if not item.compiled.pane_ms and not is_narrow and item.event_kinds & RUN_KINDS:
        message = "each event of what matches is an incident: every state of every run, and every log line"
        yield ("when", item.kind.name), message, "name `event` or `state` under `match`"


def no_time_to_arrive(item: PlacedRule) -> Iterator[Complaint]:
    """Find rules that leave nearly every event out as late."""
    lateness_ms = item.rule.allowed_lateness
    if item.compiled.pane_ms and lateness_ms < LATENESS_MS_MIN:
        message = (
            f"an event that the log gets more than {format_duration(lateness_ms)} after it happened does not count"
        )
        yield ("allowed_lateness",), message, "write at least 1s; senders gather events and clocks differ"
