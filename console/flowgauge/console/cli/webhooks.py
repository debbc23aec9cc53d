"""`flowgauge webhooks listen|sign|check-address`: the receiving side of webhooks."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import existing_file
from flowgauge.schemas.errors import BadEnvironment, BadInput

if TYPE_CHECKING:
    from flowgauge.sinks.webhooks.receiver import Received

SECRET_VARIABLE = "FLOWGAUGE_WEBHOOK_SECRET"  # noqa: S105  # the name of the variable, not its value


@click.group()
def command() -> None:
    """Receive, sign and check webhooks."""


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=4281, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@click.option("--secret-env", default=SECRET_VARIABLE, show_default=True, help="The variable that holds the secret.")
@click.option("--secret-file", type=existing_file, help="A file that holds the secret, instead.")
def listen(host: str, port: int, secret_env: str, secret_file: Path | None) -> None:
    """Receive webhooks, verify their signatures and print one line for each.

    Without a secret nothing can be verified: then it listens on loopback only.
    """
    secret = secret_file.read_text().strip() if secret_file else os.environ.get(secret_env, "")
    try:
        asyncio.run(_listen(host, port, [secret] if secret else []))
    except ValueError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise BadEnvironment(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None


@command.command()
@click.option("--secret", required=True, help="The secret, whsec_…")
@click.option("--id", "message_id", required=True, help="The message's webhook-id.")
@click.option("--timestamp", required=True, type=click.IntRange(0), help="Its webhook-timestamp, in Unix seconds.")
def sign(secret: str, message_id: str, timestamp: int) -> None:
    """Print the webhook-signature header of the body on standard input."""
    from flowgauge.sinks.webhooks.signing import sign as signature_of

    body = sys.stdin.buffer.read()
    try:
        click.echo(signature_of(secret, message_id=message_id, timestamp_s=timestamp, body=body))
    except ValueError as error:
        raise BadInput(str(error)) from None


@command.command(name="check-address")
@click.argument("hosts", nargs=-1, required=True)
@click.option("--config", type=existing_file, help="A flowgauge.toml whose egress.allow holds.")
def check_address(hosts: Sequence[str], config: Path | None) -> None:
    """Say for each host, address or URL whether a webhook may go there; nothing is connected to.

    Exit code 1 if any is refused.
    """
    is_refused = asyncio.run(_check(hosts, config))
    raise SystemExit(1 if is_refused else 0)


async def _listen(host: str, port: int, secrets: Sequence[str]) -> None:
    from flowgauge.sinks.webhooks.receiver import listen as receive

    def ready(host: str, port: int) -> None:
        click.echo(f"listening on http://{host}:{port}/ ({'verifying' if secrets else 'no secret: not verifying'})")

    await receive(host, port, secrets, _print_received, on_ready=ready)


def _print_received(received: "Received") -> None:
    verdict = "verified" if received.verified else f"not verified: {received.reason}"
    again = " again" if received.duplicate else ""
    click.echo(f"{received.message_id or '-'} {received.type or '-'} {len(received.body)} bytes {verdict}{again}")


async def _check(hosts: Sequence[str], config: Path | None) -> bool:
    from flowgauge.schemas.settings import load_settings
    from flowgauge.sinks.webhooks.addresses import EgressPolicy
    from flowgauge.sinks.webhooks.egress import Egress

    settings = load_settings(config, os.environ, {})
    egress = Egress(EgressPolicy(allow=tuple(settings.egress.allow)))
    is_refused = False
    for host in hosts:
        verdict = await egress.check_host(host)
        click.echo(f"{host} allowed" if verdict.allowed else f"{host} refused: {verdict}")
        is_refused |= not verdict.allowed
    return is_refused
