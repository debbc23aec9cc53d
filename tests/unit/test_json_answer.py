"""Rows as JSON: the same as all at once, and never more than an answer may have."""

import msgspec
import pytest
from starlette.datastructures import Headers

from flowgauge.console.web import json_answer
from flowgauge.console.web.json_answer import table_json, token_needed
from flowgauge.schemas.errors import BadInput
from flowgauge.sinks.clickhouse.table import Table

ROWS: list[tuple[object, ...]] = [('a,"', 1, None), ("ü\n", 2.5, [(0, 1)])]


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS])
@pytest.mark.parametrize("hint", ["", "nothing is known"])
def test_rows_one_by_one_are_the_answer(rows: list[tuple[object, ...]], hint: str) -> None:
    table = Table(["x", "n", "more"], rows)

    said = msgspec.json.decode(table_json(table, hint=hint, metric="runs"))

    whole = {"metric": "runs", "columns": table.columns, "rows": table.dicts()} | ({"hint": hint} if hint else {})
    assert said == msgspec.json.decode(msgspec.json.encode(whole))


def test_an_answer_over_its_bound_is_refused_with_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_answer, "ANSWER_BYTES_MAX", 2 * 1_048_576)
    row = ("x" * 1_000_000,)

    assert table_json(Table(["message"], [row] * 2))
    with pytest.raises(BadInput, match=r"^the answer is over 2 MiB: ask for fewer rows \(limit\) or a shorter time"):
        table_json(Table(["message"], [row] * 3))


def test_a_wrong_token_is_told_apart_from_none() -> None:
    none, wrong = token_needed(Headers()), token_needed(Headers({"authorization": "Bearer x"}))

    assert none == "send a tenant's token: Authorization: Bearer TOKEN"
    assert wrong.startswith("no tenant has this token: send `Authorization: Bearer TOKEN` with one that [tenants]")
