"""Prefect's buckets: how its triggers engine counts events and when it fires, step for step. Pure.

    event       at its place in the log     opens, counts into, fires or replaces the bucket of its key
    tick        every 5 s, on the grid      Proactive: a run, when one is due; then old buckets are swept

Reactive, cases cited below:
 1. Without `after`, the first event of a key opens `[occurred - 15 min, occurred + within)`.
 2. With `after`, an event of `after` opens `[occurred, occurred + within)`; an open bucket stays as it is. One that is
    in `expect` too begins at -1, so that it does not count for itself.
 3. An event before the bucket is ignored; one in it counts, and with `within` 0 any does.
 4. It fires as soon as the count reaches the threshold. The next bucket begins where this one ends, so a key is mute
    until then; with `after` or without `within` there is none.
 5. An event past the bucket begins the next one at its own time and is judged there.
Proactive:
 6. Fires at the end of a bucket that holds fewer than `threshold`, told by a run or by an event past the end.
 7. A run first drops buckets that have their threshold, then judges the others; the next is due after `within`, or at
    the first end before. There is one run for all keys, so the bucket of one key may decide when another's goes.
 8. Without `for_each`, each run sees to it that there is a bucket, from then on.
 9. Where an event is both `after` and `expect` and the bucket has its threshold, a bucket begins anew at it.
10. What fired SILENCES_MAX times in a row and heard of no event goes, and is not made again before one comes.
Both: a bucket that ended 60 s before a tick is swept.

Times are µs: those of the log for ticks, those of events for buckets. The trigger counts as loaded at the tick before
its first event.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from flowgauge.schemas.transition import ExampleRun

TICK_US = 5_000_000
LOOK_BACK_US = 15 * 60 * 1_000_000
SWEPT_AFTER_US = 60 * 1_000_000
BUCKETS_MAX = 20_000  # of one window; past it new keys are not watched: counted
# Prefect tells of silence every `within`, for ever. What has been told so often is known, and a clock that jumps over a
# month would tell it hundreds of thousands of times at once. Then it is mute until an event comes: counted.
SILENCES_MAX = 1_000

BucketKey = tuple[str, ...]


class Trigger(NamedTuple):
    """What the engine needs to know of a trigger."""

    is_proactive: bool
    has_after: bool
    has_keys: bool
    threshold: int
    within_us: int


class Occurrence(NamedTuple):
    """An event as a trigger sees it, and when the log got it."""

    key: BucketKey
    starts: bool  # is in `after`
    counts: bool  # is in `expect`
    append_us: int
    example: ExampleRun


class Fired(NamedTuple):
    """One firing, with the last event behind it, where there is one."""

    at_us: int
    key: BucketKey
    events: int  # that the bucket holds
    example: ExampleRun | None
    is_last: bool = False  # case 10: the next is not told


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """The count of one key over `[start_us, end_us)`."""

    key: BucketKey
    start_us: int
    end_us: int
    count: int = 0
    last: ExampleRun | None = None
    silences: int = 0  # how often it, and those before it, fired since an event of the key


class Kept(msgspec.Struct, array_like=True, gc=False):
    """Everything that an engine remembers. `tick_us` is the last tick that is done; None before the first event."""

    tick_us: int | None = None
    run_us: int = 0  # when a run is due next
    buckets: list[Bucket] = []
    silences: int = 0  # the same of a trigger without keys, whose bucket comes and goes


class Buckets:
    """The engine of one trigger: of one key where it is reactive, of all keys where it is proactive."""

    def __init__(self, trigger: Trigger, kept: Kept) -> None:
        self._trigger = trigger
        self._tick_us = kept.tick_us
        self._run_us = kept.run_us
        self._buckets = {bucket.key: bucket for bucket in kept.buckets}
        self._fired: list[Fired] = []
        self._silences = kept.silences
        self.refused = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def of_key(self, key: BucketKey) -> Bucket | None:
        """Return the bucket of `key`, for reading only."""
        return self._buckets.get(key)

    def keep(self) -> Kept:
        """Return what another engine goes on from."""
        return Kept(self._tick_us, self._run_us, list(self._buckets.values()), self._silences)

    def take_fired(self) -> Sequence[Fired]:
        """Return what has fired since this was asked last, in order."""
        fired, self._fired = self._fired, []
        return fired

    # ── time ──

    def pass_time(self, now_us: int) -> None:
        """Do all ticks up to `now_us`, in their order; nothing before the first event."""
        if self._tick_us is None:
            return
        last_us = now_us // TICK_US * TICK_US
        while (tick_us := self.next_tick_us()) is not None and tick_us <= last_us:
            self._tick(tick_us)
        if last_us > self._tick_us:
            self._skip_idle_runs(last_us)
            self._tick_us = last_us

    def next_tick_us(self) -> int | None:
        """Return the next tick at which something is due, None where only an event can change anything."""
        if self._tick_us is None:
            return None
        due: list[int] = []
        if self._buckets:
            due.append(min(bucket.end_us for bucket in self._buckets.values()) + SWEPT_AFTER_US)
        if self._trigger.is_proactive and (self._buckets or not (self._trigger.has_keys or self._is_mute())):
            due.append(self._run_us)
        return max(_tick_at_or_after(min(due)), self._tick_us + TICK_US) if due else None

    def _skip_idle_runs(self, last_us: int) -> None:
        """Let pass the runs up to `last_us` that find no bucket: only when the next is due hangs on them."""
        first_us = _tick_at_or_after(self._run_us)
        if self._trigger.is_proactive and first_us <= last_us:
            between_us = _tick_at_or_after(self._trigger.within_us)
            self._run_us = last_us - (last_us - first_us) % between_us + self._trigger.within_us

    def _tick(self, tick_us: int) -> None:
        self._tick_us = tick_us
        if self._trigger.is_proactive and self._run_us <= tick_us:
            self._run(tick_us)
        swept_us = tick_us - SWEPT_AFTER_US
        for key in [bucket.key for bucket in self._buckets.values() if bucket.end_us <= swept_us]:
            del self._buckets[key]

    def _run(self, now_us: int) -> None:
        """Judge every bucket. Cases 6, 7, 8 and 10."""
        trigger = self._trigger
        if not (trigger.has_keys or self._is_mute()) and () not in self._buckets:
            self._buckets[()] = Bucket((), now_us, now_us + trigger.within_us)
        for key in [bucket.key for bucket in self._buckets.values() if bucket.count >= trigger.threshold]:
            del self._buckets[key]
        self._run_us = now_us + trigger.within_us
        for bucket in sorted(self._buckets.values(), key=lambda bucket: (bucket.start_us, bucket.key)):
            if now_us >= bucket.start_us and bucket.end_us <= now_us:
                self._tell_of_silence(bucket, now_us)
            left = self._buckets.get(bucket.key)
            if left is not None and now_us < left.end_us < self._run_us:
                self._run_us = left.end_us

    def _tell_of_silence(self, bucket: Bucket, now_us: int) -> None:
        has_keys = self._trigger.has_keys
        silences = (bucket.silences if has_keys else self._silences) + 1
        is_last = silences >= SILENCES_MAX
        self._fire(bucket, now_us, bucket.last, is_last=is_last)
        self.refused += is_last
        following = self._next_bucket(bucket, now_us, 0)
        if not has_keys:
            self._silences = silences
        elif following is not None:
            following.silences = silences
        if following is not None and is_last:
            del self._buckets[bucket.key]

    def _is_mute(self) -> bool:
        return not self._trigger.has_keys and self._silences >= SILENCES_MAX

    # ── events ──

    def take(self, event: Occurrence) -> None:
        """Take the next event of the log."""
        if self._tick_us is None:
            self._load(event.append_us // TICK_US * TICK_US)
        self.pass_time(event.append_us)
        self._silences = 0
        bucket = self._ensured(event)
        if bucket is not None:
            bucket.silences = 0
        if bucket is not None and event.counts:
            self._evaluate(bucket, event)

    def _load(self, now_us: int) -> None:
        self._tick_us = self._run_us = now_us
        if self._trigger.is_proactive:
            self._run(now_us)

    def _ensured(self, event: Occurrence) -> Bucket | None:
        """Return the bucket of the event's key, which it may open. Cases 1 and 2."""
        trigger, occurred_us = self._trigger, event.example.occurred_us
        bucket = self._buckets.get(event.key)
        opens = event.starts if trigger.has_after else event.counts
        if not opens:
            return bucket
        if bucket is not None:
            bucket.last = event.example
            return bucket
        if len(self._buckets) >= BUCKETS_MAX:
            self.refused += 1
            return None
        start_us = occurred_us if trigger.has_after else occurred_us - LOOK_BACK_US
        count = -1 if trigger.has_after and event.counts else 0
        bucket = Bucket(event.key, start_us, occurred_us + trigger.within_us, count, event.example)
        self._buckets[event.key] = bucket
        return bucket

    def _evaluate(self, bucket: Bucket, event: Occurrence) -> None:
        """Count the event where it belongs and fire where that is due. Cases 3 to 6 and 9."""
        trigger, now_us = self._trigger, event.example.occurred_us
        if now_us < bucket.start_us:
            return
        unspent = 1
        if now_us < bucket.end_us or (not trigger.is_proactive and not trigger.within_us):
            unspent = 0
            bucket.count += 1
            bucket.last = event.example
        meets = (bucket.count < trigger.threshold) if trigger.is_proactive else (bucket.count >= trigger.threshold)
        if meets and (not trigger.is_proactive or bucket.end_us <= now_us):
            self._fire(bucket, event.append_us, event.example)
        elif now_us < bucket.end_us:
            if trigger.is_proactive and not meets and event.starts:
                self._buckets[bucket.key] = Bucket(bucket.key, now_us, now_us + trigger.within_us, 0, event.example)
            return
        following = self._next_bucket(bucket, now_us, unspent if trigger.is_proactive else 0)
        if following is not None and unspent and not trigger.is_proactive:
            self._evaluate(following, event)

    def _next_bucket(self, bucket: Bucket, now_us: int, count: int) -> Bucket | None:
        """Replace a bucket that fired or is over."""
        if self._trigger.has_after:
            self._buckets.pop(bucket.key, None)
            return None
        if not self._trigger.within_us:
            return None
        start_us = max(bucket.end_us, now_us)
        following = Bucket(bucket.key, start_us, start_us + self._trigger.within_us, count)
        self._buckets[bucket.key] = following
        return following

    def _fire(self, bucket: Bucket, at_us: int, example: ExampleRun | None, *, is_last: bool = False) -> None:
        self._fired.append(Fired(at_us, bucket.key, bucket.count, example, is_last))
        self._buckets.pop(bucket.key, None)


def _tick_at_or_after(moment_us: int) -> int:
    return -(-moment_us // TICK_US) * TICK_US
