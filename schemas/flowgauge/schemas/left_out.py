"""Samples that no window takes, by why and rule: how many in the last hour, and when the newest came. Pure.

    late           came later than its rule's `allowed_lateness`
    skewed         occurred further ahead of its append time than is admitted
    missing_key    its event lacks a `for_each` field of a rule that skips such events
    keys_refused   of a new key, while as many keys are held as may be

They raise no alert, so people are told that they came. One step's are a plain dict (`note`); a process adds its steps
up in a `LeftOutTally`. Times are append times, the only clock of detection; how often the log says it goes by the wall.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Why = Literal["late", "skewed", "missing_key", "keys_refused"]
WHYS: tuple[Why, ...] = get_args(Why)
CAUSES_MAX = 1_000  # (why, tenant, rule) told apart; what further rules leave out is counted under OTHER_RULES
OTHER_RULES = "…"
HOUR_MS = 3_600_000  # how long they are shown, and how often a cause is told in the log
_MINUTE_MS = 60_000


class Cause(NamedTuple):
    """Why samples were left out, and of which rule."""

    why: Why
    tenant: str
    rule: str


@dataclass(slots=True)
class Count:
    """How many in one step, and the append time of the newest."""

    samples: int = 0
    newest_ms: int = 0


@dataclass(frozen=True, slots=True)
class Recent:
    """What was left out for one reason in the last hour. Times are ms since 1970, 0 where there was none."""

    samples: int = 0
    since_ms: int = 0  # the minute of the first
    newest_ms: int = 0
    rules: tuple[str, ...] = ()


def note(step: dict[Cause, Count], cause: Cause, append_ms: int) -> None:
    """Count one sample of `cause` in what a step left out."""
    count = step.get(cause)
    if count is None:
        count = step[cause] = Count()
    count.samples += 1
    count.newest_ms = max(count.newest_ms, append_ms)


@dataclass(slots=True)
class _Kept:
    """What is known of one cause: samples by minute, of about an hour."""

    minutes: dict[int, int]
    newest_ms: int = 0
    told_ms: int = -HOUR_MS


class LeftOutTally:
    """What one process left out since it started, for an hour each."""

    def __init__(self) -> None:
        self._causes: dict[Cause, _Kept] = {}

    def add(self, step: Mapping[Cause, Count], now_ms: int) -> list[tuple[Cause, int]]:
        """Take a step's in; return the causes to tell in the log, each once an hour, with how many in the last hour."""
        return [told for cause, count in step.items() if (told := self._add(cause, count, now_ms))]

    def seen_by(self, tenant: str) -> "LeftOutTally":
        """Return those of one tenant."""
        return self._only(lambda cause: cause.tenant == tenant)

    def recent(self, now_ms: int) -> dict[Why, Recent]:
        """Return what was left out in the hour before `now_ms`, for each reason."""
        since_ms = now_ms - HOUR_MS
        return {
            why: _recent(
                ((cause.rule, kept) for cause, kept in self._causes.items() if cause.why == why), since_ms=since_ms
            )
            for why in WHYS
        }

    def _add(self, cause: Cause, count: Count, now_ms: int) -> tuple[Cause, int] | None:
        if cause not in self._causes and len(self._causes) >= CAUSES_MAX:
            cause = Cause(cause.why, "", OTHER_RULES)
        kept = self._causes.setdefault(cause, _Kept({}))
        kept.newest_ms = max(kept.newest_ms, count.newest_ms)
        minute_ms = kept.newest_ms // _MINUTE_MS * _MINUTE_MS
        kept.minutes[minute_ms] = kept.minutes.get(minute_ms, 0) + count.samples
        for old_ms in [each for each in kept.minutes if each <= minute_ms - HOUR_MS - _MINUTE_MS]:
            del kept.minutes[old_ms]
        if now_ms - kept.told_ms < HOUR_MS:
            return None
        kept.told_ms = now_ms
        return cause, sum(kept.minutes.values())

    def _only(self, wanted: Callable[[Cause], bool]) -> "LeftOutTally":
        found = LeftOutTally()
        found._causes = {cause: kept for cause, kept in self._causes.items() if wanted(cause)}
        return found


def _recent(causes: Iterable[tuple[str, _Kept]], *, since_ms: int) -> Recent:
    found = [(rule, kept) for rule, kept in causes if kept.newest_ms > since_ms]
    if not found:
        return Recent()
    from_ms = since_ms - _MINUTE_MS  # of the minute in which the hour began, all
    minutes = [(at_ms, samples) for _, kept in found for at_ms, samples in kept.minutes.items() if at_ms > from_ms]
    return Recent(
        samples=sum(samples for _, samples in minutes),
        since_ms=min(at_ms for at_ms, _ in minutes),
        newest_ms=max(kept.newest_ms for _, kept in found),
        rules=tuple(sorted({rule for rule, _ in found})),
    )
