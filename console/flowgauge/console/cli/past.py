"""`flowgauge import prefect`: what an orchestrator keeps of past runs, as history: for questions, seen by no rule."""

from time import monotonic
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import duration_ms, prefect_api_option, token_option, url_option
from flowgauge.schemas.counted import counted
from flowgauge.schemas.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowgauge.producers.prefect.importing import Imported

PAST_MAX_MS = 399 * 86_400_000  # events may be 400 days old when they are appended
SAID_EVERY_S = 5.0


@click.group()
def command() -> None:
    """Bring in what an orchestrator keeps of past runs, so that questions have answers on the first day."""


@command.command()
@prefect_api_option
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
def prefect(  # noqa: PLR0917  # click's signature
    api: str, url: str, token: str | None, since: str, until: str | None, task_runs: bool, logs: bool, wait: str
) -> None:
    """Bring what Prefect keeps of past runs into flowgauge as history: for questions, seen by no rule.

    An event that is there already is the same one again, so importing twice changes no answer. Exit code 1 says that
    some events were refused. Prefect's key is in PREFECT_API_KEY, a server's auth string in PREFECT_API_AUTH_STRING.
    """
    from flowgauge.producers.blocking_sender import BlockingSender
    from flowgauge.producers.prefect.api import PrefectApi, credentials_here
    from flowgauge.producers.prefect.importing import Import, Past
    from flowgauge.producers.prefect.look_back import time_at

    wait_ms = duration_ms("--wait", wait)
    with PrefectApi(api, credentials_here(), wait_s=wait_ms / 1000, say=_say) as server:
        now_ms = server.now_ms()
        since_ms = _time_ms("--since", since, now_ms)
        until_ms = now_ms if until is None else min(now_ms, _time_ms("--until", until, now_ms))
        if not now_ms - PAST_MAX_MS <= since_ms < until_ms:
            raise BadInput("--since: expected a time within the last 399 days, and before --until")
        sender = BlockingSender(url, token, wait_ms=wait_ms, say=_say)
        bringing = Import(server, sender, say=_say_progress())
        try:
            bringing.run(Past(since_ms * 1000, until_ms * 1000, task_runs=task_runs, logs=logs))
        except KeyboardInterrupt:
            _say(f"stopped: go on with --since {time_at(bringing.said.until_us)}")
            raise
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
