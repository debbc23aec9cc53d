"""The `flowgauge` command: finds a command by name and turns what went wrong into one line and an exit code.

A command's module is imported only when it runs, so that `flowgauge publish` needs no ClickHouse. Exit codes:
0 fine, 1 found something wrong, 2 bad input or usage, 3 environment.
"""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, cast

import click

from flowgauge.console.text_table import printable
from flowgauge.schemas.errors import FlowgaugeError

COLLECT_AFTER = 50_000  # new objects: imports make as many, to stay, and to look at them takes a tenth of a start
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say it
EXIT_ENVIRONMENT = 3
MODULES = "flowgauge.console.cli"

# name → what it does, in the order a new user needs them. Each is `command` in the module of its name.
COMMANDS = {
    "up": "Run everything in one process on this machine.",
    "demo": "Watch recorded and live events go through the whole pipeline.",
    "publish": "Send event lines of files or standard input to a server.",
    "exec": "Run a command, such as a cron job, as a run of a flow.",
    "metrics": "Answer a question about runs: what fails, is slow, late or has changed.",
    "incidents": "List incidents, or show one with its reasons.",
    "silences": "Hide incidents from channels until a time.",
    "channels": "List channels, or send one a test message.",
    "deliveries": "List what channels were told, or send again what was given up.",
    "actions": "List actions, try one, stop or start all of them.",
    "dlq": "Show events that could not be read, and why.",
    "rules": "Validate, lint, apply and test rules.",
    "replay": "Run recorded events through rules in virtual time.",
    "hooks": "Try what webhooks of other programs become.",
    "webhooks": "Receive, sign and check webhooks.",
    "prefect": "Bring in what a Prefect server tells, without a plugin.",
    "import": "Bring in what an orchestrator keeps of past runs, for questions.",
    "tenant": "Export or erase all rows of a tenant.",
    "schema": "Create, update or check the ClickHouse tables.",
    "topics": "Plan, make and check the topics of a Kafka cluster.",
    "gateway": "A role on Kafka: take events over HTTP.",
    "pulse": "A role on Kafka: the clock of idle partitions.",
    "match": "A role on Kafka: find the rules that events concern.",
    "detect": "A role on Kafka: open, hold and close incidents.",
    "sink": "A role on Kafka: store everything in a ClickHouse server.",
    "notify": "A role on Kafka: tell channels about incidents.",
    "console": "A role on Kafka: pages and API, and the door for rules.",
    "cloudevents": "A role on Kafka: bring in a topic of CloudEvents.",
}
ROLES = frozenset({"gateway", "pulse", "match", "detect", "sink", "notify", "console", "cloudevents"})  # in one module


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import and return the command, or None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in ROLES:
            return cast("click.Command", import_module(f"{MODULES}.roles").COMMANDS[cmd_name])
        module = import_module(
            f"{MODULES}.{'past' if cmd_name == 'import' else cmd_name}"
        )  # which no module can be called
        return cast("click.Command", module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """Write the list of commands from COMMANDS alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="flowgauge")
def flowgauge() -> None:
    """Watch workflow orchestration: metrics, incidents and alerts from every run's events.

    New here? `flowgauge demo` shows all of it in a minute; `flowgauge up` is the real thing.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code; no error of ours shows a traceback."""
    gc.set_threshold(COLLECT_AFTER)  # run_as_process lowers it where a role serves
    try:
        code = flowgauge.main(args=arguments, prog_name="flowgauge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except FlowgaugeError as error:
        click.echo(_one_line_each(error), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing to say, nobody to say it to
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("flowgauge"):
            raise
        click.echo(f"flowgauge: this command needs {error.name}: pip install 'flowgauge[server]'", err=True)
        sys.exit(EXIT_ENVIRONMENT)
    sys.exit(code if isinstance(code, int) else 0)


def _one_line_each(error: FlowgaugeError) -> str:
    """Problems of files are lines that editors jump to; everything else names who speaks."""
    text = printable(str(error), keep="\n")
    return text if hasattr(error, "problems") else f"flowgauge: {text}"
