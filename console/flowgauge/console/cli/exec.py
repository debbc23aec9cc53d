"""`flowgauge exec`: run a command as a run of a flow. For scripts and cron; the light install is enough for it.

The command comes first: whatever is wrong with flowgauge, or with a value that only flowgauge reads, it runs, prints
and ends as it would alone.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from flowgauge.schemas.check import SCHEDULED_MAX
from flowgauge.schemas.times import EPOCH, parse_duration_ms

if TYPE_CHECKING:
    from flowgauge.producers import Publisher, RunScope
    from flowgauge.producers.last_lines import LastLines
    from flowgauge.producers.run_scope import State
    from flowgauge.producers.watched_command import Ended

CLOSE_MS = 3_000  # after the command; what is not sent by then waits on disk
HEARTBEAT_DEFAULT = "60s"
SCHEDULED_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC)  # what lies before is a slip: days, a date as a number
SHOWN_CHARS_MAX: Final = 100
_ENDING_SIGNALS: Final = {"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"}


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("arguments", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--flow", required=True, help="The flow's name.")
@click.option("--scheduled-for", metavar="TIME", help="When it was to start: RFC 3339, or seconds since 1970.")
@click.option("--run", help="The run's id.  [default: a new one]")
@click.option("--tag", "tags", multiple=True, help="A tag of the run; repeatable.")
@click.option("--team", default="", help="Whose it is, for questions about money.")
@click.option(
    "--heartbeat", default=HEARTBEAT_DEFAULT, show_default=True, help="How often it says that it lasts; 0: not at all."
)
@click.option("--output/--no-output", default=True, help="Send the last lines it prints, or leave its streams alone.")
@click.option(
    "--spool",
    envvar="FLOWGAUGE_SPOOL",
    help="Where events wait while the server is away.  [default: ~/.local/state/flowgauge/spool]",
)
@click.option("--url", envvar="FLOWGAUGE_URL", help="The flowgauge server.  [default: http://127.0.0.1:4280]")
@click.option("--token", envvar="FLOWGAUGE_TOKEN", help="The tenant's token, where tokens are configured.")
def command(  # noqa: PLR0913  # click gives one for each option
    *,
    arguments: Sequence[str],
    flow: str,
    scheduled_for: str | None,
    run: str | None,
    tags: Sequence[str],
    team: str,
    heartbeat: str,
    output: bool,
    spool: str | None,
    url: str | None,
    token: str | None,
) -> None:
    """Run COMMAND, and tell flowgauge that it runs, how it ended and what it printed last.

    Its output and its exit code are its own, signals reach it, and no server that is away delays it.
    """
    from flowgauge.producers.last_lines import LastLines
    from flowgauge.producers.publisher import Publisher
    from flowgauge.producers.watched_command import OUTPUT_LEFT_S, hold_signals, run_watched

    mask = hold_signals()  # before there is a thread
    said = _Collected()
    publisher = Publisher(url, token, spool=spool or _spool_default())
    lines = LastLines() if output else None
    with publisher.run(
        flow,
        scheduled_for=_moment(scheduled_for),
        run=run,
        tags=tags,
        team=team,
        heartbeat_ms=_heartbeat_ms(heartbeat),
    ) as scope:
        ended = run_watched(arguments, lines, mask)
        if ended.problem:
            _say(ended.problem)
        if ended.cut_off:
            _say(
                f"{OUTPUT_LEFT_S:.0f} s after the command's end something it left behind still prints to "
                f"{' and '.join(ended.cut_off)}: the rest is cut off (--no-output leaves it our streams)"
            )
        _tell(scope, ended, lines)
    _close(publisher, said)
    sys.exit(ended.code)


class _Collected(logging.Handler):
    """What the publisher has to say: told once the command has ended, and only where somebody has to do something."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        logger = logging.getLogger("flowgauge.publisher")
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _close(publisher: "Publisher", said: _Collected) -> None:
    publisher.close(CLOSE_MS)
    if publisher.needs_help:
        for message in said.messages:
            _say(message)


def _tell(scope: "RunScope", ended: "Ended", lines: "LastLines | None") -> None:
    """Say what the command printed, and how it ended."""
    state = _state_of(ended)
    payload: dict[str, object] = {"exit_code": ended.code, "duration_ms": ended.duration_ms}
    last = ""
    if lines is not None:
        payload["output_lines"] = lines.seen
        for line in lines:
            is_error = line.stream == "stderr" and state in {"failed", "crashed"}
            last = line.text if line.stream != "stdout" and line.text.strip() else last
            occurred = EPOCH + timedelta(milliseconds=line.at_ms)
            scope.log("ERROR" if is_error else "INFO", line.text, line.stream, occurred=occurred)
    if ended.killed_by:
        payload["signal"] = ended.killed_by
    if state != "completed":
        reason = ended.problem or (f"killed by {ended.killed_by}" if ended.killed_by else f"exit code {ended.code}")
        payload["message"] = f"{reason}: {last}" if last else reason
    scope.ends(state, payload)


def _state_of(ended: "Ended") -> "State":
    if not ended.code:
        return "completed"
    if ended.killed_by in ended.passed_on or _ENDING_SIGNALS & set(ended.passed_on):
        return "cancelled"
    return "crashed" if ended.killed_by else "failed"


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = EPOCH + timedelta(seconds=int(text)) if text.isdecimal() else datetime.fromisoformat(text)
        if moment.tzinfo is not None and SCHEDULED_FROM <= moment < SCHEDULED_MAX:
            return moment
    except (ValueError, OverflowError):
        pass  # as what lies outside of the bounds
    _say(
        "--scheduled-for: expected an RFC 3339 time with a zone, or seconds since 1970, of the years 2000 to 2199, "
        f"got {text[:SHOWN_CHARS_MAX]!r}; left out"
    )
    return None


def _heartbeat_ms(text: str) -> int:
    try:
        return 0 if text == "0" else parse_duration_ms(text)
    except ValueError as error:
        _say(f"--heartbeat: {error}; it is {HEARTBEAT_DEFAULT}")
        return parse_duration_ms(HEARTBEAT_DEFAULT)


def _spool_default() -> Path | None:
    """Return where the events of this user's jobs wait, None for a user without a home."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return Path(state) / "flowgauge" / "spool"


def _say(text: str) -> None:
    with suppress(OSError):  # nobody may read our errors; the exit code is the command's all the same
        click.echo(f"flowgauge exec: {text}", err=True)
