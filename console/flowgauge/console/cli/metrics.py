"""`flowgauge metrics NAME`: a question to ClickHouse."""

import asyncio
from pathlib import Path

import click

from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option

LEVEL = click.Choice(["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"], case_sensitive=False)


@click.command()
@click.argument("name")
@click.option("--since", default="7d", show_default=True, help="How far back, such as 90m or 7d, or a time.")
@click.option("--until", help="Where to end, as --since.  [default: now]")
@click.option("--flow", help="Only this flow.")
@click.option("--run", help="Only this run.")
@click.option("--text", help="Only logs that contain this text.")
@click.option("--level", type=LEVEL, help="Only logs of this level or worse.")
@click.option("--tz", help="Time zone of hours and weekdays, such as Europe/Berlin.  [default: UTC]")
@click.option("--limit", type=click.IntRange(1, 10_000), help="At most this many rows.")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def command(*, name: str, form: str, url: str, token: str | None, data: Path, **asked: str | int | None) -> None:
    """Answer the question NAME: failure-rate, heatmap, durations, runs, logs, events or overview.

    Asks the server, or reads the data folder when no server owns it.
    """
    from flowgauge.console.ask import Place, ask
    from flowgauge.console.heat_grid import heat_grid
    from flowgauge.console.text_table import text_table

    parameters = {key: str(value) for key, value in asked.items() if value is not None}
    answer = asyncio.run(ask(Place(url, token, data), f"/v1/metrics/{name}", parameters))
    if form == "json":
        click.echo(answer.text)
    elif name == "heatmap":
        click.echo(heat_grid(answer.body["rows"], parameters.get("tz", "UTC")))
    else:
        click.echo(text_table(answer.columns(), answer.rows()))
