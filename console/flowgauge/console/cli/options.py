"""Options that several commands share, so that they are spelled and explained the same everywhere."""

from pathlib import Path

import click

DATA_DEFAULT = ".flowgauge"
URL_DEFAULT = "http://127.0.0.1:4280"

data_option = click.option(
    "--data",
    envvar="FLOWGAUGE_DATA",
    default=DATA_DEFAULT,
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder.",
)
url_option = click.option(
    "--url", envvar="FLOWGAUGE_URL", default=URL_DEFAULT, show_default=True, help="The flowgauge server."
)
token_option = click.option(
    "--token", envvar="FLOWGAUGE_TOKEN", help="The tenant's token, where tokens are configured."
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people or for programs.",
)
tenant_option = click.option("--tenant", help="Whose data, where no tokens are configured.  [default: default]")
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
