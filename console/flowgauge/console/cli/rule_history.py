"""`flowgauge rules backtest|explain|plan`: what rules would have done, why, and what a change of them would do."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from flowgauge.console.cli import options
from flowgauge.console.cli.options import (
    data_option,
    existing_file,
    format_option,
    rule_path,
    tenant_option,
    token_option,
    url_option,
)
from flowgauge.schemas.flapping import FLAP_MS
from flowgauge.schemas.times import format_duration

if TYPE_CHECKING:
    from flowgauge.console.ask import Place
    from flowgauge.console.past_events import PastEvents, Span
    from flowgauge.console.running_rules import RunningRules
    from flowgauge.processors.replay import ReplayCounts
    from flowgauge.processors.ruleset import CompiledRule

LIMIT_DEFAULT = 100
SINCE_DEFAULT_MS = 7 * 86_400_000


def _length(_context: click.Context, option: click.Parameter, text: str) -> int:
    from flowgauge.schemas.times import parse_duration_ms

    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which past is asked about, as it was written."""

    events: Path | None
    since: str | None
    until: str | None
    tenant: str | None
    url: str
    token: str | None
    data: Path


HISTORY_OPTIONS = (
    click.option(
        "--events", type=existing_file, help="Event lines to read, as `flowgauge replay` does, gzipped or not."
    ),
    click.option(
        "--since",
        help="From when on to tell: how long ago, a day or a time.  [default: 7d; of --events, all that they hold]",
    ),
    click.option("--until", help="Where the clock ends, as --since.  [default: now; of --events, the last append]"),
    tenant_option,
    url_option,
    token_option,
    data_option,
)


