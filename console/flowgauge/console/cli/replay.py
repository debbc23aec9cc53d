"""`flowgauge replay`: recorded events through rules, offline and in virtual time."""

from collections.abc import Sequence
from pathlib import Path

import click

from flowgauge.console.cli.options import existing_file, rules_option


@click.command()
@click.argument("events", type=existing_file)
@rules_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "table"]),
    default="table",
    show_default=True,
    help="For programs or for people.",
)
@click.option("--until", help="Move the clock to this time at the end.  [default: the last append]")
def command(events: Path, files: Sequence[Path], form: str, until: str | None) -> None:
    """Print each transition that RULES make of the event lines in EVENTS (gzipped or not).

    A line is an event, one JSON object; its `_append` is when the log got it, else the largest `occurred` so far;
    `_partition` is its source partition. The same input always prints the same transitions with the same ids, as `up`
    would have made.

    Exit code 1 when some lines cannot be read, 2 when none can.
    """
    from flowgauge.console.replaying import replay_file
    from flowgauge.console.text_table import printable

    def complain(line: str) -> None:
        click.echo(printable(line), err=True)

    raise SystemExit(replay_file(events, files, form=form, until=until, say=click.echo, complain=complain))
