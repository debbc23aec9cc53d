"""`flowgauge schema apply`: the ClickHouse tables."""

from pathlib import Path

import click

from flowgauge.console.cli.options import data_option


@click.group()
def command() -> None:
    """Create or update the ClickHouse tables."""


@command.command()
@data_option
def apply(data: Path) -> None:
    """Apply what the tables in the data folder lack; twice changes nothing.

    `flowgauge up` does the same at its start.
    """
    for line in _apply(data):
        click.echo(line)


def _apply(data: Path) -> list[str]:
    from flowgauge.sinks.clickhouse.store import ClickHouseStore
    from flowgauge.transport.data_folder import lock_data_folder

    with lock_data_folder(data):
        store = ClickHouseStore.open(data / "clickhouse")
        try:
            return [f"applied {name}" for name in store.apply_schema()] or ["the tables are up to date"]
        finally:
            store.close()
