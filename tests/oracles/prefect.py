"""A slow oracle of `prefect`: buckets by a look at each of them at each event and each tick, none left out.

Written from docs/prefect-rules.md and what is known of Prefect's engine: event by event in the order of the log, and
every 5 s of the log's time a look at silence and the sweep of old buckets.

    bucket    Reactive: [first - 15 min, first + within)       fires at the event that makes the threshold
              after:    [event of `after`, + within)           and once only
              Proactive: fires at its end, where it fell short
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

TICK_MS = 5_000
LOOK_BACK_MS = 900_000
SWEPT_AFTER_MS = 60_000

Key = tuple[str, ...]


class Arrived(NamedTuple):
    """An event as a trigger sees it: when the log got it, when it happened, whether it is in `after`, in `expect`."""

    append_ms: int
    occurred_ms: int
    event_id: str
    key: Key
    starts: bool
    counts: bool


class Fired(NamedTuple):
    """A firing: when, of which bucket, with how many events, and the id of the last behind it, "" for none."""

    at_ms: int
    key: Key
    events: int
    event_id: str
    is_of_silence: bool  # found by a tick, not by an event


@dataclass(slots=True)
class _Bucket:
    start_ms: int
    end_ms: int
    events: int = 0
    event_id: str = ""


@dataclass(slots=True)
class PrefectOracle:
    """A trigger with what it has in buckets. `has_keys`: it has labels in `for_each`."""

    is_proactive: bool
    has_after: bool
    has_keys: bool
    threshold: int
    within_ms: int
    _buckets: dict[Key, _Bucket] = field(default_factory=dict[Key, _Bucket])
    _looks_ms: int = 0  # when silence is to be looked at next
    _fired: list[Fired] = field(default_factory=list[Fired])

    def firings(self, arrived: Iterable[Arrived], until_ms: int) -> list[Fired]:
        """Return all firings, each tick up to `until_ms` included. Events are in the order of the log."""
        now_ms: int | None = None
        for each in arrived:
            if now_ms is None:
                now_ms = self._looks_ms = each.append_ms // TICK_MS * TICK_MS
                self._tick(now_ms)
            now_ms = self._pass(now_ms, each.append_ms)
            self._take(each)
        if now_ms is not None:
            self._pass(now_ms, until_ms)
        return self._fired

    # ── time ──

    def _pass(self, now_ms: int, until_ms: int) -> int:
        while now_ms + TICK_MS <= until_ms:
            now_ms += TICK_MS
            self._tick(now_ms)
        return now_ms

    def _tick(self, now_ms: int) -> None:
        if self.is_proactive and self._looks_ms <= now_ms:
            self._look(now_ms)
        self._buckets = {
            key: bucket for key, bucket in self._buckets.items() if bucket.end_ms > now_ms - SWEPT_AFTER_MS
        }

    def _look(self, now_ms: int) -> None:
        """Let go of the buckets that have enough, and tell of those that ended with too few."""
        if not self.has_keys:
            self._buckets.setdefault((), _Bucket(now_ms, now_ms + self.within_ms))
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.events < self.threshold}
        for key, bucket in sorted(self._buckets.items(), key=lambda item: (item[1].start_ms, item[0])):
            if bucket.start_ms <= now_ms and bucket.end_ms <= now_ms:
                self._fire(key, bucket, now_ms, is_of_silence=True)
                self._follow(key, bucket, now_ms)
        ends_ms = [bucket.end_ms for bucket in self._buckets.values() if bucket.end_ms > now_ms]
        self._looks_ms = min([now_ms + self.within_ms, *ends_ms])

    # ── events ──

    def _take(self, each: Arrived) -> None:
        if each.starts if self.has_after else each.counts:
            if each.key not in self._buckets:
                begin_ms = each.occurred_ms - (0 if self.has_after else LOOK_BACK_MS)
                none_yet = -1 if self.has_after and each.counts else 0  # it does not count for itself
                self._buckets[each.key] = _Bucket(begin_ms, each.occurred_ms + self.within_ms, none_yet)
            self._buckets[each.key].event_id = each.event_id
        bucket = self._buckets.get(each.key)
        if bucket is None or not each.counts or each.occurred_ms < bucket.start_ms:
            return
        if self.is_proactive:
            self._take_expected(bucket, each)
        else:
            self._take_counted(bucket, each)

    def _take_counted(self, bucket: _Bucket, each: Arrived) -> None:
        """Count an event of a Reactive trigger, in the bucket of its time or in the next."""
        is_over = each.occurred_ms >= bucket.end_ms
        if is_over and self.within_ms:
            following = self._follow(each.key, bucket, each.occurred_ms)
            if following is not None:
                self._take_counted(following, each)
            return
        bucket.events += 1
        bucket.event_id = each.event_id
        if bucket.events >= self.threshold:
            self._fire(each.key, bucket, each.append_ms)
            self._follow(each.key, bucket, each.occurred_ms)
        elif is_over and self.has_after:
            del self._buckets[each.key]

    def _take_expected(self, bucket: _Bucket, each: Arrived) -> None:
        """Count an event that a Proactive trigger waits for, or tell that it came too late."""
        if each.occurred_ms < bucket.end_ms:
            bucket.events += 1
            bucket.event_id = each.event_id
            if bucket.events >= self.threshold and each.starts:  # it begins anew with what it waited for
                end_ms = each.occurred_ms + self.within_ms
                self._buckets[each.key] = _Bucket(each.occurred_ms, end_ms, 0, each.event_id)
            return
        if bucket.events < self.threshold:
            bucket.event_id = each.event_id
            self._fire(each.key, bucket, each.append_ms)
        following = self._follow(each.key, bucket, each.occurred_ms)
        if following is not None:
            following.events = 1

    def _follow(self, key: Key, bucket: _Bucket, at_ms: int) -> _Bucket | None:
        """Take a bucket away and return the one that follows it, None where there is none."""
        self._buckets.pop(key, None)
        if self.has_after or not self.within_ms:
            return None
        start_ms = max(bucket.end_ms, at_ms)
        self._buckets[key] = following = _Bucket(start_ms, start_ms + self.within_ms)
        return following

    def _fire(self, key: Key, bucket: _Bucket, at_ms: int, *, is_of_silence: bool = False) -> None:
        self._fired.append(Fired(at_ms, key, max(bucket.events, 0), bucket.event_id, is_of_silence))
