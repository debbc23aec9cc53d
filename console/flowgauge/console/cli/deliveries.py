"""`flowgauge deliveries list|show|replay`: what became of telling channels, and telling them again."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from flowgauge.console.cli.asking import answer_to, login_name, one_more, shown
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option, whose
from flowgauge.schemas.delivery import OUTCOMES

COLUMNS = ("at", "outcome", "channel", "rule", "to", "attempts", "status", "reason", "next_attempt", "delivery_id")
FACTS = ("outcome", "channel", "rule", "to", "attempts", "incident_id", "delivery_id")
RECORDS = ("at", "attempt", "outcome", "status", "reason", "elapsed_ms", "next_attempt")


@click.group()
def command() -> None:
    """List what channels were told and how it went, or send again what was given up."""


@command.command(name="list")
@click.option("--since", default="7d", show_default=True, help="From when on: 90m, 7d, a day, or a time.")
@click.option("--channel", default="", help="Only those to this channel; action:NAME is an action.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only those that stand so.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True, help="At most this many.")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def list_deliveries(  # one parameter an option
    *, since: str, channel: str, outcome: str | None, limit: int, form: str, **place: Any
) -> None:
    """List deliveries as they stand, newest first."""
    from flowgauge.console.ask import DELIVERIES, Place
    from flowgauge.console.text_table import text_table

    asked = {"since": since, "limit": str(limit) if form == "json" else one_more(limit)} | whose(place["tenant"])
    asked |= {name: value for name, value in (("channel", channel), ("outcome", outcome)) if value}
    answer = answer_to(Place(place["url"], place["token"], place["data"]), DELIVERIES, asked)
    if form == "json":
        click.echo(answer.text)
    else:
        rows = shown(answer.body["rows"], limit)
        click.echo(text_table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))


@command.command()
@click.argument("delivery_id")
@format_option
@tenant_option
@url_option
@token_option
@data_option
def show(  # one parameter an option
    *, delivery_id: str, form: str, tenant: str | None, url: str, token: str | None, data: Path
) -> None:
    """Show one delivery with all that was recorded of it.

    DELIVERY_ID is its id, or the first six or more digits of it.
    """
    from flowgauge.console.ask import Place
    from flowgauge.console.text_table import printable, text_table

    answer = answer_to(Place(url, token, data), _path(delivery_id), whose(tenant))
    if form == "json":
        click.echo(answer.text)
        return
    told = answer.body
    for name in FACTS:
        click.echo(printable(f"{name:<11}  {told[name]}"))
    click.echo("\n" + text_table(RECORDS, [[row[name] for name in RECORDS] for row in told["records"]]))


@command.command()
@click.argument("delivery_ids", nargs=-1)
@click.option("--channel", default="", help="All that this channel was not told, since --since.")
@click.option("--since", default="", help="All that was given up from then on: 90m, 7d, a day, or a time.")
@click.option("--as", "by", help="Who does it.  [default: your login name]")
@tenant_option
@url_option
@token_option
@data_option
def replay(*, delivery_ids: Sequence[str], channel: str, since: str, by: str | None, **place: Any) -> None:
    """Send again what was given up, under the same ids: DELIVERY_IDS, or all since a time.

    Without --channel that is of all channels; an action is run again only by its id, or as --channel action:NAME.
    """
    if bool(delivery_ids) == bool(since):
        raise click.UsageError("say what is sent again: ids of deliveries, or --since and perhaps --channel")
    if delivery_ids and channel:
        raise click.UsageError("an id says which channel: leave --channel out")
    who = {"by": by or login_name()}
    if since:
        _replay("", {**who, "channel": channel, "since": since}, place)
    for delivery_id in delivery_ids:
        _replay(delivery_id, who, place)


def _replay(delivery_id: str, body: Mapping[str, str], place: Mapping[str, Any]) -> None:
    from flowgauge.console.ask import DELIVERIES, Place, post
    from flowgauge.console.text_table import printable

    at = Place(place["url"], place["token"], place["data"])
    path = f"{_path(delivery_id) if delivery_id else DELIVERIES}/replay"
    answer = asyncio.run(post(at, path, json.dumps(body).encode(), whose(place["tenant"])))
    click.echo(printable(answer.body["says"]))


def _path(delivery_id: str) -> str:
    from flowgauge.console.ask import DELIVERIES

    return f"{DELIVERIES}/{quote(delivery_id, safe='')}"
