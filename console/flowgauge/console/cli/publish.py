"""`flowgauge publish`: event lines of files or standard input to the gateway, whatever their number.

It is a tool and may block: lines are read on when the server has answered for those before, so nothing is ever dropped.
A bad line is told with its place and costs no other line. The light install is enough for it.
"""

import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
import msgspec

from flowgauge.console.cli.options import token_option, url_option
from flowgauge.schemas.errors import BadInput, ServerAway
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.times import format_duration, parse_duration_ms

if TYPE_CHECKING:
    import httpx2

READ_BYTES = 262_144  # at once; a line that grows past an event's bound is not kept
LINGER_S = 0.2  # how long lines wait for others while more may come through a pipe
REQUEST_TIMEOUT_S = 30.0  # a server with a slow disk answers late, and still answers
WAIT_DEFAULT = "60s"
SAID_EVERY_S = 5.0  # while no server answers
PAUSE_S_MAX = 5.0  # between tries: somebody looks on
TOLD_MAX = 100  # bad lines shown one by one; the rest is counted

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode
_STDIN: Final = "standard input"


class Line(NamedTuple):
    """One line of input: where it stands, and its bytes."""

    place: str
    raw: bytes


class _Error(msgspec.Struct):
    index: int
    reason: str
    detail: str = ""


class _Answer(msgspec.Struct):
    accepted: int
    rejected: int
    errors: list[_Error] = []


_decode_answer = msgspec.json.Decoder(_Answer).decode


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@url_option
@token_option
@click.option("--wait", default=WAIT_DEFAULT, show_default=True, help="How long to try while no server answers.")
def command(files: Sequence[Path], url: str, token: str | None, wait: str) -> None:
    """Send events, one JSON object a line of FILES or standard input, to the gateway.

    `id` and `occurred` are filled in where they are missing. A line that is no event is told, and the others go on.
    """
    sending = _Sending(url, token, _wait_ms(wait))
    try:
        with ExitStack() as held:
            for file in files or [Path("-")]:
                is_stdin = str(file) == "-"
                source = sys.stdin.buffer if is_stdin else held.enter_context(file.open("rb"))
                sending.take_all(_lines(_STDIN if is_stdin else str(file), source.fileno()))
            sending.flush()
    finally:
        sending.say_counts()
    if sending.refused:
        raise SystemExit(1)


def _wait_ms(wait: str) -> int:
    try:
        return parse_duration_ms(wait)
    except ValueError as error:
        raise BadInput(f"--wait: {error}") from None


def _lines(name: str, descriptor: int) -> Iterator[Line | None]:
    """Yield each line, and None whenever nothing came for LINGER_S. A line over the bound ends one byte past it."""
    rest, number, has_more = b"", 0, True
    while has_more:
        if not select.select([descriptor], [], [], LINGER_S)[0]:
            yield None
            continue
        data = os.read(descriptor, READ_BYTES)
        has_more = bool(data)
        *whole, rest = (rest + data).split(b"\n") if has_more else [rest, b""]
        rest = rest[: EVENT_BYTES_MAX + 1]
        for raw in whole:
            number += 1
            yield Line(f"{name}:{number}", raw.strip())


