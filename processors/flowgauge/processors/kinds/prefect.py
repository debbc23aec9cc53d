"""`prefect`: fires as an event trigger of a Prefect automation does, with Prefect's own matching, buckets and order.

    log        ·  ✗   ✗  ✗ ·  ✗             threshold: 3, within: 60s
    bucket     ├──1───2──3─┤ mute …         each firing is an incident of its own, told at once and never open
    firing               ▲

Events count in the order of the log, whatever their time and however late, as Prefect's engine takes them; so
`allowed_lateness` means nothing here, and panes of 1 s only say how soon. An event counts once in 30 minutes.
Where the engine looks at time alone, it does so every 5 s: on a grid from 1970 here, from its start in Prefect.

A Reactive trigger has a window for each key. A Proactive one has a single window for all its keys, because Prefect
judges them in common runs, and it is told by the buckets of some when others are dropped. `prefect_buckets` has the
engine, `prefect_match` the matching, docs/prefect-rules.md what differs on purpose.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from pydantic import BeforeValidator, Field, field_validator, model_validator

from flowgauge.processors.kinds.counted_panes import example_of
from flowgauge.processors.kinds.kind import Contradiction, Examples, Kind, Window
from flowgauge.processors.kinds.prefect_buckets import SILENCES_MAX, Buckets, Fired, Kept, Occurrence, Trigger
from flowgauge.processors.kinds.prefect_match import (
    covers_name,
    covers_resources,
    field_of,
    is_one_of,
    label_getter,
)
from flowgauge.processors.panes import PANE_MS_MIN
from flowgauge.processors.reading import Firing, Reading, Verdict
from flowgauge.processors.selector import Getter, Predicate, Test
from flowgauge.schemas.counted import counted
from flowgauge.schemas.event import Event
from flowgauge.schemas.rule import GROUP_FIELDS_MAX, IN_DIGITS, DurationMs, LabelPatterns, Rule
from flowgauge.schemas.sample import Sample
from flowgauge.schemas.transition import ExampleRun

PROACTIVE_MIN_MS = 10_000  # Prefect's own least `within` of these, and what it takes where there is none
SEEN_MS = 30 * 60_000  # how long Prefect knows an id again
SEEN_MAX = 1_000  # ids of one window; then the oldest is forgotten

_UNREAD = ("match", "for_each", "missing_key", "for", "keep_firing_for", "no_data", "allowed_lateness")


def _specifications(value: object) -> object:
    return [cast("dict[str, object]", value)] if isinstance(value, dict) else value


def _texts(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Name = Annotated[str, Field(min_length=1, max_length=1_024)]
_Names = Annotated[tuple[_Name, ...], BeforeValidator(_texts, json_schema_input_type=_Name | tuple[_Name, ...])]


class PrefectTrigger(Kind):
    """The fields of `prefect`: those of an EventTrigger."""

    name: ClassVar[str] = "prefect"
    examples_as: ClassVar[Examples] = Examples(
        "Last event", "the last event behind the firing, with the last error lines of its run, UTC", "events"
    )
    by_arrival: ClassVar[bool] = True

    posture: Literal["Reactive", "Proactive"]
    match: LabelPatterns = {}  # noqa: RUF012  # pydantic copies it
    match_related: Annotated[
        tuple[LabelPatterns, ...],
        BeforeValidator(_specifications, json_schema_input_type=LabelPatterns | tuple[LabelPatterns, ...]),
    ] = ()
    after: _Names = ()
    expect: _Names = ()
    for_each: Annotated[_Names, Field(max_length=GROUP_FIELDS_MAX)] = ()
    threshold: Annotated[int, Field(ge=1), IN_DIGITS] = 1
    within: DurationMs = 0

    @field_validator("for_each")
    @classmethod
    def _sorted(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(labels)))

    @model_validator(mode="after")
    def _long_enough(self) -> "PrefectTrigger":
        if self.is_proactive and 0 < self.within < PROACTIVE_MIN_MS:
            raise ValueError("`within` of a Proactive trigger is at least 10s: write 10s or more")
        return self

    @property
    def is_proactive(self) -> bool:
        """Whether it looks for what does not come."""
        return self.posture == "Proactive"

    @property
    def window_ms(self) -> int:
        """The length of a bucket."""
        return max(self.within, PROACTIVE_MIN_MS) if self.is_proactive else self.within

    @cached_property
    def pane_ms(self) -> int:
        """The smallest: buckets are no panes."""
        return PANE_MS_MIN

    @cached_property
    def trigger(self) -> Trigger:
        """What the engine needs."""
        return Trigger(self.is_proactive, bool(self.after), bool(self.for_each), self.threshold, self.window_ms * 1_000)

    @cached_property
    def _covers_name(self) -> Test:
        return covers_name(self.expect, self.after)

    @cached_property
    def _getters(self) -> tuple[Getter, ...]:
        return tuple(label_getter(label) for label in self.for_each)

    def glance_tests(self) -> Mapping[str, Test]:
        """Look at the names that the trigger covers."""
        return {"event": self._covers_name}

    def predicates(self) -> tuple[Predicate, ...]:
        """Look at the resources that the trigger covers."""
        return (covers_resources(self.match, self.match_related),)

    def getters(self, rule: Rule) -> tuple[Getter, ...]:  # noqa: ARG002  # a trigger says itself
        """Group a Reactive trigger by its `for_each`, a Proactive one not at all."""
        return () if self.is_proactive else self._getters

    def key_names(self, rule: Rule) -> tuple[str, ...]:  # noqa: ARG002  # a trigger says itself
        """Return what the keys of its incidents hold: the last event behind a firing makes it one of its own."""
        return (*(field_of(label) for label in self.for_each), "event_id")

    def contradictions(self, rule: Rule) -> Iterator[Contradiction]:
        """Refuse what a trigger says itself, or has no meaning for it."""
        for field in _UNREAD:
            if (f"{field}_" if field == "for" else field) in rule.model_fields_set:
                message = "a Prefect trigger says all about what it counts, and its firings do not last"
                inside = f"write `{field}` under `prefect`" if field in {"match", "for_each"} else f"remove `{field}`"
                yield (field,), message, inside

    def outcome(self, event: Event) -> str | None:
        """Return what the event is to the trigger, with the key of its bucket where the rule does not group by it."""
        starts = is_one_of(event.event, self.after)
        counts = not self.expect or is_one_of(event.event, self.expect)
        if not starts and not counts:
            return None
        key = [get(event) for get in self._getters] if self.is_proactive else []
        return msgspec.json.encode([starts, counts, *key]).decode()

    def refusal(self, event: Event) -> str | None:
        """Say which of the trigger's fields does not cover the event."""
        if not self._covers_name(event.event) or self.outcome(event) is None:
            return f"its name is not in {'`expect` or `after`' if self.after else '`expect`'}"
        if not covers_resources(self.match, ())(event):
            return "its resource does not meet the trigger's `match`"
        if not covers_resources({}, self.match_related)(event):
            return "its related resources do not meet `match_related`"
        return None

    def new_window(self) -> Window:
        """Return a window that has seen nothing."""
        return TriggerWindow(self, _Kept())

    def load_window(self, dumped: Any) -> Window:
        """Return the window that was dumped."""
        return TriggerWindow(self, msgspec.convert(cast("list[Any]", dumped), _Kept))


