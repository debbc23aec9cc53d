"""`flowgauge tenant export | erase`: all rows of a tenant, to take away or to let go."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from flowgauge.console.cli.asking import answer_to
from flowgauge.console.cli.options import data_option, token_option, url_option
from flowgauge.schemas.counted import counted

if TYPE_CHECKING:
    from flowgauge.console.ask import Place

LOOK_EVERY_S = 1.0  # while ClickHouse rewrites parts
ERASE_S_MAX = 600.0  # then somebody still sends, or it is a matter for the night: the command can be given again


class _Page(msgspec.Struct):
    rows: list[msgspec.Raw]
    next: str | None


@click.group()
def command() -> None:
    """Export or erase all rows of a tenant."""


@command.command()
@click.argument("name")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="An empty or new folder."
)
@url_option
@token_option
@data_option
def export(*, name: str, folder: Path, url: str, token: str | None, data: Path) -> None:
    """Write all rows of the tenant NAME into files, and read them again to verify.

    Events, transitions, deliveries and dead letters, a line of JSON each, and a manifest with counts and digests.
    What ClickHouse folds from them is not written.
    """
    from flowgauge.console.ask import Place
    from flowgauge.console.tenant_files import Manifest, refuse_used, verify, write_manifest, write_rows
    from flowgauge.schemas.errors import FlowgaugeError
    from flowgauge.transport.wall_clock import now_ms

    place = Place(url, token, data)
    until_ms = now_ms()
    asked = {"tenant": name, "until": str(until_ms)}
    held = answer_to(place, "/v1/tenant", asked).body
    if not any(held["rows"].values()):
        raise FlowgaugeError(f"{_unknown(name)}: nothing was written")
    refuse_used(folder)
    tables = {table: write_rows(folder, table, _pages(place, table, asked)) for table in held["rows"]}
    write_manifest(folder, Manifest(name, until_ms, tables))
    for table, file in verify(folder).tables.items():
        if file.rows != held["rows"][table]:
            counts = f"{counted(file.rows, 'row')} came, ClickHouse counted {held['rows'][table]:,}"
            raise FlowgaugeError(f"{table}: {counts}")
    click.echo("\n".join(f"{file.rows:>12,}  {folder / file.file}" for file in tables.values()))


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Erase; without it, only tell what there is.")
@url_option
@token_option
@data_option
def erase(*, name: str, yes: bool, url: str, token: str | None, data: Path) -> int:
    """Erase all rows of the tenant NAME from every table, and wait until ClickHouse has let them go.

    First take the tenant's tokens out of the settings. The log keeps its records for as long as it keeps any; rows are
    not made of them again. Ends with 1 without --yes. Where the tenant has no rows it says so, and with --yes ends with
    0: an erasure may be given again.
    """
    from flowgauge.console.ask import Place, ask, post

    place = Place(url, token, data)
    if not yes:
        held = answer_to(place, "/v1/tenant/erase", {"tenant": name}).body
        click.echo(_counts(held))
        rows = "--yes erases these rows for good" if any(held["rows"].values()) else _unknown(name)
        click.echo(f"nothing was erased: {rows}", err=True)
        return 1
    held = asyncio.run(ask(place, "/v1/tenant/erase", {"tenant": name}, of_server=True)).body
    if not any(held["rows"].values()):
        click.echo(f"there is nothing to erase: {_unknown(name)}", err=True)
    deadline_s = time.monotonic() + ERASE_S_MAX
    while True:
        left = asyncio.run(post(place, "/v1/tenant/erase", b"", {"tenant": name})).body
        if not left["pending"] and not any(left["rows"].values()):
            click.echo(_counts(left))
            return 0
        if time.monotonic() > deadline_s:
            click.echo(_counts(left))
            click.echo("not over yet: does somebody still send events of it? Give the command again", err=True)
            return 1
        time.sleep(LOOK_EVERY_S)


def _pages(place: "Place", table: str, asked: dict[str, str]) -> Iterator[list[bytes]]:
    after: dict[str, str] | None = {}
    while after is not None:
        answer = answer_to(place, f"/v1/tenant/rows/{table}", {**asked, **after}, is_first=False)
        page = msgspec.json.decode(answer.text, type=_Page)
        yield [bytes(row) for row in page.rows]
        after = None if page.next is None else {"after": page.next}


def _unknown(name: str) -> str:
    return f"nothing is known of tenant {name}: no table has a row of it"


def _counts(held: dict[str, Any]) -> str:
    return "\n".join(f"{rows:>12,}  {table}" for table, rows in held["rows"].items())
