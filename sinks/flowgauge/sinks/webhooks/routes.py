"""Routes: who hears of which incidents, by what they are, besides those that their rules name.

routes:
- name: pages
match: {severity: critical, team: [data, ml*]}     # all fields must; globs, as in the match of a rule
notify: [pager]
"""

import fnmatch
from collections.abc import Iterable
from typing import Annotated, get_args

from pydantic import Field, field_validator

from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.lane import action_of
from flowgauge.schemas.rule import PATTERN_MAX, PATTERNS_MAX, Patterns, Rule
from flowgauge.schemas.rule_forms import labels_form
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.silencing import value_of
from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.kinds.kind import Written

ROUTES_MAX = 1_000  # of all files: each is looked at for every transition
MATCH_FIELDS_MAX = 16
SEVERITIES: tuple[str, ...] = get_args(Rule.model_fields["severity"].annotation)
_WILD = frozenset("*?[")


class Route(Written):
    """Channels that hear of the incidents it matches."""

    name: Annotated[str, Field(min_length=1, max_length=200, description="What people call it.")]
    match: Annotated[
        dict[str, Patterns],
        Field(
            min_length=1,
            max_length=MATCH_FIELDS_MAX,
            json_schema_extra=labels_form(longest=PATTERN_MAX, most=PATTERNS_MAX),
            description="rule, severity, names of for_each or of labels, and patterns: all must match.",
        ),
    ]
    notify: Annotated[
        tuple[str, ...], Field(strict=False, min_length=1, max_length=16, description="Names of channels.")
    ]
    tenant: Annotated[
        str, Field(min_length=1, max_length=NAME_MAX, description="Whose incidents it routes; *: everybody's.")
    ] = ANY_TENANT

    @field_validator("notify")
    @classmethod
    def _are_channels(cls, notify: tuple[str, ...]) -> tuple[str, ...]:
        if any(action_of(name) is not None for name in notify):
            raise ValueError("a route tells channels: name actions in the `actions` of a rule")
        return notify

    @field_validator("match")
    @classmethod
    def _is_not_too_long(cls, match: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if sum(map(len, match.values())) > PATTERNS_MAX:
            raise ValueError(f"more than {PATTERNS_MAX} patterns: make several routes of it")
        for each in match.get("severity", ()):
            if not _WILD & set(each) and each.removeprefix("!") not in SEVERITIES:
                raise ValueError(f"severity: expected one of {', '.join(SEVERITIES)}, got {each!r}")
        return match

    def takes(self, transition: Transition) -> bool:
        """Tell whether it is for an incident."""
        return self.tenant in {ANY_TENANT, transition.tenant} and all(
            _matches(value_of(transition, name), patterns) for name, patterns in self.match.items()
        )


def routed(routes: Iterable[Route], transition: Transition) -> tuple[str, ...]:
    """Return the channels that hear of an incident by its routes, each once."""
    return tuple(dict.fromkeys(name for route in routes if route.takes(transition) for name in route.notify))


def _matches(value: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether one of the patterns matches, and none of those that begin with `!`."""
    wanted = [each for each in patterns if not each.startswith("!")]
    refused = [each[1:] for each in patterns if each.startswith("!")]
    is_wanted = not wanted or any(fnmatch.fnmatchcase(value, each) for each in wanted)
    return is_wanted and not any(fnmatch.fnmatchcase(value, each) for each in refused)
