"""What commands that ask have in common: where the answer came from, and whether there is more of it."""

import asyncio
import getpass
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from flowgauge.schemas.counted import counted

if TYPE_CHECKING:
    from flowgauge.console.ask import Answer, Place

ROWS_MAX = 10_000  # of one answer: a question for more is refused

_Row = TypeVar("_Row")


def answer_to(place: "Place", path: str, parameters: Mapping[str, str], *, is_first: bool = True) -> "Answer":
    """Return the answer to GET `path`; the first says on standard error where it is of no running server."""
    from flowgauge.console.ask import ask, tenant_in

    answer = asyncio.run(ask(place, path, parameters))
    if answer.folder is not None and is_first:
        click.echo(f"no server runs: tenant {tenant_in(parameters)} is read from {answer.folder}", err=True)
    return answer


def one_more(limit: int) -> str:
    """Return the limit to ask with: a row more than is shown tells whether there are more."""
    return str(min(limit + 1, ROWS_MAX))


def shown(rows: Sequence[_Row], limit: int, *, newest_last: bool = False) -> Sequence[_Row]:
    """Return the rows to show; say on standard error where there are more."""
    if len(rows) <= limit:
        return rows
    are_shown = f"{counted(limit, 'row')} {'is' if limit == 1 else 'are'} shown"
    click.echo(f"{are_shown} and there are more: --limit says how many to show", err=True)
    return rows[-limit:] if newest_last else rows[:limit]


def login_name() -> str:
    """Return who is logged in here, who does something where nobody is named."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise click.UsageError("say who does it with --as NAME: this machine knows no name of yours") from None
