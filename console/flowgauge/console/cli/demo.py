"""`flowgauge demo`: see it work, in a folder of its own."""

import asyncio

import click


@click.command()
@click.option("--once", is_flag=True, help="End after the history's incidents and one live incident were delivered.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=4280,
    show_default=True,
    help="Of the console; a free one if it is taken.",
)
def command(*, once: bool, port: int) -> None:
    """Run flowgauge on recorded events of a Prefect server, then on simulated workers with outages.

    Each incident that is found is told by a signed webhook, whose signature is verified. Everything stays on this
    machine and in a temporary folder. Ends on Ctrl-C.
    """
    from flowgauge.console.demo_run import run_demo

    raise SystemExit(asyncio.run(run_demo(once=once, port=port, say=click.echo)))
