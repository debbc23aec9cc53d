"""`flowgauge channels list|test`: where people are told, and whether a message arrives there."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowgauge.console.cli.options import config_option, data_option, rule_path, token_option, url_option
from flowgauge.schemas.errors import ServerAway

if TYPE_CHECKING:
    from flowgauge.schemas.settings import Settings
    from flowgauge.sinks.webhooks.channels import Channel, ChannelBook
    from flowgauge.sinks.webhooks.schedule import Verdict

COLUMNS = ("name", "tenant", "kind", "fallback", "told of failures", "trouble")
SEVERITIES = ("info", "warning", "error", "critical")

files_option = click.option(
    "--rules",
    "files",
    multiple=True,
    type=rule_path,
    help="A file of channels or a folder of them; repeatable.  [default: the folder of the settings]",
)


@click.group()
def command() -> None:
    """List channels, or send one a message that is marked as a test."""


@command.command(name="list")
@files_option
@config_option
@url_option
@token_option
@data_option
def list_channels(*, files: Sequence[Path], config: Path | None, url: str, token: str | None, data: Path) -> None:
    """List the channels that are written, and what trouble a running server has with them."""
    from flowgauge.console.ask import Place
    from flowgauge.console.text_table import text_table

    book = _book(files, _settings(config))
    problems = _problems(Place(url, token, data))
    rows = [
        (
            each.name,
            each.tenant,
            each.kind_name,
            each.fallback or None,
            "yes" if each.delivery_failures else "no",
            "; ".join(_troubles(book, each, problems)) or None,
        )
        for each in sorted(book.channels, key=lambda each: (each.name, each.tenant))
    ]
    click.echo(text_table(COLUMNS, rows))


@command.command()
@click.argument("name")
@files_option
@click.option("--tenant", help="Whose incident it is thought to be.  [default: that of the channel]")
@click.option("--severity", type=click.Choice(SEVERITIES), default="info", show_default=True, help="How grave it is.")
@click.option("--resolve/--no-resolve", default=True, show_default=True, help="Tell its end too, so that pagers close.")
@config_option
def test(
    *,
    name: str,
    files: Sequence[Path],
    tenant: str | None,
    severity: str,
    resolve: bool,
    config: Path | None,
) -> int:
    """Send channel NAME a test: an incident "flowgauge: test of channel NAME" that fires and ends.

    It goes out from here, as the notifier would send it; secrets and egress.allow are those of this machine. Exit code
    1 when it was not delivered.
    """
    from flowgauge.console.access import read_text
    from flowgauge.console.channel_trial import channel_named, refuse_unreadable
    from flowgauge.console.text_table import printable
    from flowgauge.schemas.settings import resolve_secret

    settings = _settings(config)
    channel, whose = channel_named(_book(files, settings), name, tenant)
    refuse_unreadable(channel, lambda ref: resolve_secret(ref, os.environ, read_text))
    click.echo(printable(f"{channel.name}: a {channel.kind_name} of tenant {channel.tenant}, from here"))
    verdicts = asyncio.run(_tell(channel, whose, severity, settings, resolve=resolve))
    return 0 if all(each.outcome == "delivered" for each in verdicts) else 1


async def _tell(
    channel: "Channel", tenant: str, severity: Any, settings: "Settings", *, resolve: bool
) -> Sequence["Verdict"]:
    """Tell the firing and, where it arrived and `resolve` says so, the end; say what comes of each."""
    from flowgauge.console.access import egress_policy
    from flowgauge.console.channel_trying import try_channel
    from flowgauge.sinks.webhooks.attempt import Sender, Wording
    from flowgauge.sinks.webhooks.egress import Egress
    from flowgauge.transport.wall_clock import now_ms

    sender = Sender(Egress(egress_policy(settings)), os.environ, now_ms, Wording())  # no address: it has no page
    told = await try_channel(sender, channel, tenant, severity=severity, resolve=resolve, say=_say)
    return [verdict for _, verdict in told]


def _say(what: str, verdict: "Verdict") -> None:
    from flowgauge.console.channel_trial import verdict_words
    from flowgauge.console.text_table import printable

    first, *rest = verdict_words(verdict)
    click.echo(printable(f"{what:<8}  {first}"))
    for line in rest:
        click.echo(printable(f"{'':<8}  {line}"))


def _settings(config: Path | None) -> "Settings":
    from flowgauge.schemas.settings import load_settings

    return load_settings(config, os.environ, {})


def _book(files: Sequence[Path], settings: "Settings") -> "ChannelBook":
    from flowgauge.sinks.webhooks.channels import load_channels
    from flowgauge.transport.yaml_files import refuse_no_files

    paths = files or ([settings.rules] if settings.rules else [])
    if not paths:
        raise click.UsageError("say where channels are written: --rules DIR, or `rules` in the settings")
    refuse_no_files(paths)
    return load_channels(paths)


def _problems(place: Any) -> Mapping[str, str]:
    """Return the problems of a running server; none, and a line that says so, where no server answers."""
    from flowgauge.console.ask import ask

    try:
        answer = asyncio.run(ask(place, "/v1/health", {}, of_server=True))
    except ServerAway:
        click.echo(f"no server answers at {place.url}: whether channels are in trouble is not known", err=True)
        return {}
    problems: Mapping[str, str] = answer.body["problems"]
    return problems


def _troubles(book: "ChannelBook", channel: "Channel", problems: Mapping[str, str]) -> Iterator[str]:
    """Yield what a server says of a channel; the operator is told whose messages they are."""
    for part, line in problems.items():
        whose, is_told, named = part.rpartition(": ") if part.startswith("tenant ") else ("", "", part)
        if named != f"channel {channel.name}":
            continue
        tenant = whose.removeprefix("tenant ")
        if not is_told:
            yield line
        elif book.find(tenant, channel.name) is channel:
            yield f"{whose}: {line}"
