"""`flowgauge topics plan|apply|check|access`: the topics of a Kafka cluster, and who may do what to them."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flowgauge.console.cli.options import existing_file

if TYPE_CHECKING:
    from flowgauge.transport.access_reader import Found
    from flowgauge.transport.kafka_client import Connection
    from flowgauge.transport.topic_plan import Plan, Sizes

T = TypeVar("T")

PROGRAMS = ("worker", "gateway", "pulse", "match", "detect", "sink", "notify", "console")
NOTHING_TO_DO = "the topics are as wanted"
CLIENT = "topics"  # who brokers' logs say was there, where no instance is set
SIZE = "partitions × replicas"


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Say which cluster, and what its topics are to be like."""
    options: list[Callable[[Any], Any]] = [
        click.option("--bootstrap", help="Brokers to begin at: host:port, separated by commas."),
        click.option("--prefix", help="What the names of topics begin with.  [default: flowgauge]"),
        click.option("--partitions", type=click.IntRange(1, 256), help="Of the events.  [default: 1]"),
        click.option("--samples-partitions", type=click.IntRange(1, 256), help="Of the samples.  [default: 1]"),
        click.option("--retention-days", type=click.IntRange(1, 3_650), help="How long records stay.  [default: 7]"),
        click.option("--replication", type=click.IntRange(1, 15), help="Brokers that hold a record.  [default: 3]"),
        click.option(
            "--config",
            type=existing_file,
            help="Settings; flags and FLOWGAUGE_* win.  [default: flowgauge.toml, if there]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


shorter_option = click.option(
    "--allow-shorter-retention", is_flag=True, help="Let records go that are older than the retention."
)


@click.group()
def command() -> None:
    """Plan, make and check the topics of a Kafka cluster.

    What they are to be like stands in the settings. docs/kafka.md shows the use.
    """


@command.command()
@cluster_options
@shorter_option
def plan(*, allow_shorter_retention: bool, **flags: object) -> None:
    """Show what `apply` would do and what it would refuse, changing nothing.

    Exit code 1 when the topics are not as wanted.
    """
    found = _Cluster.of(flags).plan(allow_shorter_retention=allow_shorter_retention)
    click.echo(_table(found))
    raise SystemExit(0 if found.is_empty else 1)


@command.command()
@cluster_options
@shorter_option
def apply(*, allow_shorter_retention: bool, **flags: object) -> None:
    """Create what is missing and change what differs; twice changes nothing.

    What would lose records, or part state from its input, is refused, and then nothing at all is changed: exit code 1.
    """
    cluster = _Cluster.of(flags)
    found = cluster.plan(allow_shorter_retention=allow_shorter_retention)
    if found.refusals:
        for refusal in found.refusals:
            click.echo(f"refused: {refusal}", err=True)
        click.echo("nothing was changed", err=True)
        raise SystemExit(1)
    cluster.apply(found, allow_shorter_retention=allow_shorter_retention)
    for line in _done(found):
        click.echo(line)


@command.command()
@cluster_options
@click.option(
    "--as",
    "program",
    type=click.Choice(PROGRAMS),
    help="Tell instead what the user of the settings may do and should not, or should and may not, to run this.",
)
def check(*, program: str | None, **flags: object) -> None:
    """Tell each difference with its remedy; every role does so at its start.

    Exit code 1 when there is one.
    """
    from flowgauge.console.kafka_access import all_fine, misfits
    from flowgauge.transport.topic_plan import differences

    cluster = _Cluster.of(flags)
    if program is None:
        lines, fine = differences(cluster.plan()), NOTHING_TO_DO
    else:
        lines = misfits(program, cluster.connection.names, cluster.access())
        fine = all_fine(program)
    click.echo("\n".join(lines) or fine)
    raise SystemExit(1 if lines else 0)


@command.command()
@cluster_options
@click.option("--as", "program", type=click.Choice(PROGRAMS), required=True, help="What the user is to run.")
@click.option("--principal", help="Who it is to brokers.  [default: User:PROGRAM]")
def access(*, program: str, principal: str | None, **flags: object) -> None:
    """Print what grants a user all that it needs to run one program: arguments of Kafka's own kafka-acls, a line each.

    No broker is asked. `check --as` tells whether a user may do this and nothing else.
    """
    from flowgauge.console.kafka_access import statements

    for line in statements(program, _Cluster.of(flags).connection.names, principal or f"User:{program}"):
        click.echo(line)


@dataclass(frozen=True, slots=True)
class _Cluster:
    connection: "Connection"
    sizes: "Sizes"

    @classmethod
    def of(cls, flags: dict[str, Any]) -> "_Cluster":
        """Read the settings, overridden by flags."""
        from flowgauge.schemas.settings import load_settings
        from flowgauge.transport.kafka_settings import connection_of
        from flowgauge.transport.topic_plan import Sizes

        logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what went wrong is told once, by us
        config = flags.pop("config")
        for name in ("bootstrap", "prefix", "replication"):
            flags[f"kafka.{name}"] = flags.pop(name)
        settings = load_settings(config, os.environ, flags)
        sizes = Sizes(
            partitions=settings.partitions,
            samples_partitions=settings.samples_partitions,
            retention_ms=settings.retention_ms,
            replication=settings.kafka.replication,
        )
        return cls(connection_of(settings.kafka, os.environ, _read_text, host=CLIENT), sizes)

    def plan(self, *, allow_shorter_retention: bool = False) -> "Plan":
        """Ask the brokers."""
        from flowgauge.transport.topic_admin import read_plan

        return _run(read_plan(self.connection, self.sizes, allow_shorter_retention=allow_shorter_retention))

    def access(self) -> "Found":
        """Ask the brokers what they let this user do."""
        from flowgauge.console.kafka_access import asked_about
        from flowgauge.transport.access_reader import read_access

        return _run(read_access(self.connection, *asked_about(self.connection.names)))

    def apply(self, plan: "Plan", *, allow_shorter_retention: bool) -> None:
        """Do the steps."""
        from flowgauge.transport.topic_admin import apply_plan

        _run(
            apply_plan(
                self.connection,
                plan,
                self.sizes,
                announce=self._announce,
                allow_shorter_retention=allow_shorter_retention,
            )
        )

    async def _announce(self, partitions: int) -> None:
        """Tell the log, as it is, how many partitions its events will have."""
        from flowgauge.processors.growing import announce_sources
        from flowgauge.transport.kafka import open_kafka_log

        log = await open_kafka_log(self.connection)
        try:
            await announce_sources(log, partitions, partial(click.echo, err=True))
        finally:
            await log.close()


def _read_text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _run(asking: Coroutine[None, None, T]) -> T:
    """Ask once: what a role would try again ends a command."""
    from flowgauge.schemas.errors import BadEnvironment, Transient

    try:
        return asyncio.run(asking)
    except Transient as error:
        raise BadEnvironment(str(error).removesuffix("; trying again")) from error


def _table(plan: "Plan") -> str:
    from flowgauge.console.text_table import text_table

    if plan.is_empty:
        return NOTHING_TO_DO
    refused = [(each.topic, each.setting, each.found, each.wanted, "refused") for each in plan.refusals]
    table = text_table(("topic", "setting", "is", "wanted", "what happens"), [*_steps(plan), *refused])
    return "\n".join([table, *(f"refused: {each}" for each in plan.refusals)])


def _steps(plan: "Plan") -> list[tuple[str, str, str, str, str]]:
    from flowgauge.transport.topic_plan import CLEANUP, AddPartitions, ChangeSetting, Create

    rows: list[tuple[str, str, str, str, str]] = []
    for step in plan.steps:
        match step:
            case Create(topic):
                size = f"{topic.partitions} × {topic.replicas}"
                rows.append((topic.name, SIZE, "–", size, f"create, cleanup: {topic.settings[CLEANUP]}"))
            case AddPartitions(name, found, wanted, is_in_use):
                what = "tell the log, then add partitions" if is_in_use else "add partitions"
                rows.append((name, "partitions", str(found), str(wanted), what))
            case ChangeSetting(name, setting, found, wanted):
                rows.append((name, setting, found or "–", wanted, "change"))
    return rows


def _done(plan: "Plan") -> list[str]:
    from flowgauge.transport.topic_plan import AddPartitions, ChangeSetting, Create

    lines: list[str] = []
    for step in plan.steps:
        match step:
            case Create(topic):
                lines.append(f"created {topic.name}: {topic.partitions} × {topic.replicas} {SIZE}")
            case AddPartitions(name, found, wanted, _):
                lines.append(f"grew {name} from {found} to {wanted} partitions")
            case ChangeSetting(name, setting, found, wanted):
                lines.append(f"changed {name}: {setting} from {found or 'nothing'} to {wanted}")
    return lines or [NOTHING_TO_DO]
