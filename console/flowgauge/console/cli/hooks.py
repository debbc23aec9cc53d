"""`flowgauge hooks try`: what a webhook would become."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import existing_file
from flowgauge.schemas.errors import BadInput, InvalidEvent

if TYPE_CHECKING:
    from flowgauge.schemas.hook_file import Hook

_NO_TIME = (
    "warning: `occurred` finds nothing, so it is when the webhook comes, and a rule counts it again when it is sent "
    "again: name a time that the body holds, such as created_at"
)


@click.group()
def command() -> None:
    """Try what webhooks of other programs become."""


@command.command(name="try")
@click.argument("file", type=existing_file)
@click.argument("name")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header it comes with; repeatable.")
@click.option("--tenant", default="default", show_default=True, help="Whose token it comes with, of a hook by token.")
def try_hook(file: Path, name: str, headers: Sequence[str], tenant: str) -> None:
    """Print the event that the body on standard input becomes by the hook NAME of FILE.

    Nothing is sent, and signatures are not looked at. What the hook ignores, and a body without a time, are told on
    standard error; exit code 1 where no event can be made of it.
    """
    import msgspec

    from flowgauge.producers.hook_event import Ignored, event_of
    from flowgauge.transport.wall_clock import now_ms

    came_ms = now_ms()
    hook = _hook(file, name)
    body = sys.stdin.buffer.read()
    of = partial(event_of, hook, body, _headers(headers), tenant=hook.tenant or tenant)
    try:
        raw = of(now_ms=came_ms)
        is_the_same_later = raw == of(now_ms=came_ms + 1)
    except Ignored:
        click.echo("ignored: `ignore` of the hook finds something in it", err=True)
    except InvalidEvent as invalid:
        click.echo(str(invalid), err=True)
        raise SystemExit(1) from None
    else:
        click.echo(msgspec.json.format(raw, indent=2).decode())
        if not is_the_same_later:
            click.echo(_NO_TIME, err=True)


def _hook(file: Path, name: str) -> "Hook":
    from flowgauge.schemas.hook_file import hooks_of
    from flowgauge.transport.yaml_files import read_document

    hooks = {hook.name: hook for hook in hooks_of(read_document(file)).hooks}
    if name not in hooks:
        raise BadInput(f"{file}: no hook is called {name!r}: there are {', '.join(hooks) or 'none'}")
    return hooks[name]


def _headers(written: Sequence[str]) -> dict[str, str]:
    found = dict(each.split(":", 1) for each in written if ":" in each)
    if len(found) < len(written):
        raise click.BadParameter("expected NAME:VALUE, such as X-GitHub-Event:workflow_run", param_hint="--header")
    return {name.strip().lower(): value.strip() for name, value in found.items()}
