"""`flowgauge webhooks listen|sign|check-address`: the receiving side of webhooks."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import existing_file
from flowgauge.schemas.errors import BadEnvironment, BadInput

if TYPE_CHECKING:
    from flowgauge.sinks.webhooks.receiver import Received

SECRET_VARIABLE = "FLOWGAUGE_WEBHOOK_SECRET"  # noqa: S105  # the name of the variable, not its value


def secret_options(command: Callable[..., None]) -> Callable[..., None]:
    """Say where the secret stands."""
    env = click.option(
        "--secret-env", default=SECRET_VARIABLE, show_default=True, help="The variable that holds the secret."
    )
    file = click.option("--secret-file", type=existing_file, help="A file that holds the secret, instead.")
    return env(file(command))


@click.group()
def command() -> None:
    """Receive, sign and check webhooks."""


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=4281, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@secret_options
def listen(host: str, port: int, secret_env: str, secret_file: Path | None) -> None:
    """Receive webhooks, verify their signatures and print one line for each.

    Without a secret nothing can be verified: then it listens on loopback only.
    """
    secret = _secret(secret_env, secret_file)
    if secret:
        _check(secret)
    try:
        asyncio.run(_listen(host, port, [secret] if secret else [], secret_env))
    except ValueError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise BadEnvironment(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None


@command.command()
@click.option("--secret", help="The secret itself, whsec_…; others on this machine may see it.")
@secret_options
@click.option("--id", "message_id", required=True, help="The message's webhook-id.")
@click.option("--timestamp", required=True, type=click.IntRange(0), help="Its webhook-timestamp, in Unix seconds.")
def sign(*, secret: str | None, secret_env: str, secret_file: Path | None, message_id: str, timestamp: int) -> None:
    """Print the webhook-signature header of the body on standard input."""
    from flowgauge.sinks.webhooks.signing import NEW_SECRET
    from flowgauge.sinks.webhooks.signing import sign as signature_of

    secret = secret or _secret(secret_env, secret_file)
    if not secret:
        raise BadInput(f"no secret to sign with: set {secret_env}, or give --secret-file ({NEW_SECRET})")
    _check(secret)
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
    is_refused = asyncio.run(_check_hosts(hosts, config))
    raise SystemExit(1 if is_refused else 0)


def _secret(variable: str, file: Path | None) -> str:
    """Return what the file holds, or the variable; "" where there is nothing."""
    if file is None:
        return os.environ.get(variable, "").strip()
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput(f"--secret-file {file}: cannot be read: {reason}") from None


def _check(secret: str) -> None:
    from flowgauge.sinks.webhooks.signing import NEW_SECRET, check_secret

    try:
        check_secret(secret)
    except ValueError as error:
        raise BadInput(f"{error} ({NEW_SECRET})") from None


async def _listen(host: str, port: int, secrets: Sequence[str], variable: str) -> None:
    from flowgauge.sinks.webhooks.receiver import listen as receive

    does = "verifying" if secrets else f"no secret: not verifying; to verify, put the channel's into {variable}"

    def ready(host: str, port: int) -> None:
        click.echo(f"listening on http://{host}:{port}/ ({does})")

    await receive(host, port, secrets, _print_received, on_ready=ready)


def _print_received(received: "Received") -> None:
    verdict = "verified" if received.verified else f"not verified: {received.reason}"
    again = " again" if received.duplicate else ""
    click.echo(f"{received.message_id or '-'} {received.type or '-'} {len(received.body)} bytes {verdict}{again}")


async def _check_hosts(hosts: Sequence[str], config: Path | None) -> bool:
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
