"""`flowgauge prefect convert`: a capture of a Prefect server as flowgauge events."""

import sys
from pathlib import Path

import click

from flowgauge.console.cli.options import existing_file


@click.group()
def command() -> None:
    """Turn a capture of a Prefect server into event lines."""


@command.command()
@click.argument("file", type=existing_file)
def convert(file: Path) -> None:
    """Print the capture FILE (gzipped or not) as event lines for `replay` and `up --load`.

    A line of a capture is one message of Prefect's broker: {"topic": "events" or "logs", "data": {…}}. Lines that
    cannot be converted are told on standard error; then the exit code is 1, or 2 where nothing could be converted.
    """
    from flowgauge.producers.prefect.convert import convert_file
    from flowgauge.schemas.errors import BadInput

    counts = convert_file(file, sys.stdout.buffer, sys.stderr)
    sys.stdout.buffer.flush()
    if counts.events_already and not counts.events + counts.logs:
        raise BadInput(f"{file}: these are event lines already: give them to replay, publish or up --load as they are")
    if not counts.events + counts.logs:
        raise BadInput(f"{file}: nothing in it is of a capture of a Prefect server")
    raise SystemExit(1 if counts.bad else 0)
