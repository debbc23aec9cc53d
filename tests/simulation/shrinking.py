"""Finds the least of a story that is still wrong: without this rule, these steps, that event."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.simulation.story import Entry, Step, Story, naming_only

TRIES_MAX = 1_500  # plays: some seconds

_T = TypeVar("_T")


def shortest(story: Story, is_wrong: Callable[[Story], bool]) -> Story:
    """Leave out rules, steps and events for as long as what is left is wrong."""
    return _Shrinking(is_wrong).shrunk(story)


class _Shrinking:
    def __init__(self, is_wrong: Callable[[Story], bool]) -> None:
        self._is_wrong = is_wrong
        self._tries = 0

    def shrunk(self, story: Story) -> Story:
        before: Story | None = None
        while story != before:
            before = story
            names = sorted({rule.name for rules in story.sets for rule in rules})
            story = self._without(story, names, _with_rules)
            story = self._without(story, story.steps, _with_steps)
            story = self._without(story, _events(story), _with_events)
        return story

    def _without(self, story: Story, parts: Sequence[_T], with_parts: Callable[[Story, Sequence[_T]], Story]) -> Story:
        """Leave out parts, in halves, then in ever smaller pieces."""
        size = len(parts)
        while size:
            place = 0
            while place < len(parts):
                fewer = [*parts[:place], *parts[place + size :]]
                shorter = with_parts(story, fewer)
                if self._tries < TRIES_MAX and self._still_wrong(shorter):
                    story, parts = shorter, fewer
                else:
                    place += size
            size //= 2
        return story

    def _still_wrong(self, story: Story) -> bool:
        self._tries += 1
        return self._is_wrong(story)


def _with_rules(story: Story, names: Sequence[str]) -> Story:
    sets = tuple(tuple(naming_only(rule, names) for rule in rules if rule.name in names) for rules in story.sets)
    return replace(story, sets=sets)


def _with_steps(story: Story, steps: Sequence[Step]) -> Story:
    return replace(story, steps=tuple(steps))


_Placed = tuple[int, Entry]  # an event and its partition


def _events(story: Story) -> list[_Placed]:
    return [
        (source, entry) for source, entries in enumerate(story.log) for entry in entries if entry.happened is not None
    ]


def _with_events(story: Story, events: Sequence[_Placed]) -> Story:
    kept = set(events)
    log = tuple(
        tuple(entry for entry in entries if entry.happened is None or (source, entry) in kept)
        for source, entries in enumerate(story.log)
    )
    return replace(story, log=log)
