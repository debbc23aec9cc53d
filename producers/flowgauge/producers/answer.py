"""What an answer of `POST /v1/events` says of the events that were sent. Pure.

SETTLED       200                       each event has its answer
TOO_LARGE     413                       halves may pass; one event alone is refused
REFUSED       400 415 422               all of them, for ever, if a gateway wrote it: `error_in`
MISDIRECTED   3xx 401 403 404 405 410   nothing: address or token are wrong until somebody mends them;
              501                       what answers does not know POST
BUSY          any other                 nothing: the same again later
"""

from enum import Enum

import msgspec

ERROR_CHARS_MAX = 200  # of what a server says to a log
RETRY_AFTER_MAX_MS = 60_000  # a server may ask for more; the buffer's bound decides then


class Verdict(Enum):
    """What to do next with the events; the table above."""

    SETTLED = "settled"
    TOO_LARGE = "too large"
    REFUSED = "refused"
    MISDIRECTED = "misdirected"
    BUSY = "busy"


class EventError(msgspec.Struct):
    """Why the event at `index` of the batch was refused. `id` is null where it could not be read."""

    index: int = -1
    reason: str = ""
    detail: str = ""
    id: str | None = None


class Answer(msgspec.Struct):
    """The body of a 200. `errors` lists the first of those `rejected`, `errors_omitted` counts the others."""

    accepted: int
    rejected: int
    errors: list[EventError] = []
    errors_omitted: int = 0


class _Refusal(msgspec.Struct):
    """The body of a gateway's answer that is no 200."""

    error: str


_decode = msgspec.json.Decoder(Answer).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def classify(status: int) -> Verdict:
    """Return what an HTTP status says of the events."""
    if status == 200:
        return Verdict.SETTLED
    if status == 413:
        return Verdict.TOO_LARGE
    if status in {400, 415, 422}:
        return Verdict.REFUSED
    return Verdict.MISDIRECTED if 300 <= status < 400 or status in {401, 403, 404, 405, 410, 501} else Verdict.BUSY


def decode_answer(content: bytes) -> Answer | None:
    """Return the body of a 200, None when no gateway wrote it."""
    try:
        return _decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def error_in(content: bytes) -> str | None:
    """Return the start of the `error` of a refusal; None where no gateway wrote it: proxies answer as well."""
    try:
        return _decode_refusal(content).error[:ERROR_CHARS_MAX]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def remedy_for(status: int) -> str:
    """Return what to look at after a MISDIRECTED answer, "" after others."""
    if classify(status) is not Verdict.MISDIRECTED:
        return ""
    what = "token right (FLOWGAUGE_TOKEN)" if status in {401, 403} else "address right (FLOWGAUGE_URL)"
    return f": is the {what}?"


def retry_after_ms(seconds: str, *, at_most_ms: int = RETRY_AFTER_MAX_MS) -> int:
    """Return the ms in a Retry-After header, 0 when it holds no number of seconds."""
    return min(int(seconds) * 1000, at_most_ms) if seconds.isdecimal() and len(seconds) < 7 else 0
