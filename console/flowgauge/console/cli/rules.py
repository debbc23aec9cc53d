"""`flowgauge rules validate|apply|test`: rules as files under version control."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from flowgauge.console.cli.options import config_option, data_option, existing_file, token_option, url_option
from flowgauge.schemas.counted import counted

rule_path = click.Path(exists=True, path_type=Path)


@click.group()
def command() -> None:
    """Validate, apply and test rules."""


@command.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
def validate(files: Sequence[Path]) -> None:
    """Check rule and channel FILES (or folders of them), every mistake with its place and remedy.

    Exit code 2 when there is a mistake. A rule may notify channels of other files where FILES hold none. A secret
    or an egress.allow that is missing here is only told: the server may have it.
    """
    from flowgauge.console.access import egress_policy
    from flowgauge.console.rule_folder import read_written
    from flowgauge.console.web.words import count
    from flowgauge.schemas.settings import load_settings
    from flowgauge.transport.yaml_files import refuse_no_files

    refuse_no_files(files)
    written = read_written(list(files), egress_policy(load_settings(None, os.environ, {})))
    if written.channels.channels:
        written.refuse_unknown_channels()
    _warn(*written.warnings)
    for note in written.ruleset.notes:
        click.echo(f"note: {note}")
    click.echo(
        f"{written}: fine" + (f", but see the {count(len(written.warnings), 'warning')}" if written.warnings else "")
    )


@command.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
@url_option
@token_option
@data_option
@config_option
@click.pass_context
def apply(
    context: click.Context, files: Sequence[Path], *, url: str, token: str | None, data: Path, config: Path | None
) -> None:
    """Put the rules and channels of FILES (or folders of them) in force, in place of those before.

    Goes to the Kafka log where the settings name one, and there the rules alone; else, or with --url, to the running
    server, or into the data folder when no server owns it.
    """
    from flowgauge.console.applying import apply_files
    from flowgauge.console.ask import Place
    from flowgauge.schemas.settings import load_settings

    settings = load_settings(config, os.environ, {})
    if settings.kafka.bootstrap and context.get_parameter_source("url") is ParameterSource.DEFAULT:
        from flowgauge.console.kafka_rules import apply_to_kafka, told_elsewhere

        written, applied = asyncio.run(apply_to_kafka(settings, files))
        note = told_elsewhere(written)
    else:
        written, applied = asyncio.run(apply_files(Place(url, token, data), files))
        note = ""
    _warn(*applied.warnings)
    click.echo(f"rule set {applied.version} is in force: {written}")
    if note:
        click.echo(note)


@command.command()
@click.argument("files", nargs=-1, required=True, type=existing_file)
def test(files: Sequence[Path]) -> None:
    """Run the tests in FILES: events in, expected transitions out, in virtual time.

    docs/replay.md shows how such a file is written. Exit code 1 when a test does not end as expected, 2 when a file
    has a mistake.
    """
    from flowgauge.processors.rule_test import run_rule_test
    from flowgauge.schemas.errors import InvalidRules

    code = 0
    for file in files:
        try:
            result = run_rule_test(file)
        except InvalidRules as mistakes:
            click.echo(str(mistakes), err=True)
            code = mistakes.exit_code
            continue
        code = code if result.has_passed else code or 1
        click.echo(f"{'ok  ' if result.has_passed else 'FAIL'} {file}: {counted(result.transitions, 'transition')}")
        for line in result.lines():
            click.echo(f"     {line}")
    raise SystemExit(code)


def _warn(*warnings: object) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
