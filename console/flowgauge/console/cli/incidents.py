"""`flowgauge incidents list|show`: what was found and why; `ack|assign|note|resolve|merge`: what people do about it."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowgauge.console.cli.asking import answer_to, login_name, one_more, shown
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option, whose

if TYPE_CHECKING:
    from flowgauge.console.ask import Answer

COLUMNS = (
    "opened_at",
    "state",
    "severity",
    "rule",
    "key",
    "value",
    "threshold",
    "samples",
    "summary",
    "handling",
    "incident_id",
)


@click.group()
def command() -> None:
    """List incidents, show one with its reasons, or say what is done about it."""


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
        told = [row | {"handling": row["handling"]["says"] or None} for row in rows]
        click.echo(text_table(COLUMNS, [[row[name] for name in COLUMNS] for row in told]))
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


def _act(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command that does something about incidents: its `options`, and what all of them have."""
    shared: list[Callable[[Any], Any]] = [
        click.argument("incident_ids", nargs=-1, required=True),
        *options,
        click.option("--as", "by", help="Who does it.  [default: your login name]"),
        tenant_option,
        url_option,
        token_option,
        data_option,
    ]

    def make(function: Callable[..., None]) -> click.Command:
        for option in reversed(shared):
            function = option(function)
        return command.command()(function)

    return make


@_act()
def ack(*, incident_ids: Sequence[str], by: str | None, **place: Any) -> None:
    """Say that somebody looks after incidents."""
    _do("ack", incident_ids, {"by": by}, place)


@_act(click.option("--to", required=True, help='Whose they are; "" is nobody\'s.'))
def assign(*, incident_ids: Sequence[str], by: str | None, to: str, **place: Any) -> None:
    """Say whose incidents are."""
    _do("assign", incident_ids, {"by": by, "to": to}, place)


@_act(click.option("--text", required=True, help="What somebody saw or did."))
def note(*, incident_ids: Sequence[str], by: str | None, text: str, **place: Any) -> None:
    """Write something down about incidents."""
    _do("note", incident_ids, {"by": by, "text": text}, place)


@_act(click.option("--reason", default="", help="Why it is over."))
def resolve(*, incident_ids: Sequence[str], by: str | None, reason: str, **place: Any) -> None:
    """Say that incidents are over, whatever their rules say."""
    _do("resolve", incident_ids, {"by": by, "reason": reason}, place)


@_act(click.option("--into", required=True, help="The incident that they are part of."))
def merge(*, incident_ids: Sequence[str], by: str | None, into: str, **place: Any) -> None:
    """Make incidents part of another."""
    _do("merge", incident_ids, {"by": by, "into": into}, place)


def _do(verb: str, incident_ids: Sequence[str], body: Mapping[str, str | None], place: Mapping[str, Any]) -> None:
    """Do it about one after another, and say of each what was done; the first that cannot be ends it."""
    from flowgauge.console.ask import INCIDENTS, Place, post
    from flowgauge.console.text_table import printable

    at = Place(place["url"], place["token"], place["data"])
    said = json.dumps({**body, "by": body["by"] or login_name()}).encode()
    for incident_id in incident_ids:
        answer = asyncio.run(post(at, f"{INCIDENTS}/{incident_id}/{verb}", said, whose(place["tenant"])))
        act = answer.body["acts"][-1]
        click.echo(printable(f"{answer.body['incident_id']}  {act['by']} {act['says']}"))


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
