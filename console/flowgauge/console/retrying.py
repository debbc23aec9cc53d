"""What may be sent again of the dlq, and why the rest may not. Pure.

cut when it was kept     never: only a beginning is there
stored meanwhile         not unless asked: its id is among the events, so it was sent again before
still no event           not: what `check` says of it today
else                     as its first bytes, through the gateway: an event that is appended now
"""

import base64
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.refusal import refusal
from flowgauge.schemas.topics import DLQ, EVENTS
from flowgauge.transport.event_record import event_record

BY_HAND_MAX = 10  # letters of which is told one by one what to do: people mend no more at a time
_STILL_BAD = "still bad"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: its name, why it was one, what is kept of `size` bytes, and whether its event is stored.

    `source` is the place of its record in the events, such as 0@12, "" where it never came so far.
    """

    name: str
    time: str
    reason: str
    source: str
    value: bytes
    size: int
    is_stored: bool


def letter_in(row: Mapping[str, object]) -> Letter:
    """Return the letter that a row of `GET /v1/dlq/letters` tells."""
    return Letter(
        name=str(row["letter"]),
        time=str(row["time"]),
        reason=str(row["reason"]),
        source=str(row["source"]),
        value=base64.b64decode(str(row["value"])),
        size=cast("int", row["size"]),
        is_stored=bool(row["is_stored"]),
    )


def reasons_against(letters: Sequence[Letter], *, again: bool, now_ms: int) -> dict[str, str]:
    """Return of each of `letters`, by name, why it cannot be sent again at `now_ms`, "" when it can."""
    reasons: dict[str, str] = {}
    first: dict[bytes, str] = {}
    for letter in letters:
        before = first.setdefault(letter.value, letter.name)
        twin = "" if before == letter.name else f"the same as {before}"
        reasons[letter.name] = twin or _why_not(letter, again=again, now_ms=now_ms)
    return reasons


def by_hand(letters: Sequence[Letter], reasons: Mapping[str, str], *, tenant: str) -> Iterator[str]:
    """Yield of each of `letters` that is still no event which record it is, why, and how somebody mends it.

    The letters are those of `tenant`, "" where none was named. Of more than BY_HAND_MAX the rest is counted.
    """
    bad = [letter for letter in letters if reasons[letter.name].startswith(_STILL_BAD)]
    whose = f" --tenant {shlex.quote(tenant)}" if tenant else ""
    for letter in bad[:BY_HAND_MAX]:
        origin = f", of {EVENTS}-{letter.source}" if letter.source else ""
        shown = f"flowgauge dlq show {letter.name}{whose} > event.json"
        yield f"{DLQ}-{letter.name}{origin}: {reasons[letter.name]}: {shown}, edit it, flowgauge publish event.json"
    if (more := len(bad) - BY_HAND_MAX) > 0:
        yield f"{counted(more, 'more letter is', 'more letters are')} still bad: each is mended so"


def _why_not(letter: Letter, *, again: bool, now_ms: int) -> str:
    if letter.size > len(letter.value):
        return f"cut: {len(letter.value)} of {letter.size} bytes are kept (send it again from where it came)"
    if letter.is_stored and not again:
        return "stored: an event of its id is there (--again sends it all the same)"
    try:
        event_record(letter.value, tenant="default", append_ms=now_ms, partitions=1)
    except InvalidEvent as invalid:
        return f"{_STILL_BAD}: {invalid.reason}: {refusal(invalid, letter.value)}"
    return ""
