"""`flowgauge metrics NAME`: a question to ClickHouse."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.asking import answer_to, one_more, shown
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option
from flowgauge.schemas.counted import counted

if TYPE_CHECKING:
    from flowgauge.console.ask import Answer

LEVEL = click.Choice(["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"], case_sensitive=False)

PER = click.Choice(["tenant", "flow", "deployment", "work_pool", "tag", "team"])
BY = click.Choice(["failing", "slowest", "changed"])

LIMIT_DEFAULT = 100
SINCE = {"events": "1d", "patterns": "56d"}  # how far back where nothing is said, and SINCE_DEFAULT of all others
SINCE_DEFAULT = "7d"
WHOLE = ("heatmap", "overview", "patterns")  # answers of one size, without a limit
OWN_TIME = ("timeline",)  # of one run it is as long as that, where nothing is said
LINES = "logs"  # marked, with their context, and gone on with by a cursor
NEWEST_LAST = "failure-rate"  # the hours of a limited answer are the newest, in their order

MONEY = (
    *("cost", "cost_before", "cost_per_success"),
    *("waste", "failed_cost", "crashed_cost", "retry_cost", "late_cost"),
)

NO_PATTERN = "No hour, weekday or day of the month stands out beyond chance."


@click.command()
@click.argument("name")
@click.option("--since", help="How far back, such as 90m or 7d, or a time.  [default: 7d; events: 1d; patterns: 56d]")
@click.option("--until", help="Where to end, as --since.  [default: now]")
@click.option("--flow", help="Only this flow: its whole name, a * or ? is none but itself.")
@click.option("--deployment", help="Only runs of this deployment.")
@click.option("--work-pool", help="Only runs of this work pool.")
@click.option("--tag", help="Only runs with this tag.")
@click.option("--run", help="Only this run.")
@click.option("--resource", help="Only what was told of this resource's id.")
@click.option("--text", help="Only messages with these words; *text* is found within words too.")
@click.option("--level", type=LEVEL, help="Only logs of this level or worse.")
@click.option("--context", type=click.IntRange(0, 50), help="Log lines of the same run around each that is found.")
@click.option("--before", help="Only log lines older than this cursor.")
@click.option("--tz", help="Time zone of hours and weekdays, such as Europe/Berlin.  [default: UTC]")
@click.option("--per", type=PER, help="Group runs by this; costs and pipelines also by team.")
@click.option("--bucket", help="Group runs by time too: buckets of 15m, 1h, 1d …")
@click.option("--by", type=BY, help="What is at the top.  [default: failing]")
@click.option("--grace", help="How late a run may start and be on time.  [default: 1m]")
@click.option("--limit", type=click.IntRange(1, 10_000), help="At most this many rows.")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def command(*, name: str, form: str, url: str, token: str | None, data: Path, **asked: str | int | None) -> None:
    """Answer the question NAME.

    Of groups of runs: states, durations, top, lateness, adherence, retries or concurrency. Of money: costs, pipelines
    or cost-runs. Of ends by hour: failure-rate, heatmap or patterns. Of what they say: errors. As it was told: runs,
    logs, events, or the timeline of one --run or --resource. Of now: overview.

    Asks the server, or reads the data folder when no server owns it.
    """
    from flowgauge.console.ask import Place
    from flowgauge.console.text_table import printable, text_table

    if not (name in OWN_TIME and asked["run"]):
        asked["since"] = SINCE.get(name, SINCE_DEFAULT) if asked["since"] is None else asked["since"]
    parameters = {key: str(value) for key, value in asked.items() if value is not None}
    limit = int(asked["limit"] or LIMIT_DEFAULT)
    if form == "table" and name not in (*WHOLE, LINES):
        parameters["limit"] = one_more(limit)
    place = Place(url, token, data)
    answer = answer_to(place, f"/v1/metrics/{name}", parameters)
    if hint := answer.body.get("hint"):
        click.echo(printable(hint), err=True)
    if form == "json":
        click.echo(answer.text)
    elif name == LINES:
        _show_lines(answer.body["rows"], limit, has_context=bool(asked["context"]))
    elif name == "heatmap":
        click.echo(_heat_grid(answer, parameters))
    elif name == "patterns":
        heat = answer_to(place, "/v1/metrics/heatmap", parameters, is_first=False)
        click.echo(f"{_heat_grid(heat, parameters)}\n\n{_statements(answer.body['rows'])}")
    else:
        rows = answer.rows() if name in WHOLE else shown(answer.rows(), limit, newest_last=name == NEWEST_LAST)
        click.echo(text_table(answer.columns(), rows, money=MONEY))
        if name == "cost-runs":
            click.echo("".join(f"\n{each}" for each in _vital_few(answer.body["rows"])), nl=False)


def _heat_grid(answer: "Answer", parameters: Mapping[str, str]) -> str:
    from flowgauge.console.heat_grid import heat_grid  # with every kind of rule, which other questions go without

    return heat_grid(answer.body["rows"], parameters.get("tz", "UTC"))


def _vital_few(rows: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Say of each currency how many runs make most of the cost."""
    counts = {row["currency"]: row for row in rows if row["currency"] is not None}
    for currency, row in counts.items():
        yield f"{row['runs_to_80']} of {row['runs']} runs make 80 % of the cost in {currency}.\n"


def _show_lines(rows: Sequence[Mapping[str, object]], limit: int, *, has_context: bool) -> None:
    from flowgauge.console.log_text import log_text, older

    has_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    click.echo(log_text(rows, has_context=has_context, has_colours=has_colours))
    cursor = older(rows, limit)
    if cursor:
        are_shown = f"{counted(limit, 'line')} {'is' if limit == 1 else 'are'} shown"
        click.echo(f"{are_shown}; older ones: --before {shlex.quote(cursor)}", err=True)


def _statements(rows: Sequence[Mapping[str, object]]) -> str:
    from flowgauge.console.text_table import printable

    return "\n".join(printable(f"{row['says']}.") for row in rows) or NO_PATTERN
