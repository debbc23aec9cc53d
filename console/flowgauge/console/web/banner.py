"""The health banner: what the running parts say of themselves, the worst first. Pure.

*Unknown* is not an alert: it says since when detection cannot know, so that silence is never taken for health.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flowgauge.console.web.words import Moment, count, moment, span
from flowgauge.schemas.left_out import Recent, Why
from flowgauge.transport.health import Health

SINK_BEHIND_SHOWN = 50_000  # records: about two seconds of a sink at work; less is its normal beat
UNDELIVERED_SHOWN_MS = 60_000  # a message owed for longer than this is told
RULES_SHOWN = 3  # that left samples out; what they have in common is the cause
RULE_CHARS_SHOWN = 60
PARTITIONS_SHOWN = 5
UNKNOWN = "Detection is unknown since"
NOT_JUDGED = "What happened since then is not judged yet. No news is not good news here."
LEFT_OUT: Mapping[Why, tuple[str, str]] = {  # what happened to samples, and what to look at
    "late": ("came later than their rule allows", "allowed_lateness and at the senders' clocks"),
    "skewed": ("lie ahead of the clock", "the senders' clocks"),
    "keys_refused": ("are of more keys than can be held", "what for_each groups by"),
}


@dataclass(frozen=True, slots=True)
class Banner:
    """One headline with its tone, and a line for each thing to know."""

    tone: str
    icon: str
    headline: str
    since: Moment | None
    lines: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The headline with its time, for programs."""
        return f"{self.headline} {self.since.iso}" if self.since else self.headline


def banner(health: Health, now_ms: int) -> Banner:
    """Return what to say of `health` at `now_ms`."""
    lines = (*(f"{part}: {line}" for part, line in sorted(health.problems.items())), *_delays(health, now_ms))
    lines = (*lines, *_left_out(health, now_ms))
    unknown_ms = health.unknown_since_ms(now_ms)
    if unknown_ms:
        held = _held_back(health, now_ms)
        return Banner("is-unknown", "gap", UNKNOWN, moment(unknown_ms, now_ms), (NOT_JUDGED, *held, *lines))
    if health.problems:
        return Banner("is-firing", "warn", "A part of flowgauge needs attention", None, lines)
    if health.loading:
        since = moment(health.clock_ms, now_ms) if health.clock_ms else None
        return Banner("is-idle", "clock", "Reading history, now at" if since else "Reading history", since, lines)
    if lines:
        is_slow = bool(_delays(health, now_ms))
        but = "with a delay" if is_slow else "but some samples raise no alert"
        return Banner("is-pending", "clock" if is_slow else "warn", f"flowgauge works, {but}", None, lines)
    if not health.clock_ms:
        return Banner("is-idle", "clock", "Starting: detection has not seen its first second yet", None, ())
    return Banner(
        "is-resolved", "check", "Everything works. Detection has seen all until", moment(health.clock_ms, now_ms), ()
    )


def unknown_sentence(since: str) -> str:
    """Return in words that detection is unknown since the RFC 3339 time `since`."""
    return f"{UNKNOWN} {since}. {NOT_JUDGED}"


def _held_back(health: Health, now_ms: int) -> tuple[str, ...]:
    """Say which partitions stand still while others go on."""
    partitions = health.holding_back(now_ms)
    if not partitions:
        return ()
    shown = ", ".join(map(str, partitions[:PARTITIONS_SHOWN])) + (", …" if len(partitions) > PARTITIONS_SHOWN else "")
    what = "Partition" if len(partitions) == 1 else "Partitions"
    return (f"{what} {shown} of the events hold{'s' * (len(partitions) == 1)} its clock back, the others go on.",)


def _delays(health: Health, now_ms: int) -> tuple[str, ...]:
    found: list[str] = []
    if health.sink_behind >= SINK_BEHIND_SHOWN:
        found.append(
            f"ClickHouse is {count(health.sink_behind, 'record')} behind: pages and metrics lag, alerts do not"
        )
    owed_ms = now_ms - health.undelivered_since_ms if health.undelivered_since_ms else 0
    if owed_ms >= UNDELIVERED_SHOWN_MS:
        found.append(f"{count(health.undelivered, 'message')} not delivered yet, the oldest owed for {span(owed_ms)}")
    return tuple(found)


def _left_out(health: Health, now_ms: int) -> tuple[str, ...]:
    """Say what came in the last hour and no window took. A lacking key is no news: it is skipped by default."""
    recent = health.left_out.recent(now_ms)
    return tuple(_sentence(recent[why], said, now_ms) for why, said in LEFT_OUT.items() if recent[why].samples)


def _sentence(recent: Recent, said: tuple[str, str], now_ms: int) -> str:
    what, look_at = said
    names = [repr(rule[:RULE_CHARS_SHOWN]) for rule in recent.rules[:RULES_SHOWN]]
    more = len(recent.rules) - RULES_SHOWN
    names += [f"and {more} more"] if more > 0 else []
    since, newest = (moment(at_ms, now_ms).text for at_ms in (recent.since_ms, recent.newest_ms))
    return (
        f"{count(recent.samples, 'sample')} {what} since {since}, the newest at {newest}: they raise no alert; "
        f"look at {look_at} ({'rule' if len(recent.rules) == 1 else 'rules'} {', '.join(names)})"
    )
