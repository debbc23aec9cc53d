"""Tokens: whose events a request brings in."""

import pytest

from flowgauge.producers.tokens import TokenTable

TABLE = TokenTable({"one": "acme", "two": "acme", "three": "beta"})


@pytest.mark.parametrize(
    ("authorization", "tenant"),
    [
        ("Bearer one", "acme"),
        ("Bearer two", "acme"),
        ("bearer three", "beta"),
        ("Bearer  one ", "acme"),
        ("Bearer four", None),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic one", None),
        ("one", None),
        ("", None),
        (None, None),
        ("Bearer " + "x" * 10_000, None),
        ("Bearer \udcff", None),
    ],
)
def test_a_token_brings_its_tenant_and_anything_else_none(authorization: str | None, tenant: str | None) -> None:
    assert TABLE.tenant_of(authorization) == tenant


def test_without_tokens_everybody_is_the_default_tenant() -> None:
    table = TokenTable()

    assert table.open
    assert table.tenant_of(None) == table.tenant_of("Bearer any") == "default"


def test_a_table_prints_no_token() -> None:
    assert repr(TokenTable({"one": "acme"})) == "TokenTable(1 tokens)"
