"""`flowgauge actions list|run|stop|start|status`: what rules may run by themselves, tried and switched by hand."""

import asyncio
import getpass
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowgauge.console.cli.asking import answer_to
from flowgauge.console.cli.options import (
    config_option,
    data_option,
    rule_path,
    tenant_option,
    token_option,
    url_option,
    whose,
)
from flowgauge.schemas.errors import BadInput

if TYPE_CHECKING:
    from flowgauge.schemas.settings import Settings
    from flowgauge.sinks.webhooks.actions.action import Action
    from flowgauge.sinks.webhooks.kinds.kind import Notice
    from flowgauge.sinks.webhooks.schedule import Verdict

COLUMNS = ("name", "tenant", "kind", "limit", "timeout", "idempotent", "dry_run", "run by")


@click.group()
def command() -> None:
    """List actions, try one, stop or start all of them."""


@command.command(name="list")
@click.argument("files", nargs=-1, required=True, type=rule_path)
def list_actions(files: Sequence[Path]) -> None:
    """List the actions in FILES (or folders of them), and the rules there that run each."""
    from flowgauge.console.rule_folder import PUBLIC_ONLY, read_written
    from flowgauge.console.text_table import text_table
    from flowgauge.transport.yaml_files import refuse_no_files

    refuse_no_files(files)
    written = read_written(files, PUBLIC_ONLY)
    rules = [each.rule for each in written.ruleset.rules]
    rows = [
        (
            each.name,
            each.tenant,
            each.kind_name,
            f"{each.limit.count} per {each.limit.per}",
            each.timeout,
            "yes" if each.idempotent else "no",
            "yes" if each.dry_run else "no",
            ", ".join(
                rule.name
                for rule in rules
                if any(run.run == each.name for run in rule.actions)
                and written.actions.find(rule.tenant, each.name) is each
            ),
        )
        for each in written.actions.actions
    ]
    click.echo(text_table(COLUMNS, rows))


@command.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, type=rule_path)
@click.option("--rule", required=True, help="The rule that is thought to fire.")
@click.option("--key", "keys", multiple=True, metavar="FIELD=VALUE", help="A field of its key; as often as needed.")
@click.option("--behind", "runs", multiple=True, metavar="RUN", help="The id of a run behind it; as often as needed.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--tenant", default="default", show_default=True, help="Whose incident it is thought to be.")
@config_option
def run(
    *,
    name: str,
    files: Sequence[Path],
    rule: str,
    keys: Sequence[str],
    runs: Sequence[str],
    dry_run: bool,
    tenant: str,
    config: Path | None,
) -> int:
    """Run action NAME of FILES (or folders of them) once, from here, as if a rule in them fired.

    Secrets, egress.allow and actions.commands are those of this machine. Exit code 1 when it was not done.
    """
    from flowgauge.console.action_trial import action_named, trial_notice
    from flowgauge.console.rule_folder import PUBLIC_ONLY, read_written
    from flowgauge.console.text_table import printable
    from flowgauge.schemas.settings import load_settings
    from flowgauge.sinks.webhooks.actions.templates import CannotRender
    from flowgauge.transport.wall_clock import now_ms
    from flowgauge.transport.yaml_files import refuse_no_files

    refuse_no_files(files)
    settings = load_settings(config, os.environ, {})
    written = read_written(files, PUBLIC_ONLY)
    action = action_named(written.actions, name, tenant)
    notice = trial_notice(
        written.ruleset,
        rule,
        action,
        tenant=tenant,
        key=_key(keys),
        runs=runs,
        now_ms=now_ms(),
        public_url=settings.public_url,
    )
    try:
        click.echo(printable(action.deed.shown(notice), keep="\n"))
    except CannotRender as fault:
        raise BadInput(f"{name}: {fault}") from None
    if dry_run or action.dry_run:
        return 0
    if not settings.actions.enabled:
        raise BadInput("actions.enabled = false in the settings: nothing is run from here (--dry-run shows it)")
    verdict = asyncio.run(_tell(action, notice, settings))
    status = f", status {verdict.status}" if verdict.status else ""
    said = "done" if verdict.outcome == "delivered" else f"not done: {verdict.reason}"
    click.echo(printable(f"{said} ({verdict.elapsed_ms} ms{status})"))
    return 0 if verdict.outcome == "delivered" else 1


def _switch_options(function: Any) -> Any:
    shared = (
        click.option("--everyone", is_flag=True, help="Of all tenants; the operator alone may."),
        click.option("--as", "by", help="Who does it.  [default: your login name]"),
        tenant_option,
        url_option,
        token_option,
        data_option,
    )
    for option in reversed(shared):
        function = option(function)
    return function


@command.command()
@_switch_options
def stop(*, everyone: bool, by: str | None, **place: Any) -> None:
    """Stop all actions: what fires from now on is refused, and recorded so."""
    _switch("stop", {"by": by, "everyone": everyone}, place)


@command.command()
@_switch_options
def start(*, everyone: bool, by: str | None, **place: Any) -> None:
    """Let actions go on; what was refused meanwhile stays so."""
    _switch("start", {"by": by, "everyone": everyone}, place)


@command.command()
@tenant_option
@url_option
@token_option
@data_option
def status(tenant: str | None, **place: Any) -> None:
    """Say whether actions are stopped, and who said so."""
    from flowgauge.console.ask import ACTIONS, Place

    _say(answer_to(Place(place["url"], place["token"], place["data"]), ACTIONS, whose(tenant)).body)


def _switch(verb: str, body: Mapping[str, object], place: Mapping[str, Any]) -> None:
    from flowgauge.console.ask import ACTIONS, Place, post

    at = Place(place["url"], place["token"], place["data"])
    said = json.dumps({**body, "by": body["by"] or _login()}).encode()
    _say(asyncio.run(post(at, f"{ACTIONS}/{verb}", said, whose(place["tenant"]))).body)


def _say(told: Mapping[str, Any]) -> None:
    from flowgauge.console.text_table import printable

    click.echo(printable(f"actions of tenant {told['tenant']}: {'stopped' if told['are_stopped'] else 'going'}"))
    for each in told["switches"]:
        whom = "everybody" if each["tenant"] == "*" else each["tenant"]
        what = "stopped" if each["are_stopped"] else "started"
        click.echo(printable(f"  {each['at']}  {each['by']} {what} those of {whom}"))


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise click.UsageError("say who does it with --as NAME: this machine knows no name of yours") from None


def _key(written: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in written]
    if wrong := next((field for field, equals, _ in pairs if not (field and equals)), None):
        raise click.BadParameter(f"expected FIELD=VALUE, such as flow=orders, got {wrong!r}", param_hint="--key")
    return {field: value for field, _, value in pairs}


async def _tell(action: "Action", notice: "Notice", settings: "Settings") -> "Verdict":
    from flowgauge.console.access import egress_policy, read_text
    from flowgauge.schemas.settings import resolve_secret
    from flowgauge.sinks.webhooks.egress import Egress
    from flowgauge.sinks.webhooks.kinds.kind import Means
    from flowgauge.transport.wall_clock import now_ms

    secrets = {ref: resolve_secret(ref, os.environ, read_text) for ref in action.references.values()}
    means = Means(Egress(egress_policy(settings)), now_ms, secrets, frozenset(settings.actions.commands))
    return await action.tell(notice, means)
