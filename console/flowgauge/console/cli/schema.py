"""`flowgauge schema plan | apply | check | backfill | access`: the ClickHouse tables, and who may do what with them."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import config_option, data_setting_option
from flowgauge.schemas.counted import counted

if TYPE_CHECKING:
    from flowgauge.schemas.settings import Settings
    from flowgauge.sinks.clickhouse.migrations import Step
    from flowgauge.sinks.clickhouse.store import ClickHouseStore

UP_TO_DATE = "the tables are up to date"


@click.group()
def command() -> None:
    """Create, update or check the ClickHouse tables.

    They are those of the ClickHouse server in the settings, else those in the data folder.
    """


@command.command()
@click.option("--all", "everything", is_flag=True, help="As if there were no tables: all that makes them.")
@data_setting_option
@config_option
def plan(data: Path | None, config: Path | None, *, everything: bool) -> None:
    """Print the statements that `apply` would run, and what each costs.

    They are printed in order and as they would go out, and nothing is changed.
    """
    steps = _plan(_settings(data, config), everything=everything)
    click.echo("\n\n".join(map(str, steps)) or f"-- {UP_TO_DATE}")


@command.command()
@data_setting_option
@config_option
def apply(data: Path | None, config: Path | None) -> None:
    """Apply what the tables lack; twice changes nothing.

    Several may do it at once, and one that was ended goes on where it was. `flowgauge up` does the same at its start.
    """
    with _store(_settings(data, config)) as store:
        lines = [f"applied {name}" for name in store.apply_schema()] or [UP_TO_DATE]
    click.echo("\n".join(lines))


@command.command()
@data_setting_option
@config_option
def check(data: Path | None, config: Path | None) -> int:
    """Compare the tables with what they should be.

    Tells each difference with its remedy, and what of the server and its user does not fit: settings, clock, cluster.
    Changes nothing; ends with 1 where there is anything to tell.
    """
    settings = _settings(data, config)
    if not settings.clickhouse.url:
        is_there = "" if not _has_none(settings) else ", and there is nothing yet"
        click.echo(f"looked at {(settings.data / 'clickhouse').absolute()}{is_there}", err=True)
    lines = _check(settings)
    click.echo("\n".join(lines) or UP_TO_DATE)
    return 1 if lines else 0


@command.command()
@data_setting_option
@config_option
def backfill(data: Path | None, config: Path | None) -> None:
    """Take what was stored by an older flowgauge into what the tables have since.

    Runs learn their deployments, work pools, tags and waits, and logs are indexed, day by day and the newest first.
    What is done stays done when it is broken off; a day again changes nothing. A server's sinks may go on meanwhile.
    """
    from flowgauge.sinks.clickhouse.backfill import Backfilled, backfill_events

    def tell(done: Backfilled) -> None:
        click.echo(f"{done.day}  {counted(done.rows, 'event')}  ({done.number} of {counted(done.days, 'day')})")

    with _store(_settings(data, config)) as store:
        days = asyncio.run(backfill_events(store, tell))
    click.echo("all days are up to date" if days else "there was nothing to do")


@command.command()
@config_option
def access(config: Path | None) -> None:
    """Print the statements that make a ClickHouse server's users: one that inserts, one that asks.

    An admin runs them once, with passwords of their own, and again when an upgrade brings new tables. The one that
    asks sees no row of a tenant that its question does not name.
    """
    from flowgauge.sinks.clickhouse.access import access_statements

    server = _settings(None, config).clickhouse
    statements = access_statements(server.database, server.cluster)
    click.echo("\n".join(f"{statement};" for statement in statements))


def _plan(settings: "Settings", *, everything: bool) -> list["Step"]:
    from flowgauge.sinks.clickhouse.deployment import Deployment
    from flowgauge.sinks.clickhouse.migrations import steps
    from flowgauge.sinks.clickhouse.schema import schema_files

    if _has_none(settings):
        return steps(schema_files(), Deployment(), {})
    with _store(settings) as store:
        return store.plan_schema(everything=everything)


def _check(settings: "Settings") -> list[str]:
    from flowgauge.sinks.clickhouse.schema import schema_files

    if _has_none(settings):
        return [f"missing {file.name}" for file in schema_files()]
    with _store(settings) as store:
        return store.check_schema()


def _has_none(settings: "Settings") -> bool:
    """Tell whether there is no ClickHouse yet: looking must not make a folder."""
    return not settings.clickhouse.url and not (settings.data / "clickhouse").is_dir()


def _settings(data: Path | None, config: Path | None) -> "Settings":
    from flowgauge.schemas.settings import load_settings

    return load_settings(config, os.environ, {"data": data})


@contextmanager
def _store(settings: "Settings") -> Generator["ClickHouseStore"]:
    """Open the store; the data folder is locked where the tables lie in it."""
    from contextlib import ExitStack, closing

    from flowgauge.console.clickhouse import open_store
    from flowgauge.transport.data_folder import lock_data_folder

    with ExitStack() as held:
        if not settings.clickhouse.url:
            held.enter_context(lock_data_folder(settings.data))
        yield held.enter_context(closing(open_store(settings)))
