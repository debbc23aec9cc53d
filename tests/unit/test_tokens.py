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


def test_tokens_come_and_go_and_it_is_told_whether_any_did() -> None:
    table = TokenTable({"one": "acme"})

    changed = [table.replace(entries) for entries in ({"one": "acme"}, {"one": "acme", "two": "acme"}, {"two": "acme"})]

    assert changed == [False, True, True]
    assert (table.tenant_of("Bearer one"), table.tenant_of("Bearer two")) == (None, "acme")


@pytest.mark.parametrize(("before", "after"), [({"one": "acme"}, {}), ({}, {"one": "acme"})])
def test_a_table_is_neither_opened_nor_closed_later(before: dict[str, str], after: dict[str, str]) -> None:
    table = TokenTable(before)

    with pytest.raises(ValueError, match="said at the start"):
        table.replace(after)

    assert table.open is not bool(before)
