"""`flowgauge prefect bridge|import|convert`: what a Prefect server tells, or told, as flowgauge events."""

import signal
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import checked_address, existing_file, token_option, url_option
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadEnvironment, BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowgauge.producers.prefect.importing import Imported

PAST_MAX_MS = 399 * 86_400_000  # events may be 400 days old when they are appended
SAID_EVERY_S = 5.0
STATE_DEFAULT = ".flowgauge-bridge"

_api_option = click.option(
    "--api",
    envvar="PREFECT_API_URL",
    required=True,
    metavar="URL",
    help="Prefect's API, such as http://127.0.0.1:4200/api.  [env: PREFECT_API_URL]",
)


@click.group()
def command() -> None:
    """Bring in what a Prefect server tells: bridge it, import its past, convert a capture."""


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
@_api_option
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
        checked_address(api).rstrip("/"),
        credentials_here(),
        url,
        token,
        state,
        compare_ms=_duration_ms("--compare", compare),
        gap_max_ms=_duration_ms("--gap", gap),
        logs=logs,
        scheduled_for=scheduled_for,
    )
    configure_log_lines("info")
    _answer_metrics(metrics_port)
    run_bridge(bridging, _stop_on_signals())


@command.command("import")
@_api_option
@url_option
@token_option
@click.option(
    "--since",
    required=True,
    metavar="TIME",
    help="Runs that started, or were to, since then: 30d, or an RFC 3339 time. At most 399d.",
)
@click.option("--until", metavar="TIME", help="And before then.  [default: now]")
@click.option("--task-runs", is_flag=True, help="Also their task runs: one request more for each.")
@click.option("--logs", is_flag=True, help="Also logs of that time.")
@click.option("--wait", default="60s", show_default=True, help="How long to try while Prefect or flowgauge is away.")
def import_past(  # noqa: PLR0917  # click's signature
    api: str, url: str, token: str | None, since: str, until: str | None, task_runs: bool, logs: bool, wait: str
) -> None:
    """Bring what Prefect keeps of past runs into flowgauge as history: for questions, seen by no rule.

    An event that is there already is the same one again, so importing twice changes no answer. Exit code 1 says that
    some events were refused. Prefect's key is in PREFECT_API_KEY, a server's auth string in PREFECT_API_AUTH_STRING.
    """
    from flowgauge.producers.blocking_sender import BlockingSender
    from flowgauge.producers.prefect.api import PrefectApi, credentials_here
    from flowgauge.producers.prefect.importing import Import, Past

    wait_ms = _duration_ms("--wait", wait)
    with PrefectApi(checked_address(api), credentials_here(), wait_s=wait_ms / 1000) as prefect:
        now_ms = prefect.now_ms()
        since_ms = _time_ms("--since", since, now_ms)
        until_ms = now_ms if until is None else min(now_ms, _time_ms("--until", until, now_ms))
        if not now_ms - PAST_MAX_MS <= since_ms < until_ms:
            raise BadInput("--since: expected a time within the last 399 days, and before --until")
        sender = BlockingSender(url, token, wait_ms=wait_ms, say=_say)
        bringing = Import(prefect, sender, say=_say_progress())
        try:
            bringing.run(Past(since_ms * 1000, until_ms * 1000, task_runs=task_runs, logs=logs))
        finally:
            _say_imported(bringing.said)
    if bringing.said.refused:
        raise SystemExit(1)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _say_progress() -> "Callable[[Imported], None]":
    """Return what says, each few seconds, how far an import is."""
    from flowgauge.producers.prefect.look_back import time_at

    said_s = monotonic()

    def say(imported: "Imported") -> None:
        nonlocal said_s
        if monotonic() - said_s >= SAID_EVERY_S:
            said_s = monotonic()
            so_far = f"{counted(imported.runs, 'run')} and {counted(imported.events, 'event')} so far"
            _say(f"{so_far}, now of the day from {time_at(imported.until_us)} on")

    return say


def _say_imported(imported: "Imported") -> None:
    for problem in imported.problems:
        _say(problem)
    parts = [counted(imported.runs, "run")]
    parts += [counted(imported.tasks, "task run")] if imported.tasks else []
    parts += [counted(imported.logs, "log")] if imported.logs else []
    refused = f", {imported.refused:,} refused" if imported.refused else ""
    too_old = f", {imported.too_old:,} too old to be kept" if imported.too_old else ""
    click.echo(f"{', '.join(parts)}: {counted(imported.events, 'event')}{refused}{too_old}")


def _time_ms(option: str, text: str, now_ms: int) -> int:
    """Return the time that `text` names: a duration before now, or an RFC 3339 time."""
    from flowgauge.schemas.times import parse_duration_ms, parse_time_ms

    try:
        return now_ms - parse_duration_ms(text)
    except ValueError:
        pass
    try:
        return parse_time_ms(text)
    except ValueError:
        raise BadInput(f"{option}: expected a duration such as 30d, or an RFC 3339 time, got {text!r}") from None


def _duration_ms(option: str, text: str) -> int:
    from flowgauge.schemas.times import parse_duration_ms

    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


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
