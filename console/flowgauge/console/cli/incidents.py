"""`flowgauge incidents list|show`: what was found and why."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowgauge.console.cli.asking import answer_to, one_more, shown
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option, whose

if TYPE_CHECKING:
    from flowgauge.console.ask import Answer

COLUMNS = ("opened_at", "state", "severity", "rule", "key", "value", "threshold", "samples", "summary", "incident_id")


@click.group()
def command() -> None:
    """List incidents, or show one with its reasons."""


@command.command(name="list")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True, help="At most this many.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are open.")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def list_incidents(  # one parameter an option
    *, limit: int, only_open: bool, form: str, tenant: str | None, url: str, token: str | None, data: Path
) -> None:
    """List incidents, newest first."""
    from flowgauge.console.ask import Place
    from flowgauge.console.text_table import text_table

    asked = str(limit) if form == "json" else one_more(limit)
    parameters = {"limit": asked} | ({"open": "1"} if only_open else {}) | whose(tenant)
    answer = answer_to(Place(url, token, data), "/v1/incidents", parameters)
    _say_unknown(answer)
    if form == "json":
        click.echo(answer.text)
    else:
        rows = shown(answer.body["rows"], limit)
        click.echo(text_table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))
        if flapping := list(_flapping_lines(rows)):
            click.echo("\n" + "\n".join(flapping))


@command.command()
@click.argument("incident_id")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def show(  # one parameter an option
    *, incident_id: str, form: str, tenant: str | None, url: str, token: str | None, data: Path
) -> None:
    """Show one incident: why, its transitions, failing runs and deliveries.

    INCIDENT_ID is its id, or the first six or more digits of it.
    """
    from flowgauge.console.ask import Place
    from flowgauge.console.incident_text import incident_text

    parameters = whose(tenant)
    answer = answer_to(Place(url, token, data), f"/v1/incidents/{incident_id}", parameters)
    _say_unknown(answer)
    click.echo(answer.text if form == "json" else incident_text(answer.body))


def _flapping_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each rule and key of which an incident of a list flaps: what its newest says."""
    from flowgauge.console.text_table import printable

    told: set[tuple[str, ...]] = set()
    for row in rows:
        whose = (row["rule"], *(f"{name}={value}" for name, value in row["key"].items()))
        if row["flapping"] and whose not in told:
            told.add(whose)
            yield printable(f"{' '.join(whose)}: {row['flapping']['says']}")


def _say_unknown(answer: "Answer") -> None:
    """Say on standard error where detection is unknown: then no news is not good news."""
    if since := answer.body.get("detection_unknown_since"):
        from flowgauge.console.web.banner import unknown_sentence

        click.echo(unknown_sentence(str(since)), err=True)
