"""`flowgauge schema apply | check | access`: the ClickHouse tables, and who may do what with them."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgauge.console.cli.options import config_option, data_setting_option

if TYPE_CHECKING:
    from flowgauge.schemas.settings import Settings
    from flowgauge.sinks.clickhouse.store import ClickHouseStore

UP_TO_DATE = "the tables are up to date"


@click.group()
def command() -> None:
    """Create, update or check the ClickHouse tables."""


@command.command()
@data_setting_option
@config_option
def apply(data: Path | None, config: Path | None) -> None:
    """Apply what the tables lack; twice changes nothing.

    They are those of the ClickHouse server in the settings, else those in the data folder. `flowgauge up` does the
    same at its start.
    """
    with _store(_settings(data, config)) as store:
        lines = [f"applied {name}" for name in store.apply_schema()] or [UP_TO_DATE]
    click.echo("\n".join(lines))


@command.command()
@data_setting_option
@config_option
def check(data: Path | None, config: Path | None) -> int:
    """Tell what `apply` would do, and change nothing; ends with 1 where something is missing."""
    missing = _missing(_settings(data, config))
    click.echo("\n".join(f"missing {name}" for name in missing) or UP_TO_DATE)
    return 1 if missing else 0


@command.command()
@config_option
def access(config: Path | None) -> None:
    """Print the statements that make a ClickHouse server's users: one that inserts, one that asks.

    An admin runs them once, with passwords of their own, and again when an upgrade brings new tables. The one that
    asks sees no row of a tenant that its question does not name.
    """
    from flowgauge.sinks.clickhouse.access import access_statements

    statements = access_statements(_settings(None, config).clickhouse.database)
    click.echo("\n".join(f"{statement};" for statement in statements))


def _missing(settings: "Settings") -> list[str]:
    from flowgauge.sinks.clickhouse.schema import schema_files

    if not settings.clickhouse.url and not (settings.data / "clickhouse").is_dir():
        return [file.name for file in schema_files()]
    with _store(settings) as store:
        return store.missing_schema()


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