class _Sending:
    """Lines on their way to one server, a batch at a time."""

    def __init__(self, url: str, token: str | None, wait_ms: int) -> None:
        import httpx2

        from flowgauge.producers.publisher import Publisher

        self.refused = 0
        self._sent = 0
        self._lines = 0
        self._told = 0
        self._url = url
        self._wait_ms = wait_ms
        self._batch: list[Line] = []
        self._bytes = 0
        self._stamps = Publisher(url, token)  # makes ids and times; what it would send it is never given
        headers = {"Content-Type": "application/x-ndjson"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx2.Client(headers=headers, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def take_all(self, lines: Iterator[Line | None]) -> None:
        """Send what `lines` yields, in batches; at a pause what there is."""
        from flowgauge.producers.sender import BATCH_BYTES_MAX, BATCH_EVENTS_MAX

        for line in lines:
            if line is None:
                self.flush()
            elif line.raw:
                self._take(line)
            if len(self._batch) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX:
                self.flush()

    def flush(self) -> None:
        """Send the batch; return once the server has answered for all of it."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if batch:
            self._send(batch)

    def say_counts(self) -> None:
        """Say what became of the lines."""
        if self._told > TOLD_MAX:
            click.echo(f"… and {self._told - TOLD_MAX} more", err=True)
        click.echo(f"{self._lines} events: {self._sent} sent, {self.refused} refused")

    def _take(self, line: Line) -> None:
        self._lines += 1
        if len(line.raw) > EVENT_BYTES_MAX:
            self._refuse(line, f"too large: over {EVENT_BYTES_MAX} bytes")
            return
        try:
            event = _decode(line.raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(line, f"not a JSON object: {error}")
            return
        if event.get("id") is None or event.get("occurred") is None:
            line = Line(line.place, _encode(self._stamps.completed(event)))
        self._batch.append(line)
        self._bytes += len(line.raw)

    def _refuse(self, line: Line, reason: str) -> None:
        self.refused += 1
        self._told += 1
        if self._told <= TOLD_MAX:
            click.echo(f"{line.place}: {reason}", err=True)

    def _send(self, batch: list[Line]) -> None:
        from flowgauge.producers.sender import REFUSED_STATUSES, remedy_for

        response = self._answered(batch)
        if response.status_code == 200:
            self._settle(batch, response.content)
        elif response.status_code == 413 and len(batch) > 1:
            self._send(batch[: len(batch) // 2])
            self._send(batch[len(batch) // 2 :])
        elif response.status_code in REFUSED_STATUSES:
            for line in batch:
                self._refuse(line, f"{self._url} answers {response.status_code}: {response.text[:200]}")
        else:
            remedy = remedy_for(response.status_code)
            raise BadInput(f"{self._url} answers {response.status_code}{remedy} Not sent: {batch[0].place} and on")

    def _settle(self, batch: list[Line], content: bytes) -> None:
        try:
            answer = _decode_answer(content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise BadInput(f"what answers at {self._url} is no flowgauge gateway: set FLOWGAUGE_URL") from None
        for error in answer.errors:
            self._refuse(batch[error.index], f"{error.reason}: {error.detail}")
        self._sent += answer.accepted
        unlisted = answer.rejected - len(answer.errors)
        self.refused += unlisted
        self._told += unlisted

    def _answered(self, batch: list[Line]) -> "httpx2.Response":
        """Return an answer that says something of these events, or of address and token; try again until then."""
        from flowgauge.producers.sender import backoff_ms

        body = b"\n".join(line.raw for line in batch)
        began_s, said_s, attempt = time.monotonic(), float("-inf"), 0
        while isinstance(found := self._try(body), str):
            now_s = time.monotonic()
            left_s = self._wait_ms / 1000 - (now_s - began_s)
            if left_s <= 0:
                raise ServerAway(
                    f"{found} for {format_duration(self._wait_ms)}: is `flowgauge up` running at {self._url}?"
                    f" Not sent: {batch[0].place} and on"
                )
            if now_s - said_s >= SAID_EVERY_S:
                said_s = now_s
                click.echo(f"{found}; trying for {left_s:.0f} s more", err=True)
            time.sleep(min(backoff_ms(attempt) / 1000, PAUSE_S_MAX, left_s))
            attempt += 1
        return found

    def _try(self, body: bytes) -> "httpx2.Response | str":
        import httpx2

        from flowgauge.producers.sender import REFUSED_STATUSES, remedy_for

        try:
            response = self._client.post(f"{self._url.rstrip('/')}/v1/events", content=body)
        except httpx2.HTTPError as error:
            return f"no answer from {self._url} ({error or type(error).__name__})"
        status = response.status_code
        if status == 200 or status in REFUSED_STATUSES or remedy_for(status):
            return response
        return f"{self._url} answers {status}"
