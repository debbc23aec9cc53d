"""`flowgauge silences add|list|expire|preview`: what hides incidents from channels, and until when."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from flowgauge.console.cli.asking import answer_to, login_name
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option, whose

COLUMNS = ("silence_id", "state", "hides", "starts", "ends", "every", "window", "by", "reason")
INCIDENT_COLUMNS = ("opened_at", "severity", "rule", "key", "incident_id")


@click.group()
def command() -> None:
    """Hide matching incidents from channels until a time: they are found and shown all the same."""


def _options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def give(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return give


_asking = _options(tenant_option, url_option, token_option, data_option)
_as_option = click.option("--as", "by", help="Who does it.  [default: your login name]")
_silence = _options(
    click.argument("matchers", nargs=-1),
    click.option("--lasts", default="", help="How long it lasts, such as 2h.  [or --ends]"),
    click.option("--ends", default="", help="When it ends, such as 2026-12-01T06:00:00Z.  [or --lasts]"),
    click.option("--starts", default="", help="When it starts.  [default: now]"),
    click.option("--every", default="", help='Only in these hours, such as "Sat,Sun 22:00-02:00".'),
    click.option("--timezone", default="", help="By whose clock --every is, such as Europe/Berlin."),
    click.option("--everything", is_flag=True, help="Where it is meant to hide all incidents."),
    click.option("--everyone", is_flag=True, help="Of all tenants: for the operator."),
)


@command.command()
@_silence
@click.option("--reason", required=True, help="Why nobody is to be told.")
@click.option("--id", "silence_id", default="", help="Its id: the same again adds nothing.  [default: a new one]")
@_as_option
@_asking
def add(*, silence_id: str, by: str | None, **given: Any) -> None:
    """Hide incidents for which all MATCHERS hold, such as 'flow=~"orders-.*"' or severity!=critical.

    A matcher is a field (rule, severity, a name of the incident's key or a label), one of = != =~ !~, and a value.
    Patterns match whole values.
    """
    from flowgauge.console.ask import SILENCES, post

    body, place = _split(given)
    said = json.dumps({**body, "id": silence_id, "by": by or login_name()}).encode()
    answer = asyncio.run(post(_place(place), SILENCES, said, whose(place["tenant"])))
    click.echo(_line(answer.body))


@command.command(name="list")
@click.option("--expired", is_flag=True, help="Also those that ended in the past 7 days.")
@format_option
@_asking
def list_silences(*, expired: bool, form: str, **place: Any) -> None:
    """List silences by their ends."""
    from flowgauge.console.ask import SILENCES
    from flowgauge.console.text_table import text_table

    parameters = ({"expired": "1"} if expired else {}) | whose(place["tenant"])
    answer = answer_to(_place(place), SILENCES, parameters)
    if form == "json":
        click.echo(answer.text)
    else:
        rows = [_row(each) for each in answer.body["silences"]]
        click.echo(text_table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))


@command.command()
@click.argument("silence_ids", nargs=-1, required=True)
@_as_option
@_asking
def expire(*, silence_ids: Sequence[str], by: str | None, **place: Any) -> None:
    """End silences now: what still fires is told at once."""
    from flowgauge.console.ask import SILENCES, delete

    who = {"by": by or login_name()} | whose(place["tenant"])
    for silence_id in silence_ids:
        answer = asyncio.run(delete(_place(place), SILENCES, silence_id, who))
        click.echo(_line(answer.body))


@command.command()
@_silence
@format_option
@_asking
def preview(*, form: str, **given: Any) -> None:
    """Show what a silence would hide: of what is open now, and of what opened in the past 7 days."""
    from flowgauge.console.ask import PREVIEW, post
    from flowgauge.console.text_table import text_table

    body, place = _split(given)
    answer = asyncio.run(post(_place(place), PREVIEW, json.dumps(body).encode(), whose(place["tenant"])))
    if form == "json":
        click.echo(answer.text)
        return
    told = answer.body
    click.echo(told["says"] + ("; the oldest were left out" if told["is_cut"] else ""))
    for words, of in (("open now", told["open"]), ("of the past 7 days", told["late"])):
        if of["incidents"]:
            rows = [[each[name] for name in INCIDENT_COLUMNS] for each in of["incidents"]]
            click.echo(f"\n{words}:\n{text_table(INCIDENT_COLUMNS, rows)}")


def _split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a body says, and where to send it."""
    places = ("tenant", "url", "token", "data")
    body = {name: value for name, value in given.items() if name not in places}
    return body | {"matchers": list(body["matchers"])}, {name: given[name] for name in places}


def _place(place: Mapping[str, Any]) -> Any:
    from flowgauge.console.ask import Place

    return Place(place["url"], place["token"], Path(place["data"]))


def _row(told: Mapping[str, Any]) -> dict[str, Any]:
    window = told["window"]
    return {
        **told,
        "hides": _hides(told),
        "every": f"{told['every']} {told['timezone']}" if told["every"] else None,
        "window": f"{window['start']} - {window['end']}" if window and told["every"] else None,
    }


def _hides(told: Mapping[str, Any]) -> str:
    of_all = "of all tenants: " if told["tenant"] == "*" else ""
    return of_all + (" ".join(told["matchers"]) or "everything")


def _line(told: Mapping[str, Any]) -> str:
    from flowgauge.console.text_table import printable

    every = f", {told['every']} {told['timezone']}" if told["every"] else ""
    when = f"starts {told['starts']}, " if told["state"] == "scheduled" else ""
    ends = "ended" if told["state"] == "expired" else "ends"
    said = f"{told['silence_id']}  {told['state']}, {when}{ends} {told['ends']}{every}: {_hides(told)}"
    return printable(said)