class _Kept(msgspec.Struct, array_like=True, gc=False):
    """A window as stored: buckets, and the ids that count no more, each with the time of its event in the log."""

    buckets: Kept = msgspec.field(default_factory=Kept)
    seen: dict[str, int] = {}


class TriggerWindow:
    """The buckets of one trigger, or of one key of it."""

    __slots__ = ("_buckets", "_count", "_rule", "_seen")

    def __init__(self, rule: PrefectTrigger, kept: _Kept) -> None:
        self._rule = rule
        self._buckets = Buckets(rule.trigger, kept.buckets)
        self._seen = dict(kept.seen)

    def add(self, end_ms: int, samples: Sequence[Sample]) -> None:  # noqa: ARG002  # each has its own time
        """Take a final pane, event by event in the order of the log."""
        for sample in samples:
            self._forget(sample.append_ms)
            if sample.event_id in self._seen:
                continue
            if len(self._seen) >= SEEN_MAX:
                del self._seen[next(iter(self._seen))]
            self._seen[sample.event_id] = sample.append_ms
            starts, counts, *key = cast("list[Any]", msgspec.json.decode(sample.outcome))
            append_us = sample.append_ms * 1_000
            self._buckets.take(Occurrence(tuple(key), starts, counts, append_us, example_of(sample)))

    def _forget(self, now_ms: int) -> None:
        while self._seen and next(iter(self._seen.values())) <= now_ms - SEEN_MS:
            del self._seen[next(iter(self._seen))]

    def read(self, end_ms: int) -> Reading:
        """Return the firings up to `end_ms` with what the last one says; without any, how the bucket stands."""
        self._forget(end_ms)
        self._buckets.pass_time(end_ms * 1_000)
        firings = tuple(self._firing(fired) for fired in self._buckets.take_fired())
        if firings:
            last = firings[-1]
            return Reading(Verdict.HELD, last.reason, last.value, last.threshold, round(last.value), firings)
        return self._standing(end_ms * 1_000)

    def _standing(self, now_us: int) -> Reading:
        """Return how far its bucket is; of a Proactive one that no bucket fell short."""
        threshold = self._rule.threshold
        if self._rule.is_proactive:
            reason = f"no bucket ended with fewer than {counted(threshold, 'event')} since it was read before"
            return Reading(Verdict.HELD, reason, None, float(threshold))
        bucket = self._buckets.of_key(())
        if bucket is None:
            begins = "an event of `after`" if self._rule.after else "the next event"
            return Reading(Verdict.HELD, f"no bucket is open: {begins} begins one", None, float(threshold))
        events = max(bucket.count, 0)
        reason = f"{events} of {counted(threshold, 'event')} came in its bucket"
        if bucket.start_us > now_us:
            reason = "it is mute until the bucket in which it fired has ended"
        return Reading(Verdict.HELD, reason, float(events), float(threshold), events)

    def _firing(self, fired: Fired) -> Firing:
        reason = "the expected events came"
        if self._rule.is_proactive:
            reason = "fewer events than expected came in time"
        if fired.is_last:
            reason += f", for the {SILENCES_MAX:,}th time in a row: no more is told before one comes"
        return Firing(
            fired.at_us // 1_000,
            (*fired.key, fired.example.event_id if fired.example else ""),
            reason,
            float(max(fired.events, 0)),
            float(self._rule.threshold),
            [fired.example] if fired.example else [],
        )

    def examples(self) -> Sequence[ExampleRun]:
        """Return none: each firing has its own."""
        return ()

    def next_change_ms(self) -> int | None:
        """Return the next tick at which something is due, or when an id is forgotten."""
        tick_us = self._buckets.next_tick_us()
        if tick_us is not None:
            return tick_us // 1_000
        return next(iter(self._seen.values())) + SEEN_MS if self._seen else None

    def is_lasting(self) -> bool:
        """Tell whether its runs go on."""
        return self._rule.is_proactive

    def take_refused(self) -> int:
        """Return how many events found no room for their bucket since this was asked last."""
        refused, self._buckets.refused = self._buckets.refused, 0
        return refused

    def dump(self) -> Any:
        """Return buckets and ids."""
        return [self._buckets.keep(), self._seen]
