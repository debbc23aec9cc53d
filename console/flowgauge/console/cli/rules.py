"""`flowgauge rules validate|lint|apply|test|schema|import-prefect|next-slots`: rules as files, and schedules."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar, cast

import click
from click.core import ParameterSource

from flowgauge.console.cli import rule_history
from flowgauge.console.cli.options import (
    PREFECT_API_EXAMPLE,
    checked_address,
    config_option,
    data_option,
    existing_file,
    rule_path,
    token_option,
    url_option,
)
from flowgauge.schemas.counted import counted

if TYPE_CHECKING:
    from flowgauge.processors.cron import Dialect
    from flowgauge.processors.lint import Finding

Read = TypeVar("Read")
SLOTS_SHOWN_MAX = 1_000


@click.group()
def command() -> None:
    """Validate, lint, apply and test rules."""


for each in (rule_history.plan, rule_history.backtest, rule_history.explain):
    command.add_command(each)


@command.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
def validate(files: Sequence[Path]) -> None:
    """Check rule and channel FILES (or folders of them), every mistake with its place and remedy.

    Exit code 2 when there is a mistake. A rule may notify channels of other files where FILES hold none. A secret
    or an egress.allow that is missing here is only told: the server may have it.
    """
    from flowgauge.console.access import egress_policy
    from flowgauge.console.rule_folder import check_written
    from flowgauge.console.web.words import count
    from flowgauge.schemas.settings import load_settings
    from flowgauge.transport.yaml_files import read_documents, refuse_no_files

    refuse_no_files(files)
    written = check_written(*read_documents(files), egress_policy(load_settings(None, os.environ, {})))
    _warn(*written.warnings)
    for note in written.ruleset.notes:
        click.echo(f"note: {note}")
    click.echo(
        f"{written}: fine" + (f", but see the {count(len(written.warnings), 'warning')}" if written.warnings else "")
    )


@command.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
@click.option("--skip", multiple=True, metavar="CHECK", help="A check that is not to run; may stand more than once.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
def lint(files: Sequence[Path], *, skip: Sequence[str], form: str) -> int:
    """Find rules in FILES (or folders of them) that would not do what their author wants.

    One line for each finding, with its place, a remedy and the name of the check; docs/lint.md tells of each. Exit
    code 1 when there is a finding, 2 when there is a mistake, which `validate` tells the same way.
    """
    from flowgauge.console.rule_folder import PUBLIC_ONLY, check_written
    from flowgauge.console.text_table import printable
    from flowgauge.processors.lint import CHECKS
    from flowgauge.processors.lint import lint as findings_of
    from flowgauge.transport.yaml_files import read_documents, refuse_no_files

    if unknown := sorted({*skip} - {*CHECKS}):
        raise click.BadParameter(f"no check is called {unknown[0]!r}: {', '.join(CHECKS)}", param_hint="--skip")
    refuse_no_files(files)
    documents, problems = read_documents(files)
    ruleset = check_written(documents, problems, PUBLIC_ONLY).ruleset
    findings = findings_of(documents, ruleset, skipped=skip)
    if form == "json":
        click.echo(_as_json(findings))
    elif findings:
        click.echo("\n".join(printable(str(finding)) for finding in findings))
    else:
        click.echo(f"{counted(len(ruleset.rules), 'rule')}: nothing found")
    return 1 if findings else 0


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
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a JUnit XML report there, for CI systems."
)
def test(files: Sequence[Path], *, junit: Path | None) -> None:
    """Run the tests in FILES: events in, expected transitions out, in virtual time.

    docs/replay.md shows how such a file is written. Exit code 1 when a test does not end as expected, 2 when a file
    has a mistake.
    """
    from flowgauge.console.junit import Case, junit_xml
    from flowgauge.processors.rule_test import run_rule_test
    from flowgauge.schemas.errors import InvalidRules

    code = 0
    cases: list[Case] = []
    for file in files:
        begun = perf_counter()
        try:
            result = run_rule_test(file)
        except InvalidRules as mistakes:
            click.echo(str(mistakes), err=True)
            code = mistakes.exit_code
            cases.append(Case(str(file), perf_counter() - begun, error=str(mistakes)))
            continue
        lines = list(result.lines())
        cases.append(Case(str(file), perf_counter() - begun, failure="\n".join(lines)))
        code = code if result.has_passed else code or 1
        click.echo(f"{'ok  ' if result.has_passed else 'FAIL'} {file}: {counted(result.transitions, 'transition')}")
        for line in lines:
            click.echo(f"     {line}")
    if junit is not None:
        _write(junit, junit_xml(cases))
    raise SystemExit(code)


@command.command()
def schema() -> None:
    """Print the JSON Schema of rule files, by which editors complete and check them.

    docs/rules.md tells how. What hangs on several fields is left to `validate`.
    """
    from flowgauge.console.rule_schema import rule_file_schema

    click.echo(json.dumps(rule_file_schema(), indent=2, ensure_ascii=False))


@command.command("import-prefect")
@click.argument("file", type=existing_file, required=False)
@click.option("--api", metavar="URL", help="Of a Prefect server, such as http://127.0.0.1:4200/api, instead of FILE.")
def import_prefect(file: Path | None, api: str | None) -> None:
    """Print the Prefect automations in FILE as rules of kind `prefect`, with a note on all that differs.

    FILE is JSON or YAML, one automation or a list, as `prefect automation inspect` and Prefect's API give them. With
    --api they are read from there, with the key in PREFECT_API_KEY where that is set.
    What has no counterpart is told on standard error; then the exit code is 1.
    """
    from flowgauge.console.prefect_api import automations_at
    from flowgauge.processors.prefect_automations import imported_file, imported_from
    from flowgauge.producers.prefect.api import credentials_here

    if (file is None) == (api is None):
        raise click.UsageError("name a FILE of automations, or --api URL")
    if file is not None:
        result = imported_file(str(file), file.read_text(encoding="utf-8", errors="replace"))
    else:
        checked = checked_address(str(api), PREFECT_API_EXAMPLE)
        result = imported_from(checked, automations_at(checked, credentials_here()))
    click.echo(result.text, nl=False)
    for note in result.left_out:
        click.echo(str(note), err=True)
    raise SystemExit(1 if result.left_out else 0)


@command.command("next-slots")
@click.argument("cron")
@click.option(
    "--dialect",
    required=True,
    type=click.Choice(["debian", "airflow", "dagster", "prefect", "croniter"]),
    help="Who runs the schedule.",
)
@click.option("--tz", default="UTC", show_default=True, help="The schedule's IANA time zone.")
@click.option("--from", "since", metavar="TIME", help="Slots after this RFC 3339 time.  [default: now]")
@click.option(
    "--count", type=click.IntRange(1, SLOTS_SHOWN_MAX), default=10, show_default=True, help="How many, where there are."
)
def next_slots(cron: str, *, dialect: str, tz: str, since: str | None, count: int) -> None:
    """Print the next slots of the schedule CRON: when a run is due, with the offset from UTC, one a line.

    CRON is one argument: quote it. Dialects differ in what they read, and in local times that a change of the clock
    skips or repeats. docs/schedules.md tells how.
    """
    from flowgauge.processors.cron import parse_cron
    from flowgauge.processors.slots import Schedule, zone_named
    from flowgauge.schemas.times import EPOCH, parse_time_ms
    from flowgauge.transport.wall_clock import now_ms

    schedule = Schedule(
        _as_written("CRON", lambda: parse_cron(cron, cast("Dialect", dialect))),
        _as_written("--tz", lambda: zone_named(tz)),
    )
    after_ms = now_ms() if since is None else _as_written("--from", lambda: parse_time_ms(since))
    after = EPOCH + timedelta(milliseconds=after_ms)
    slots = _as_written("--from", lambda: list(islice(schedule.after(after), count)))
    if not slots:
        raise click.BadParameter(f"no slot comes after {after.isoformat()}: its years are over", param_hint="CRON")
    for slot in slots:
        click.echo(slot.astimezone(schedule.zone).isoformat(timespec="seconds"))


def _as_written(place: str, read: Callable[[], Read]) -> Read:
    """Return what `read` returns; name the place on the command line where it refuses."""
    try:
        return read()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=place) from None


def _write(file: Path, content: bytes) -> None:
    from flowgauge.schemas.errors import BadEnvironment

    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadEnvironment(f"{file} cannot be written: {error.strerror or error}") from None


def _as_json(findings: Sequence["Finding"]) -> str:
    fields = ("file", "line", "column", "field", "message", "remedy")
    found = [
        {"check": each.check, "rule": each.rule, **{name: getattr(each.problem, name) for name in fields}}
        for each in findings
    ]
    return json.dumps({"findings": found}, indent=2, ensure_ascii=False)


def _warn(*warnings: object) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
