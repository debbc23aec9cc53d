"""`flowgauge up`: everything in one process."""

import asyncio
import os
from pathlib import Path

import click

from flowgauge.console.cli.options import config_option, data_setting_option, existing_file


@click.command()
@data_setting_option
@click.option("--host", help="Where to listen; other than loopback needs tokens.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="0 takes a free one.  [default: 4280]")
@click.option(
    "--rules",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder of rule and channel files, watched.",
)
@click.option("--partitions", type=click.IntRange(1, 256), help="Of the events, when the log is created.  [default: 1]")
@click.option(
    "--samples-partitions", type=click.IntRange(1, 256), help="Of the samples, when the log is created.  [default: 1]"
)
@click.option("--load", type=existing_file, help="History for an empty log: event lines, or a Prefect capture.")
@click.option("--shift-to-now", is_flag=True, help="Move the history's times so that it ends now.")
@config_option
def command(*, load: Path | None, shift_to_now: bool, config: Path | None, **flags: object) -> None:
    """Run gateway, detection, ClickHouse, webhooks and console in one process, on one port.

    Ends on Ctrl-C or SIGTERM; a kill at any moment loses nothing.
    """
    from flowgauge.console.ending import run_as_process
    from flowgauge.console.loading import Load
    from flowgauge.console.up import run_until_signal
    from flowgauge.schemas.settings import load_settings
    from flowgauge.transport.wall_clock import now_ms

    if shift_to_now and load is None:
        raise click.UsageError("--shift-to-now moves what --load FILE brings: name the file")
    settings = load_settings(config, os.environ, flags)
    history = Load(load, now_ms() if shift_to_now else None) if load else None
    asyncio.run(run_as_process(run_until_signal(settings, load=history, announce=click.echo)))
