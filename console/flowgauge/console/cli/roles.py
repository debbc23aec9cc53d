"""`flowgauge gateway|pulse|match|detect|sink|notify|console|cloudevents`: a process each, on the Kafka log."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowgauge.console.cli.options import config_option
from flowgauge.schemas.event import DEFAULT_TENANT

if TYPE_CHECKING:
    from flowgauge.console.role import Role

COMMANDS: dict[str, click.Command] = {}


def _role(*options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Make a role's command, with the options that all roles have and `options`."""
    shared: list[Callable[[Any], Any]] = [
        click.option("--host", help="Where to listen.  [default: 127.0.0.1]"),
        click.option("--port", type=click.IntRange(0, 65_535), help="0 takes a free one.  [default: the role's own]"),
        click.option("--instance", help="Unique among the processes of the role.  [default: the host's name]"),
        *options,
        config_option,
    ]

    def make(function: Callable[..., None]) -> click.Command:
        for option in reversed(shared):
            function = option(function)
        command = click.command()(function)
        COMMANDS[function.__name__] = command
        return command

    return make


@_role()
def gateway(**flags: object) -> None:
    """Take events over HTTP (POST /v1/events), on port 4280. Any number.

    Other than on loopback it needs tokens. /livez, /readyz and /metrics are there too.
    """
    from flowgauge.console.roles.gateway import GATEWAY

    _run(GATEWAY, flags)


@_role()
def pulse(**flags: object) -> None:
    """Move the clock of idle partitions, each second. One is enough, a second outlasts it.

    Port 4291 answers /livez, /readyz and /metrics.
    """
    from flowgauge.console.roles.pulse import PULSE

    _run(PULSE, flags)


@_role()
def match(**flags: object) -> None:
    """Read events and send detectors what concerns a rule. As many as there are partitions.

    Port 4292 answers /livez, /readyz and /metrics.
    """
    from flowgauge.console.roles.match import MATCH

    _run(MATCH, flags)


@_role()
def detect(**flags: object) -> None:
    """Open, hold and close incidents. As many as there are samples partitions.

    Port 4293 answers /livez, /readyz and /metrics.
    """
    from flowgauge.console.roles.detect import DETECT

    _run(DETECT, flags)


@_role()
def sink(**flags: object) -> None:
    """Store events, transitions, deliveries and dead letters in the ClickHouse server of the settings.

    Port 4294 answers /livez, /readyz and /metrics.
    """
    from flowgauge.console.roles.sink import SINK_ROLE

    _run(SINK_ROLE, flags)


@_role(
    click.option(
        "--rules",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="A folder of files with channels, watched; rules in it are not put in force.",
    )
)
def notify(**flags: object) -> None:
    """Tell channels about incidents. One works, more stand by.

    Port 4295 answers /livez, /readyz and /metrics.
    """
    from flowgauge.console.roles.notify import NOTIFY

    _run(NOTIFY, flags)


@_role()
def console(**flags: object) -> None:
    """Show pages, answer questions and take rules (POST /v1/rules), on port 4290. Any number.

    Other than on loopback it needs tokens. /livez, /readyz and /metrics are there too.
    """
    from flowgauge.console.roles.console import CONSOLE

    _run(CONSOLE, flags)


@_role(
    click.option("--from", "topic", required=True, help="The topic, by its name in Kafka."),
    click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose events they are, all of them."),
)
def cloudevents(topic: str, tenant: str, **flags: object) -> None:
    """Bring a topic of CloudEvents into the log. As many as it has partitions.

    Port 4296 answers /livez, /readyz and /metrics.
    """
    from flowgauge.console.roles.cloudevents import cloudevents_role

    _run(cloudevents_role(topic, tenant), flags)


def _run(role: "Role", flags: Mapping[str, Any]) -> None:
    from flowgauge.console.ending import run_as_process
    from flowgauge.console.role import run_until_signal
    from flowgauge.schemas.settings import load_settings

    given = {name: value for name, value in flags.items() if name not in {"config", "instance"}}
    settings = load_settings(flags["config"], os.environ, {**given, "kafka.instance": flags["instance"]})
    asyncio.run(run_as_process(run_until_signal(role, settings, announce=click.echo)))
