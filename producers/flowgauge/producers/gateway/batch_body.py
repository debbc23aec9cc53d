r"""The body of a request to publish: from bytes on the wire to the raw bytes of each event. Pure.

    1. a JSON list          [{…}, {…}]         any JSON content type
    2. one JSON object      {…}                may span lines
    3. NDJSON               {…}\n{…}\n         a broken line is one broken event; its neighbours stand
    4. a broken JSON list   [{…}, {"a": NaN}]  cut at its outer commas, so that good neighbours stand too
    5. anything else        BrokenBody, with what was expected

The first byte decides between 1 and the rest, unless the content type says NDJSON. Events are not decoded here.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec

BODY_BYTES_MAX = 16 * 1_048_576  # as it comes over the wire
RAW_BYTES_MAX = 64 * 1_048_576  # after gzip; what one request may hold in memory
EVENTS_MAX = 50_000  # one append to the log, and one answer with a line for each bad one
LINES_MAX = 2 * EVENTS_MAX  # with blank ones
GZIP_MEMBERS_MAX = 1_000  # joined gzip files in one body; each costs a copy of the rest
TOKENS_MAX = 2_000_000  # brackets, commas and strings looked at while a list is cut: one to two seconds
COMMAS_MAX = 1_000_000  # 20 an event. A list with more may be tiny elements only: it is cut with a bound, not decoded

_Raw = TypeVar("_Raw", bytes, msgspec.Raw)
_NDJSON = "ndjson"
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_one = msgspec.json.Decoder(msgspec.Raw).decode
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
# Possessive, and a string that never closes, even one that ends in half an escape, is a token to the end: each byte is
# looked at once, whatever is sent.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


class BrokenBody(Exception):
    """A body in which no events can be told apart."""


class BodyTooLarge(Exception):
    """A body over one of the bounds above; says which."""


class Gunzip:
    """Decompresses a gzip body piece by piece and never makes more than `bytes_max` of it."""

    def __init__(self, bytes_max: int = RAW_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._member = zlib.decompressobj(wbits=31)
        self._size = 0
        self._members = 1

    def feed(self, piece: bytes) -> bytes:
        """Return what `piece` adds. Raises BodyTooLarge, or BrokenBody when it is not gzip."""
        made: list[bytes] = []
        while piece:
            if self._member.eof:  # gzip files may be joined
                self._member = zlib.decompressobj(wbits=31)
                self._members += 1
                if self._members > GZIP_MEMBERS_MAX:
                    raise BodyTooLarge(f"more than {GZIP_MEMBERS_MAX} gzip members: send them as one")
            made.append(self._inflate(piece))
            piece = self._member.unused_data
        return b"".join(made)

    def finish(self) -> None:
        """Raise BrokenBody when the body ended inside a gzip member."""
        if not self._member.eof:
            raise BrokenBody("the gzip body is cut short")

    def _inflate(self, piece: bytes) -> bytes:
        try:
            raw = self._member.decompress(piece, self._bytes_max - self._size + 1)
        except zlib.error as error:
            raise BrokenBody(f"not gzip: {error}") from None
        self._size += len(raw)
        if self._size > self._bytes_max:
            raise BodyTooLarge(f"more than {self._bytes_max} bytes after gzip: send smaller batches")
        return raw


def split_events(body: bytes, content_type: str) -> Sequence[bytes]:
    """Return the raw bytes of each event in `body`, blank lines left out.

    Raises BrokenBody (case 5) or BodyTooLarge (more than EVENTS_MAX).
    """
    body = body.removeprefix(_BOM).strip(_SPACE)
    if _NDJSON in content_type or "jsonl" in content_type:
        return _lines(body)
    if body[:1] == b"[":
        return _elements(body)
    if body[:1] == b"{":
        return _one_or_lines(body)
    expected = "expected a JSON list of events, one event or NDJSON"
    raise BrokenBody(
        f"{expected}, got {body[:40].decode(errors='replace')!r}" if body else f"{expected}, got an empty body"
    )


def _elements(body: bytes) -> Sequence[bytes]:
    if body.count(b",") <= COMMAS_MAX:
        try:
            return [bytes(raw) for raw in _bounded(_decode_list(body))]
        except (msgspec.DecodeError, RecursionError):
            pass  # case 4: one element is broken, or nested deeper than the decoder's stack
    return _bounded(list(_cut(body)))


def _one_or_lines(body: bytes) -> Sequence[bytes]:
    try:
        return [bytes(_decode_one(body))]
    except (msgspec.DecodeError, RecursionError):
        return _lines(body)


def _lines(body: bytes) -> Sequence[bytes]:
    lines = body.split(b"\n", LINES_MAX)
    if len(lines) > LINES_MAX:
        raise BodyTooLarge(f"more than {LINES_MAX} lines: send smaller batches")
    return _bounded([stripped for line in lines if (stripped := line.strip(_SPACE))])


def _cut(body: bytes) -> Iterator[bytes]:
    """Yield what stands between the outer commas of a list, each EVENTS_MAX + 1 at most."""
    depth = found = 0
    start = 1
    for number, token in enumerate(_TOKEN.finditer(body)):
        if number > TOKENS_MAX:
            raise BodyTooLarge(f"a list of more than {TOKENS_MAX} brackets, commas and strings: send smaller batches")
        mark = token[0]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if (mark == b"," and depth == 1) or depth == 0:
            if piece := body[start : token.start()].strip(_SPACE):
                yield piece
                found += 1
            start = token.end()
            if depth == 0 or found > EVENTS_MAX:
                break
    if found <= EVENTS_MAX and (depth != 0 or start != len(body)):
        raise BrokenBody("a JSON list that does not end where its first bracket closes")


def _bounded(events: Sequence[_Raw]) -> Sequence[_Raw]:
    if len(events) > EVENTS_MAX:
        raise BodyTooLarge(f"more than {EVENTS_MAX} events: send smaller batches")
    return events
