"""The dead letters that a tenant may see: newest first, each once, and fit for a terminal."""

import uuid
from collections.abc import Sequence

import msgspec
import pytest

from flowgauge.console.web.answers import Answers
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.delivery import DeadLetter, encode_dead_letter
from flowgauge.sinks.clickhouse.dead_letters import VALUE_BYTES_SHOWN, beginning, dead_letters
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.health import Health

T0_MS = 1_795_000_000_000


def letter(tenant: str, at: int, value: bytes = b"{}", *, source_offset: int = -1) -> DeadLetter:
    return DeadLetter(
        tenant=tenant,
        reason="wrong field",
        detail="`event` is missing\x1b[31m",
        origin="gateway" if source_offset < 0 else "sink",
        at_ms=T0_MS + at,
        value=value,
        size=len(value),
        source_partition=-1 if source_offset < 0 else 0,
        source_offset=source_offset,
    )


async def put(store: ClickHouseStore, letters: Sequence[DeadLetter], *, first_offset: int = 0) -> None:
    lines = [
        row(encode_dead_letter(each), log_id="a", partition=0, offset=first_offset + number, append_ms=each.at_ms).line
        for number, each in enumerate(letters)
    ]
    await store.insert("flowgauge.dlq", b"\n".join(lines), str(uuid.uuid4()))


async def found(store: ClickHouseStore, *tenants: str, since: int = 0, limit: int = 100) -> list[dict[str, object]]:
    return (await dead_letters(store, tenants=tenants, since_ms=T0_MS + since, limit=limit)).dicts()


async def test_a_letter_is_told_with_its_time_reason_origin_and_beginning(store: ClickHouseStore) -> None:
    await put(store, [letter("dlq-one", 0, b'{"id":\x00"\xc3\xa4\xff')], first_offset=100)

    assert await found(store, "dlq-one") == [
        {
            "letter": "0@100",
            "time": "2026-11-18T11:06:40.000Z",
            "reason": "wrong field",
            "origin": "gateway",
            "size": 11,
            "detail": "`event` is missing [31m",
            "value": '{"id": "ä\ufffd',
        }
    ]


async def test_the_newest_come_first_within_since_and_limit(store: ClickHouseStore) -> None:
    await put(store, [letter("dlq-newest", at, b"%d" % at) for at in (3, 1, 2, 0)], first_offset=200)

    assert [row["value"] for row in await found(store, "dlq-newest")] == ["3", "2", "1", "0"]
    assert [row["value"] for row in await found(store, "dlq-newest", since=1, limit=2)] == ["3", "2"]


async def test_a_tenant_sees_its_own_only(store: ClickHouseStore) -> None:
    await put(store, [letter("dlq-a", 0, b"a"), letter("dlq-b", 0, b"b"), letter("", 0, b"? of a")], first_offset=300)

    assert [row["value"] for row in await found(store, "dlq-a")] == ["a"]
    # Other tests on this store have letters of no tenant too.
    assert {row["value"] for row in await found(store, "dlq-a", "")} & {"a", "b", "? of a"} == {"a", "? of a"}


async def test_with_tokens_a_letter_of_no_tenant_is_shown_to_the_operator_alone(store: ClickHouseStore) -> None:
    await put(store, [letter("dlq-own", 0, b"own"), letter("", 7_000, b"whose?")], first_offset=600)
    tokens = TokenTable({"one": "dlq-own", "two": "dlq-platform"})
    answers = Answers(store, Health(), tokens, operator="dlq-platform", now_ms=lambda: T0_MS + 8_000)

    own = await answers.dead_letters("dlq-own", {"since": "1m"})
    operators = await answers.dead_letters("dlq-platform", {"since": "1s"})

    assert [(row["letter"], row["value"]) for row in msgspec.json.decode(own)["rows"]] == [("0@600", "own")]
    assert [(row["letter"], row["value"]) for row in msgspec.json.decode(operators)["rows"]] == [(None, "whose?")]


async def test_a_letter_that_the_sink_sent_twice_is_told_once(store: ClickHouseStore) -> None:
    twice = [letter("dlq-twice", 0, b"x", source_offset=7)] * 2

    await put(store, [*twice, letter("dlq-twice", 0, b"y"), letter("dlq-twice", 0, b"y")], first_offset=400)

    assert [row["value"] for row in await found(store, "dlq-twice")] == ["x", "y", "y"]


@pytest.mark.parametrize(
    ("encoded", "size", "text"),
    [
        ("", 0, ""),
        ("w6Q=", 2, "ä"),
        ("w6Q=", 3, "ä…"),
        ("YcM=", 2, "a\ufffd"),  # ends amid a character
        ("YcM=", 3, "a…"),  # was cut amid a character
        ("4oCuYQ==", 4, " a"),  # would turn the direction of writing
    ],
)
def test_the_beginning_is_printable_text(encoded: str, size: int, text: str) -> None:
    assert beginning(encoded, size) == text


async def test_a_long_value_is_cut(store: ClickHouseStore) -> None:
    await put(store, [letter("dlq-long", 0, b"x" * 10_000)], first_offset=500)

    (row,) = await found(store, "dlq-long")

    assert row["value"] == "x" * VALUE_BYTES_SHOWN + "…"
