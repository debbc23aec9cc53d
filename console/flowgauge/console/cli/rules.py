"""`flowgauge rules validate|apply|test`: rules as files under version control."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from flowgauge.console.cli.options import data_option, existing_file, token_option, url_option

rule_path = click.Path(exists=True, path_type=Path)


@click.group()
def command() -> None:
    """Validate, apply and test rules."""


@command.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
def validate(files: Sequence[Path]) -> None:
    """Check rule and channel FILES (or folders of them), every mistake with its place and remedy.

    Exit code 2 when there is a mistake.
    """
    from flowgauge.console.rule_folder import read_written

    written = read_written(list(files))
    for warning in written.ruleset.warnings:
        click.echo(f"{warning}", err=True)
    click.echo(f"{len(written.ruleset.rules)} rules and {len(written.channels.channels)} channels are fine")


@command.command()
@click.argument("files", nargs=-1, required=True, type=existing_file)
@url_option
@token_option
@data_option
def apply(files: Sequence[Path], url: str, token: str | None, data: Path) -> None:
    """Put the rules and channels of FILES in force, in place of those before.

    Goes to the running server, or into the data folder when no server owns it.
    """
    from flowgauge.console.applying import apply_files
    from flowgauge.console.ask import Place

    click.echo(asyncio.run(apply_files(Place(url, token, data), files)))


@command.command()
@click.argument("files", nargs=-1, required=True, type=existing_file)
def test(files: Sequence[Path]) -> None:
    """Run the stories in FILES: events in, expected transitions out, in virtual time.

    Exit code 1 when a story does not end as expected.
    """
    from flowgauge.processors.rule_test import run_rule_test

    is_fine = True
    for file in files:
        result = run_rule_test(file)
        is_fine &= result.has_passed
        click.echo(f"{'ok  ' if result.has_passed else 'FAIL'} {file}: {result.transitions} transitions")
        for missing in result.missing:
            click.echo(f"     did not come: {missing}")
        for unexpected in result.unexpected:
            click.echo(f"     was not expected: {unexpected}")
    raise SystemExit(0 if is_fine else 1)