def history_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command HISTORY_OPTIONS, which reach it as `asked`."""

    @wraps(command)
    def with_asked(**given: Any) -> int:
        asked = Asked(**{each.name: given.pop(each.name) for each in fields(Asked)})
        return command(asked=asked, **given)

    for option in reversed(HISTORY_OPTIONS):
        with_asked = option(with_asked)
    return with_asked


@click.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
@history_options
@click.option(
    "--against", multiple=True, type=rule_path, help="Other rules to compare with, a file or a folder; repeatable."
)
@click.option(
    "--flap",
    default=format_duration(FLAP_MS),
    show_default=True,
    callback=_length,
    help="Fired again so soon after its end: a flap.",
)
@click.option("--brief", default="5m", show_default=True, callback=_length, help="Over sooner than that: brief.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=LIMIT_DEFAULT, show_default=True, help="Rows of a table, at most."
)
@format_option
def backtest(
    *,
    asked: Asked,
    files: Sequence[Path],
    against: Sequence[Path],
    flap: int,
    brief: int,
    limit: int,
    form: str,
) -> int:
    """Tell when the rules in FILES (or folders of them) would have fired, for how long, and how noisily.

    The incidents have the ids that they would have had live. docs/backtest.md tells what the numbers mean.
    """
    import msgspec

    from flowgauge.console.backtesting import backtest as run
    from flowgauge.console.backtesting import backtest_json, backtest_tables
    from flowgauge.processors.backtest import Limits
    from flowgauge.processors.ruleset import load_rules
    from flowgauge.transport.yaml_files import refuse_no_files

    refuse_no_files(files)
    ruleset, other = load_rules(files), load_rules(against) if against else None
    rules = (*ruleset.rules, *(other.rules if other else ()))
    with _history(asked, rules) as (past, span):
        found = run(past, (ruleset, other), span, Limits(flap, brief))
    if form == "json":
        click.echo(msgspec.json.encode(backtest_json(found)))
    else:
        click.echo("\n\n".join(backtest_tables(found, limit)))
    return _complain(past, found.counts)


@click.command()
@click.argument("rule")
@click.argument("key", nargs=-1)
@click.option(
    "--rules",
    "files",
    multiple=True,
    type=rule_path,
    help="A rule file or a folder of them; repeatable.  [default: those in force]",
)
@history_options
@click.option("--at", help="When, as --since.  [default: the end]")
@click.option(
    "--rows", type=click.IntRange(1, LIMIT_DEFAULT), default=10, show_default=True, help="Evaluations before."
)
@format_option
def explain(
    *,
    asked: Asked,
    rule: str,
    key: Sequence[str],
    files: Sequence[Path],
    at: str | None,
    rows: int,
    form: str,
) -> int:
    """Tell why RULE fires or does not for KEY: a FIELD=VALUE for each field of its `for_each`.

    Prints what was read at each evaluation before --at and after, and in words why that did not fire. RULE is one of
    those in force, or of --rules.
    """
    import msgspec

    from flowgauge.console.explaining import Explanation
    from flowgauge.console.text_table import printable
    from flowgauge.processors.explaining import Watch, key_of

    item, tenant = _rule_of(asked, rule, files)
    watch = Watch(item, key_of(item, tenant, key), _moment("--at", at), rows)
    with _history(asked, [item], _moment("--at", at)) as (past, span):
        found = Explanation(past, watch, span)
    if form == "json":
        click.echo(msgspec.json.encode(found.json()))
    else:
        click.echo(printable("\n\n".join(found.text()), keep="\n"))
    return _complain(past, found.counts)


@click.command()
@click.argument("files", nargs=-1, required=True, type=rule_path)
@click.option(
    "--against",
    multiple=True,
    type=rule_path,
    help="Rules before, a file or a folder; repeatable.  [default: those in force]",
)
@format_option
@tenant_option
@url_option
@token_option
@data_option
def plan(  # one parameter an option
    *,
    files: Sequence[Path],
    against: Sequence[Path],
    form: str,
    tenant: str | None,
    url: str,
    token: str | None,
    data: Path,
) -> None:
    """Tell what the rules in FILES would do in place of those in force: to each rule, its windows and open incidents.

    Of a rule that is new, all its fields with their defaults; of one that changes, the fields that do.
    """
    import msgspec

    from flowgauge.console.ask import Place
    from flowgauge.console.planning import plan_json, plan_lines
    from flowgauge.console.text_table import printable
    from flowgauge.processors.rule_plan import plan as planned_of
    from flowgauge.processors.ruleset import load_rules
    from flowgauge.transport.yaml_files import refuse_no_files

    refuse_no_files(files)
    after = load_rules(files)
    if against:
        planned = planned_of(load_rules(against), after)
    else:
        running = _running(Place(url, token, data), tenant)
        planned = planned_of(running.ruleset, running.of_the_same(after), running.open_incidents)
    if form == "json":
        click.echo(msgspec.json.encode(plan_json(planned)))
    else:
        click.echo("\n".join(printable(line) for line in plan_lines(planned)))


def _rule_of(asked: Asked, name: str, files: Sequence[Path]) -> tuple["CompiledRule", str]:
    """Return the rule of `files`, or else in force, and whose events it is asked about."""
    from flowgauge.console.ask import Place
    from flowgauge.processors.explaining import rule_named
    from flowgauge.processors.ruleset import load_rules
    from flowgauge.schemas.event import DEFAULT_TENANT
    from flowgauge.transport.yaml_files import refuse_no_files

    if files:
        refuse_no_files(files)
        tenant = asked.tenant or DEFAULT_TENANT
        return rule_named(load_rules(files), name, tenant), tenant
    running = _running(Place(asked.url, asked.token, asked.data), asked.tenant)
    return rule_named(running.ruleset, name, running.tenant), running.tenant


def _running(place: "Place", tenant: str | None) -> "RunningRules":
    """Return the rules in force; say on standard error where no server answers."""
    from flowgauge.console.running_rules import running_rules

    running = asyncio.run(running_rules(place, options.whose(tenant)))
    if running.folder is not None:
        click.echo(f"no server runs: the rules in force are read from {running.folder}", err=True)
    return running


@contextmanager
def _history(
    asked: Asked, rules: Sequence["CompiledRule"], at_ms: int | None = None
) -> Generator[tuple["PastEvents", "Span"]]:
    """Read the past that is asked about, from a file or from ClickHouse; say where no server answers.

    Of ClickHouse it begins a week before `at_ms`, where nothing else is said, or before its end.
    """
    from flowgauge.console.ask import Place, tenant_in
    from flowgauge.console.past_events import PastEvents, Span
    from flowgauge.console.stored_events import stored_events
    from flowgauge.transport.wall_clock import now_ms

    since_ms, until_ms = _moment("--since", asked.since), _moment("--until", asked.until)
    if asked.events is not None:
        yield PastEvents(asked.events), Span(since_ms, until_ms)
        return
    end_ms = now_ms() if until_ms is None else until_ms
    begin_ms = since_ms if since_ms is not None else (end_ms if at_ms is None else at_ms) - SINCE_DEFAULT_MS
    whose, place = options.whose(asked.tenant), Place(asked.url, asked.token, asked.data)
    with TemporaryDirectory(prefix="flowgauge-") as folder:
        stored = asyncio.run(stored_events(place, rules, Span(begin_ms, end_ms), whose, into=Path(folder)))
        if stored.folder is not None:
            click.echo(f"no server runs: tenant {tenant_in(whose)} is read from {stored.folder}", err=True)
        yield stored.past, stored.span


def _moment(name: str, text: str | None) -> int | None:
    from flowgauge.console.web.parameters import moment_ms
    from flowgauge.transport.wall_clock import now_ms

    return None if text is None else moment_ms(name, text, now_ms())


def _complain(past: "PastEvents", counts: "ReplayCounts") -> int:
    """Tell of lines that could not be read and of what was counted; return the exit code."""
    from flowgauge.console.past_events import said_of
    from flowgauge.console.text_table import printable

    complaints = past.complaints()
    for line in (*complaints, said_of(counts)):
        click.echo(printable(line), err=True)
    return 1 if complaints else 0
