"""`flowgauge prefect bridge|convert`: what a Prefect server tells, or told, as flowgauge events."""

import signal
import sys
import threading
from pathlib import Path

import click

from flowgauge.console.cli.options import (
    duration_ms,
    existing_file,
    prefect_api_option,
    token_option,
    url_option,
)
from flowgauge.schemas.errors import BadEnvironment, BadInput

STATE_DEFAULT = ".flowgauge-bridge"
COMPARE_MS_MIN = 1_000  # more often, comparing would be all that Prefect's server does


@click.group()
def command() -> None:
    """Bring in what a Prefect server tells: bridge it, convert a capture."""


@command.command()
@click.argument("file", type=existing_file)
def convert(file: Path) -> None:
    """Print the capture FILE (gzipped or not) as event lines for `replay` and `up --load`.

    A line of a capture is one message of Prefect's broker: {"topic": "events" or "logs", "data": {…}}. Lines that
    cannot be converted are told on standard error; then the exit code is 1, or 2 where nothing could be converted.
    """
    from flowgauge.producers.prefect.convert import convert_file

    counts = convert_file(file, sys.stdout.buffer, sys.stderr)
    sys.stdout.buffer.flush()
    if counts.events_already and not counts.events + counts.logs:
        raise BadInput(f"{file}: these are event lines already: give them to replay, publish or up --load as they are")
    if not counts.events + counts.logs:
        raise BadInput(f"{file}: nothing in it is of a capture of a Prefect server")
    raise SystemExit(1 if counts.bad else 0)


@command.command()
@prefect_api_option
@url_option
@token_option
@click.option(
    "--state",
    envvar="FLOWGAUGE_BRIDGE_STATE",
    default=STATE_DEFAULT,
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that keeps how far it came. One bridge at a time uses it.",
)
@click.option("--compare", default="5m", show_default=True, help="How often to look for what Prefect's stream lost.")
@click.option("--gap", default="7d", show_default=True, help="How far back to read what happened while it was away.")
@click.option("--logs/--no-logs", default=True, help="Also read logs, every 5 seconds.  [default: logs]")
@click.option(
    "--scheduled-for/--no-scheduled-for",
    default=True,
    help="Ask Prefect when runs of deployments were to start.  [default: scheduled-for]",
)
@click.option("--metrics-port", type=click.IntRange(1, 65_535), help="Answer /metrics on this port of 127.0.0.1.")
def bridge(  # noqa: PLR0913, PLR0917  # click's signature
    api: str,
    url: str,
    token: str | None,
    state: Path,
    compare: str,
    gap: str,
    logs: bool,
    scheduled_for: bool,
    metrics_port: int | None,
) -> None:
    """Send what a Prefect server or Prefect Cloud tells its readers to the gateway, until it is stopped.

    For servers that cannot load the broker plugin. Prefect's key is in PREFECT_API_KEY, or a server's auth string in
    PREFECT_API_AUTH_STRING; or in the file that PREFECT_API_KEY_FILE or PREFECT_API_AUTH_STRING_FILE names.
    """
    from flowgauge.console.log_lines import configure_log_lines
    from flowgauge.producers.prefect.api import credentials_here
    from flowgauge.producers.prefect.bridge import Bridging, run_bridge

    bridging = Bridging(
        api.rstrip("/"),
        credentials_here(),
        url,
        token,
        state,
        compare_ms=duration_ms("--compare", compare, COMPARE_MS_MIN),
        gap_max_ms=duration_ms("--gap", gap),
        logs=logs,
        scheduled_for=scheduled_for,
    )
    configure_log_lines("info")
    _answer_metrics(metrics_port)
    run_bridge(bridging, _stop_on_signals())


def _stop_on_signals() -> threading.Event:
    """Return what the first SIGINT or SIGTERM sets; the next one ends the process at once, as if it were killed."""
    stop = threading.Event()

    def end(*_: object) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, end)
    return stop


def _answer_metrics(port: int | None) -> None:
    from prometheus_client import start_http_server

    if port is None:
        return
    try:
        start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise BadEnvironment(
            f"port {port} cannot be used: {error.strerror}; choose another with --metrics-port"
        ) from None
