"""`flowgauge dlq`: what could not be read, and why; and sends it again once the cause is mended."""

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.asking import answer_to, one_more, shown
from flowgauge.console.cli.options import data_option, format_option, tenant_option, token_option, url_option, whose
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput, FlowgaugeError

if TYPE_CHECKING:
    from flowgauge.console.ask import Place
    from flowgauge.console.retrying import Letter

LETTERS_MAX = 500  # of one answer
WAIT_MS = 60_000  # while no gateway answers


@click.group(invoke_without_command=True)
@click.option("--since", default="7d", show_default=True, help="How far back, such as 90m or 7d, or a time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many.")
@format_option
@tenant_option
@url_option
@token_option
@data_option
@click.pass_context
def command(  # one parameter an option
    context: click.Context,
    *,
    since: str,
    limit: int,
    form: str,
    tenant: str | None,
    url: str,
    token: str | None,
    data: Path,
) -> None:
    """Show the dead letters: events that could not be read, the newest first.

    Each with its name for `show` and `retry`, when it came, the reason, who refused it, how many bytes it had and how
    it begins. One that no tenant is known of has no name: it cannot be sent again.
    """
    if context.invoked_subcommand is not None:
        return
    from flowgauge.console.ask import Place
    from flowgauge.console.text_table import text_table

    asked = str(limit) if form == "json" else one_more(limit)
    parameters = {"since": since, "limit": asked} | whose(tenant)
    answer = answer_to(Place(url, token, data), "/v1/dlq", parameters)
    click.echo(answer.text if form == "json" else text_table(answer.columns(), shown(answer.rows(), limit)))


@command.command()
@click.argument("letter")
@tenant_option
@url_option
@token_option
@data_option
def show(*, letter: str, tenant: str | None, url: str, token: str | None, data: Path) -> None:
    """Write the bytes of LETTER, such as 0@12, as they came: to look at, or to edit and publish."""
    from flowgauge.console.ask import Place

    asked = {"letter": letter, "since": "1970-01-01", "limit": "1"} | whose(tenant)
    rows = _rows(Place(url, token, data), asked)
    if not rows:
        raise FlowgaugeError(f"there is no dead letter {letter} (`flowgauge dlq` lists them)")
    value = base64.b64decode(str(rows[0]["value"]))
    click.get_binary_stream("stdout").write(value)
    if len(value) < int(str(rows[0]["size"])):
        click.echo(f"cut: {len(value):,} of {rows[0]['size']:,} bytes are kept", err=True)


@command.command()
@click.option("--since", default="7d", show_default=True, help="How far back, such as 90m or 7d, or a time.")
@click.option("--reason", help='Only letters of this reason, such as "refused by ClickHouse".')
@click.option("--source", help="Only what came from this partition of events, or place: 0 or 0@12.")
@click.option("--letter", help="Only this one, such as 0@12.")
@click.option("--limit", type=click.IntRange(1, LETTERS_MAX), default=100, show_default=True, help="At most this many.")
@click.option("--again", is_flag=True, help="Also those whose event is stored meanwhile.")
@click.option("--yes", is_flag=True, help="Send them; without it nothing is sent.")
@click.option("--to", "gateway", help="The gateway to send to.  [default: the server]")
@tenant_option
@url_option
@token_option
@data_option
def retry(  # noqa: PLR0913  # one parameter an option
    *,
    since: str,
    reason: str | None,
    source: str | None,
    letter: str | None,
    limit: int,
    again: bool,
    yes: bool,
    gateway: str | None,
    tenant: str | None,
    url: str,
    token: str | None,
    data: Path,
) -> None:
    """Send dead letters of one tenant again, once what was wrong is mended.

    Tells of each whether it can be sent, or why not; only --yes sends. It goes through the gateway as an event that is
    appended now, of the tenant whose token is given: others' letters are told, and sent with a token of theirs. Exit
    code 1: some were not or would not be sent.
    """
    from flowgauge.console.ask import Place
    from flowgauge.console.retrying import by_hand, letter_in, reasons_against
    from flowgauge.console.text_table import printable, text_table
    from flowgauge.transport.wall_clock import now_ms

    chosen = {"since": since, "limit": str(limit), "reason": reason, "source": source, "letter": letter}
    place = Place(url, token, data)
    rows = _rows(place, {name: text for name, text in chosen.items() if text is not None} | whose(tenant))
    letters = [letter_in(row) for row in rows]
    reasons = reasons_against(letters, again=again, now_ms=now_ms())
    good = [each for each in reversed(letters) if not reasons[each.name]]  # the oldest first
    if yes and good:
        _refuse_others(place, tenant)
        reasons |= _send(good, gateway or url, token)
    fine = "sent" if yes else "would be sent"
    shown_rows = [(each.name, each.time, each.reason, reasons[each.name] or fine) for each in letters]
    click.echo(text_table(("letter", "time", "reason", "now"), shown_rows))
    bad = sum(map(bool, reasons.values()))
    told = f"{counted(len(letters), 'letter')}: {len(letters) - bad} {fine}, {bad} not"
    click.echo(told + ("" if yes else "; --yes sends"))
    for line in by_hand(letters, reasons, tenant=tenant or ""):
        click.echo(printable(line), err=True)
    if bad:
        raise SystemExit(1)


def _rows(place: "Place", parameters: dict[str, str]) -> Sequence[dict[str, object]]:
    rows: Sequence[dict[str, object]] = answer_to(place, "/v1/dlq/letters", parameters).body["rows"]
    return rows


def _refuse_others(place: "Place", tenant: str | None) -> None:
    """Raise BadInput unless what is sent with this token is of `tenant`: a gateway takes nobody's word for it."""
    from flowgauge.console.ask import ask

    if tenant is None:
        return
    own = asyncio.run(ask(place, "/v1/tenant", {}, of_server=True)).body["tenant"]
    if own != tenant:
        raise BadInput(
            f"--tenant: what is sent so would be of tenant {own}, not of {tenant}: nothing was sent; give a token of "
            f"tenant {tenant} (FLOWGAUGE_TOKEN, --token)"
        )


def _send(letters: Sequence["Letter"], url: str, token: str | None) -> dict[str, str]:
    """Send the events of `letters`; return why each was refused, "" for one that was not."""
    from flowgauge.producers.blocking_sender import BlockingSender

    sender = BlockingSender(url, token, wait_ms=WAIT_MS, say=lambda text: click.echo(text, err=True))
    answers: list[str] = []
    lines = [each.value.replace(b"\n", b" ").replace(b"\r", b" ") for each in letters]  # in JSON both are but space
    for settled in sender.send(lines):
        if settled.unlisted:
            raise BadInput(
                f"{url} refused {counted(settled.unlisted, 'event')} and does not say which: choose fewer by --limit"
            )
        answers += (settled.refused.get(index, "") for index in range(settled.count))
    return {letter.name: answer for letter, answer in zip(letters, answers, strict=True)}
