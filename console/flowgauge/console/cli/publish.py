"""`flowgauge publish`: event lines of files or standard input to the gateway, whatever their number.

It is a tool and may block: lines are read on when the server has answered for those before, so nothing is ever dropped.
A bad line is told with its place and costs no other line. The light install is enough for it.
"""

import os
import select
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from typing import Final, NamedTuple, cast

import click
import msgspec

from flowgauge.console.cli.options import token_option, url_option
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput, ServerAway
from flowgauge.schemas.event import EVENT_BYTES_MAX
from flowgauge.schemas.times import parse_duration_ms

READ_BYTES = 262_144  # at once; a line that grows past an event's bound is not kept
LINGER_S = 0.2  # how long lines wait for others while more may come through a pipe
WAIT_DEFAULT = "60s"
TOLD_MAX = 100  # bad lines shown one by one; the rest is counted

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode
_STDIN: Final = "standard input"


class Line(NamedTuple):
    """One line of input: where it stands, its bytes, and why it is not sent if it is not."""

    place: str
    raw: bytes
    problem: str = ""


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@url_option
@token_option
@click.option("--wait", default=WAIT_DEFAULT, show_default=True, help="How long to try while no server answers.")
def command(files: Sequence[Path], url: str, token: str | None, wait: str) -> None:
    """Send events, one JSON object a line of FILES (gzipped or not) or standard input, to the gateway.

    `id` and `occurred` are filled in where they are missing. A line that is no event is told, and the others go on.
    """
    publishing = _Publishing(url, token, _wait_ms(wait))
    try:
        with ExitStack() as held:
            for file in files or [Path("-")]:
                is_stdin = str(file) == "-"
                source = cast("BufferedReader", sys.stdin.buffer if is_stdin else held.enter_context(file.open("rb")))
                publishing.take_all(_STDIN if is_stdin else str(file), source)
            publishing.flush()
    finally:
        publishing.say_counts()
    if publishing.refused:
        raise SystemExit(1)


def _wait_ms(wait: str) -> int:
    try:
        return parse_duration_ms(wait)
    except ValueError as error:
        raise BadInput(f"--wait: {error}") from None


def _lines(name: str, source: BufferedReader) -> Iterator[bytes | None]:
    """Yield each line, and None whenever nothing came for LINGER_S through a pipe."""
    from flowgauge.producers.event_file import is_gzip, lines_of

    if stat.S_ISREG(os.fstat(source.fileno()).st_mode) or is_gzip(source):
        yield from lines_of(source, name)
        return
    rest, data = b"", source.read1(READ_BYTES)  # what was looked at already
    while data:
        *whole, rest = (rest + data).split(b"\n")
        rest = rest[: EVENT_BYTES_MAX + 1]
        yield from whole
        while not select.select([source], [], [], LINGER_S)[0]:
            yield None
        data = source.read1(READ_BYTES)
    yield rest


def _refuse_capture(name: str, first: bytes) -> None:
    from flowgauge.console.history import is_capture

    if is_capture(first):
        convert = f"flowgauge prefect convert {'/dev/stdin' if name == _STDIN else shlex.quote(name)}"
        raise BadInput(
            f"{name}: a capture of a Prefect server, not event lines: convert it first ({convert} | flowgauge publish)"
        )


class _Publishing:
    """Lines on their way to one server, a batch at a time."""

    def __init__(self, url: str, token: str | None, wait_ms: int) -> None:
        from flowgauge.producers.blocking_sender import BlockingSender
        from flowgauge.producers.publisher import Publisher

        self.refused = 0
        self._sent = 0
        self._lines = 0
        self._told = 0
        self._batch: list[Line] = []
        self._bytes = 0
        self._stamps = Publisher(url, token)  # makes ids and times; what it would send it is never given
        self._sender = BlockingSender(url, token, wait_ms=wait_ms, say=lambda text: click.echo(text, err=True))

    def take_all(self, name: str, source: BufferedReader) -> None:
        """Send the lines of `source`, in batches; at a pause what there is, and what came before an error in it."""
        from flowgauge.producers.sender import BATCH_BYTES_MAX, BATCH_EVENTS_MAX

        number = 0
        try:
            for line in _lines(name, source):
                if line is None:
                    self.flush()
                    continue
                number += 1
                if number == 1:
                    _refuse_capture(name, line)
                if raw := line.strip():
                    self._take(f"{name}:{number}", raw)
                if len(self._batch) >= BATCH_EVENTS_MAX or self._bytes >= BATCH_BYTES_MAX:
                    self.flush()
        except BadInput:
            self.flush()
            raise

    def flush(self) -> None:
        """Send the batch; return once the server has answered for all of it. Refusals are told in order of lines."""
        batch, self._batch, self._bytes = self._batch, [], 0
        events = [line for line in batch if not line.problem]
        answers: list[str] = []  # why each was refused, "" for one that was not
        try:
            for settled in self._sender.send([line.raw for line in events]):
                answers += (settled.refused.get(index, "") for index in range(settled.count))
                self._sent += settled.accepted
                self.refused += settled.unlisted
        except (BadInput, ServerAway) as error:
            raise type(error)(f"{error} Not sent: {events[len(answers)].place} and on") from None
        finally:
            answered = iter(answers)
            for line in batch:
                if reason := line.problem or next(answered, ""):
                    self._refuse(line.place, reason)

    def say_counts(self) -> None:
        """Say what became of the lines that were read."""
        if self.refused > self._told:
            click.echo(f"… and {self.refused - self._told} more", err=True)
        unsent = self._lines - self._sent - self.refused
        click.echo(
            f"{counted(self._lines, 'event')}: {self._sent:,} sent, {self.refused:,} refused"
            + (f", {unsent:,} not sent" if unsent else "")
        )

    def _take(self, place: str, raw: bytes) -> None:
        self._lines += 1
        line = self._line(place, raw)
        self._batch.append(line)
        self._bytes += len(line.raw)

    def _line(self, place: str, raw: bytes) -> Line:
        if len(raw) > EVENT_BYTES_MAX:
            return Line(place, b"", f"too large: over {EVENT_BYTES_MAX} bytes")
        try:
            event = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Line(place, b"", f"not a JSON object: {error}")
        if event.get("id") is None or event.get("occurred") is None:
            raw = _encode(self._stamps.completed(event))
        return Line(place, raw)

    def _refuse(self, place: str, reason: str) -> None:
        self.refused += 1
        if self._told < TOLD_MAX:
            self._told += 1
            click.echo(f"{place}: {reason}", err=True)
