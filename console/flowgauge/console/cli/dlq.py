"""`flowgauge dlq`: what could not be read, and why."""

from pathlib import Path

import click

from flowgauge.console.cli.asking import answer_to, one_more, shown
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option


@click.command()
@click.option("--since", default="7d", show_default=True, help="How far back, such as 90m or 7d, or a time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many.")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def command(  # one parameter an option
    *, since: str, limit: int, form: str, tenant: str | None, url: str, token: str | None, data: Path
) -> None:
    """Show the dead letters: events that could not be read, the newest first.

    Each with when it came, the reason, who refused it, how many bytes it had and how it begins.
    """
    from flowgauge.console.ask import Place
    from flowgauge.console.text_table import text_table

    asked = str(limit) if form == "json" else one_more(limit)
    parameters = {"since": since, "limit": asked} | ({"tenant": tenant} if tenant else {})
    answer = answer_to(Place(url, token, data), "/v1/dlq", parameters)
    click.echo(answer.text if form == "json" else text_table(answer.columns(), shown(answer.rows(), limit)))
