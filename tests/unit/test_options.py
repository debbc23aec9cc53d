"""Options that several commands share."""

import click
import pytest

from flowgauge.console.cli.options import checked_address


@pytest.mark.parametrize(
    "url",
    [
        "http://adm:pr3fect@127.0.0.1:4200/api",
        "https://pr3fect@prefect/api",
        "http://adm:pr/3fect@prefect",
        "adm:pr3fect@x",
    ],
)
def test_an_address_with_a_password_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(click.BadParameter, match="PREFECT_API_AUTH_STRING") as refused:
        checked_address(url)

    assert "fect@" not in refused.value.message
    assert "adm" not in refused.value.message
