"""`flowgauge webhooks listen|sign|verify|keygen|public-key|check-address`: what both sides of a webhook need."""

import asyncio
import os
import secrets as chance
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
    """Say where the secret stands; several, of either kind, are separated by spaces or lines."""
    env = click.option(
        "--secret-env", default=SECRET_VARIABLE, show_default=True, help="The variable that holds the secrets."
    )
    file = click.option("--secret-file", type=existing_file, help="A file that holds them, instead.")
    return env(file(command))


@click.group()
def command() -> None:
    """Receive, sign, verify and check webhooks."""


@command.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=4281, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@secret_options
def listen(host: str, port: int, secret_env: str, secret_file: Path | None) -> None:
    """Receive webhooks, verify their signatures and print one line for each.

    Without a secret nothing can be verified: then it listens on loopback only.
    """
    from flowgauge.schemas.signing_keys import verifying_key

    secrets = _secrets(secret_env, secret_file)
    _check(verifying_key, secrets)
    try:
        asyncio.run(_listen(host, port, secrets, secret_env))
    except ValueError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise BadEnvironment(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None


@command.command()
@click.option("--secret", help="The secret itself, whsec_… or whsk_…; others on this machine may see it.")
@secret_options
@click.option("--id", "message_id", required=True, help="The message's webhook-id.")
@click.option("--timestamp", required=True, type=click.IntRange(0), help="Its webhook-timestamp, in Unix seconds.")
def sign(*, secret: str | None, secret_env: str, secret_file: Path | None, message_id: str, timestamp: int) -> None:
    """Print the webhook-signature header of the body on standard input, signed with every secret."""
    from flowgauge.schemas.signing import HEADER_SIGNATURE, signed_headers
    from flowgauge.schemas.signing_keys import signing_key

    secrets = _given_secrets("sign with", signing_key, secret_env, secret_file, given=secret)
    body = sys.stdin.buffer.read()
    try:
        headers = signed_headers(secrets, message_id=message_id, timestamp_s=timestamp, body=body)
    except ValueError as error:
        raise BadInput(str(error)) from None
    click.echo(headers[HEADER_SIGNATURE])


@command.command()
@click.option("--secret", help="The secret itself, whsec_… or whsk_…, or whpk_…, which is none.")
@secret_options
@click.option("--id", "message_id", default="", help="The message's webhook-id.")
@click.option("--timestamp", default="", help="Its webhook-timestamp.")
@click.option("--signature", default="", help="Its webhook-signature.")
@click.option("--now", type=click.IntRange(0), help="Judge as of then, in Unix seconds.  [default: now]")
def verify(
    *,
    secret: str | None,
    secret_env: str,
    secret_file: Path | None,
    message_id: str,
    timestamp: str,
    signature: str,
    now: int | None,
) -> None:
    """Say whether the body on standard input is signed with one of the secrets, and recent.

    Exit code 1 if it is not.
    """
    from flowgauge.schemas.signing import SignatureInvalid, headers_of
    from flowgauge.schemas.signing import verify as check
    from flowgauge.schemas.signing_keys import verifying_key
    from flowgauge.transport import wall_clock

    secrets = _given_secrets("verify with", verifying_key, secret_env, secret_file, given=secret)
    headers = headers_of(message_id, timestamp, signature)
    now_s = wall_clock.now_ms() // 1000 if now is None else now
    try:
        check(secrets, headers, sys.stdin.buffer.read(), now_s=now_s)
    except SignatureInvalid as invalid:
        click.echo(f"not verified: {invalid}")
        raise SystemExit(1) from None
    click.echo("verified")


@command.command()
@click.option("--ed25519", is_flag=True, help="A key pair, whsk_…: its public key goes to standard error.")
def keygen(*, ed25519: bool) -> None:
    """Print a new secret, whsec_…, that sender and receiver share."""
    from flowgauge.schemas.signing_keys import ED25519_BYTES, new_private_key, new_secret, public_key_of

    random_bytes = chance.token_bytes(ED25519_BYTES)
    if not ed25519:
        click.echo(new_secret(random_bytes))
        return
    private = new_private_key(random_bytes)
    click.echo(private)
    click.echo(f"for receivers: {public_key_of(private)}", err=True)


@command.command(name="public-key")
@secret_options
def public_key(*, secret_env: str, secret_file: Path | None) -> None:
    """Print the public key, whpk_…, of each ed25519 secret: what a receiver verifies with."""
    from flowgauge.schemas.signing_keys import public_key_of

    for secret in _given_secrets("derive it from", public_key_of, secret_env, secret_file):
        click.echo(public_key_of(secret))


@command.command(name="check-address")
@click.argument("hosts", nargs=-1, required=True)
@click.option("--config", type=existing_file, help="A flowgauge.toml whose egress.allow holds.")
def check_address(hosts: Sequence[str], config: Path | None) -> None:
    """Say for each host, address or URL whether a webhook may go there; nothing is connected to.

    smtp://HOST asks for mail. Exit code 1 if any is refused.
    """
    is_refused = asyncio.run(_check_hosts(hosts, config))
    raise SystemExit(1 if is_refused else 0)


def _given_secrets(
    what_for: str, read: Callable[[str], object], variable: str, file: Path | None, *, given: str | None = None
) -> list[str]:
    """Return the secret that was given itself, else those of file or variable; refuse none, and what `read` does."""
    from flowgauge.schemas.signing_keys import NEW_SECRET

    secrets = [given] if given else _secrets(variable, file)
    if not secrets:
        raise BadInput(f"no secret to {what_for}: set {variable}, or give --secret-file ({NEW_SECRET})")
    _check(read, secrets)
    return secrets


def _secrets(variable: str, file: Path | None) -> list[str]:
    """Return what the file holds, or the variable."""
    if file is None:
        return os.environ.get(variable, "").split()
    try:
        return file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadInput(f"--secret-file {file}: cannot be read: {reason}") from None


def _check(read: Callable[[str], object], secrets: Sequence[str]) -> None:
    from flowgauge.schemas.signing_keys import NEW_SECRET

    try:
        for secret in secrets:
            read(secret)
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
