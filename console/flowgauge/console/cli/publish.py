"""`flowgauge publish`: event lines from standard input to the gateway."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
import msgspec

from flowgauge.console.cli.options import token_option, url_option
from flowgauge.schemas.errors import BadInput, ServerAway

if TYPE_CHECKING:
    from flowgauge.producers.publisher import Publisher

FLUSH_MS = 30_000  # what is still unsent after this long is told as such
FLUSH_EVERY = 10_000  # events: a fifth of the publisher's buffer, so that a long input never overruns it


@click.command()
@url_option
@token_option
def command(url: str, token: str | None) -> None:
    """Send events, one JSON object a line on standard input, to the gateway.

    `id` and `occurred` are filled in where they are missing.
    """
    from flowgauge.producers.publisher import Publisher

    publisher = Publisher(url, token)
    try:
        lines = _emit_all(publisher, sys.stdin.buffer)
        is_flushed = publisher.flush(FLUSH_MS)
    finally:
        publisher.close(FLUSH_MS)
    click.echo(f"{lines} events: {publisher.sent} sent, {publisher.refused} refused, {publisher.dropped} dropped")
    if not is_flushed or publisher.dropped:
        raise ServerAway(f"not everything reached {url}: is `flowgauge up` running?")
    if publisher.refused:
        raise SystemExit(1)


def _emit_all(publisher: "Publisher", lines: Iterable[bytes]) -> int:
    count = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise BadInput(f"standard input, line {number}: not a JSON object: {error}") from None
        publisher.emit(event)
        count += 1
        if count % FLUSH_EVERY == 0:
            publisher.flush(FLUSH_MS)
    return count
