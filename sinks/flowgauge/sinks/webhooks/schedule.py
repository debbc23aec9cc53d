"""When a message is tried again, and when it is given up: pure, and the same on every machine.

    attempt    1   2     3     4     5      6      7     8     9     10    …
    page       0   5 s   30 s  2 m   10 m   30 m   1 h   2 h   5 h   8 h   … 12 h   about 75 h in all, then dead
    chat       0   5 s   30 s  2 m   10 m   30 m   1 h   2 h   4 h                  about 8 h: later it is no news
    generic    0   5 s   5 m   30 m  2 h    5 h    10 h  14 h  20 h  24 h           about 75 h

Each wait is up to 20 % shorter or longer, drawn from the delivery's id and the attempt, so that a receiver that comes
back is not met by everybody at once. `Retry-After` can make a wait longer, up to an hour, never shorter.
Only 2xx is success. 410 means that the endpoint wants no more: no retry. All else is tried again.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from flowgauge.schemas.times import micros

RetryClass = Literal["page", "chat", "generic"]

_S, _M, _H = 1_000, 60_000, 3_600_000
_SOON_MS = (0, 5 * _S, 30 * _S, 2 * _M, 10 * _M, 30 * _M, 1 * _H, 2 * _H)
RETRY_DELAYS_MS: Mapping[RetryClass, tuple[int, ...]] = {
    # A weekend without anybody at the receiver.
    "page": (*_SOON_MS, 5 * _H, 8 * _H, 10 * _H, 12 * _H, 12 * _H, 12 * _H, 12 * _H),
    "chat": (*_SOON_MS, 4 * _H),
    # The example of the Standard Webhooks specification.
    "generic": (0, 5 * _S, 5 * _M, 30 * _M, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H),
}
RETRY_AFTER_MS_MAX = _H  # a receiver may ask for this much patience beyond the schedule, not for silence
JITTER_PERCENT = 20
WAIT_MS_MAX = max(map(max, RETRY_DELAYS_MS.values())) * (100 + JITTER_PERCENT) // 100  # no wait is longer

GONE = "endpoint gone: it answered 410"
NO_CHANNEL = "no such channel"
NO_SECRET = "secret not available"  # noqa: S105  # a reason, no secret
NOT_SENT = "could not be sent"

_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt came to. `reason` is from a bounded set, never a host, URL or answer."""

    outcome: Literal["delivered", "failed", "dead"]
    reason: str = ""
    status: int = 0  # HTTP status; 0 when no answer came
    elapsed_ms: int = 0
    retry_after_ms: int = 0  # what the receiver asked for
    reference: str = ""  # by which the channel knows what it was told, for a change in place
    was_tried: bool = True  # else nothing went out: it costs no patience to try it early
    is_gone: bool = False  # the endpoint wants nothing any more: nobody tries it again


def judge_answer(status: int, *, retry_after: str, elapsed_ms: int, now_ms: int) -> Verdict:
    """Return what an answer with `status` and this Retry-After header ("" for none) means."""
    if 200 <= status < 300:
        return Verdict("delivered", "", status, elapsed_ms)
    if status == 410:
        return Verdict("dead", GONE, status, elapsed_ms, is_gone=True)
    reason = "answered 429" if status == 429 else f"answered {status // 100}xx"
    return Verdict("failed", reason, status, elapsed_ms, parse_retry_after_ms(retry_after, now_ms))


def retry_delay_ms(delivery_id: str, failures: int, asked_ms: int = 0, *, retry: RetryClass = "page") -> int | None:
    """Return how long to wait after the `failures`-th failure (from 1); None when it is given up."""
    delays_ms = RETRY_DELAYS_MS[retry]
    if failures >= len(delays_ms):
        return None
    scheduled_ms = delays_ms[failures] * (100 + _jitter_percent(delivery_id, failures)) // 100
    return max(scheduled_ms, min(asked_ms, RETRY_AFTER_MS_MAX))


def parse_retry_after_ms(text: str, now_ms: int) -> int:
    """Return the wait that a Retry-After header asks for: whole or broken seconds, or an HTTP date.

    What cannot be read, and what lies in the past, asks for nothing: 0.
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return int(float(text) * 1000)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0
    return max(0, micros(moment) // 1000 - now_ms) if moment.tzinfo else 0


def _jitter_percent(delivery_id: str, failures: int) -> int:
    """Return a number in ±JITTER_PERCENT that looks random and is not."""
    drawn = hashlib.sha256(f"{delivery_id} {failures}".encode()).digest()
    return int.from_bytes(drawn[:4]) % (2 * JITTER_PERCENT + 1) - JITTER_PERCENT
