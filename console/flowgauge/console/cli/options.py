"""Options that several commands share, so that they are spelled and explained the same everywhere."""

import os
from pathlib import Path

import click
from click.core import ParameterSource

from flowgauge.schemas.errors import BadInput

DATA_DEFAULT = ".flowgauge"
URL_DEFAULT = "http://127.0.0.1:4280"
PREFECT_API_EXAMPLE = "http://127.0.0.1:4200/api"


def _checked_url(context: click.Context, option: click.Parameter, url: str) -> str:
    """Take the address of the server that owns the data folder where none was given; refuse what nobody could ask."""
    from flowgauge.transport.data_folder import address_of_owner

    if context.get_parameter_source(option.name or "") is ParameterSource.DEFAULT:
        data = context.params.get("data") or os.environ.get("FLOWGAUGE_DATA") or DATA_DEFAULT
        return address_of_owner(Path(data)) or url
    return checked_address(url)


def checked_address(url: str, example: str = URL_DEFAULT) -> str:
    """Return `url`; refuse what nobody could ask, with an `example` of what is meant, and what holds a secret.

    Addresses are in log lines and messages.
    """
    from flowgauge.producers.address import is_address

    if "@" in url:
        raise click.BadParameter(
            "expected an address without user and password, which log lines would tell: give flowgauge's secret in "
            "FLOWGAUGE_TOKEN, Prefect's in PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
        )
    if not is_address(url):
        raise click.BadParameter(f"expected a server's address such as {example}, got {url!r}")
    return url


def _checked_prefect_api(context: click.Context, option: click.Parameter, url: str) -> str:  # noqa: ARG001  # click's signature
    return checked_address(url, PREFECT_API_EXAMPLE)


def _checked_token(context: click.Context, option: click.Parameter, token: str | None) -> str | None:  # noqa: ARG001  # click's signature
    """Refuse what no header can carry, without telling it."""
    if token is not None and not (token.isascii() and token.isprintable()):
        raise click.BadParameter("expected visible ASCII characters on one line")
    return token


def duration_ms(option: str, text: str, least_ms: int = 0) -> int:
    """Return what `text`, the value of `option`, says in ms; refuse what is no duration, or under `least_ms`."""
    from flowgauge.schemas.times import parse_duration_ms

    try:
        said_ms = parse_duration_ms(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None
    if said_ms < least_ms:
        raise BadInput(f"{option}: expected at least {least_ms // 1000}s, got {text!r}")
    return said_ms


def whose(tenant: str | None) -> dict[str, str]:
    """Return what `tenant_option` says as a parameter."""
    return {} if tenant is None else {"tenant": tenant}


data_option = click.option(
    "--data",
    envvar="FLOWGAUGE_DATA",
    default=DATA_DEFAULT,
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    is_eager=True,  # who owns it says where to ask
    help="The data folder.",
)
# Of commands that read settings: a flag that is not given leaves it to the environment and the file.
data_setting_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="The data folder.  [default: ./.flowgauge]"
)
config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings; flags and FLOWGAUGE_* win.  [default: flowgauge.toml, if there]",
)
url_option = click.option(
    "--url",
    envvar="FLOWGAUGE_URL",
    default=URL_DEFAULT,
    show_default=True,
    callback=_checked_url,
    help="The flowgauge server.",
)
token_option = click.option(
    "--token",
    envvar="FLOWGAUGE_TOKEN",
    callback=_checked_token,
    help="The tenant's token, where tokens are configured.",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people or for programs.",
)
rule_path = click.Path(exists=True, path_type=Path)  # a file or a folder of them
rules_option = click.option(
    "--rules",
    "files",
    multiple=True,
    required=True,
    type=rule_path,
    help="A rule file or a folder of them; repeatable.",
)
tenant_option = click.option(
    "--tenant", help="Whose data: for the operator, or without tokens.  [default: the token's]"
)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
prefect_api_option = click.option(
    "--api",
    envvar="PREFECT_API_URL",
    required=True,
    metavar="URL",
    callback=_checked_prefect_api,
    help=f"Prefect's API, such as {PREFECT_API_EXAMPLE}.  [env: PREFECT_API_URL]",
)
