"""Log search against a plain oracle: what holds a text, the lines around it, pages. Needles are looked up."""

import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.clickhouse.reading import Planned
from tests.examples import one_in

from flowgauge.schemas.times import millis
from flowgauge.sinks.clickhouse.log_lines import log_rows
from flowgauge.sinks.clickhouse.metric import InvalidQuestion, MetricQuery
from flowgauge.sinks.clickhouse.metrics import answer
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore

T0 = datetime(2026, 11, 16, tzinfo=UTC)
SPACES_AND_SYMBOLS = "“”—…×°\u00a0\u3000。☃😀K"
LETTERS = "abkABKs1üÜßẞſσΣςİıéдД字ก\u0308ǅǆϴθ"
MESSAGES = st.text(st.sampled_from(LETTERS + SPACES_AND_SYMBOLS + " _-.:*%'\"\\\n\t{}[]"), max_size=14)


def is_word(char: str) -> bool:
    return char.isalnum() if char.isascii() else char not in SPACES_AND_SYMBOLS


def is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    if not (is_word(one) and is_word(other)):
        return False
    return (one.lower(), other.upper()) == (other, one) or (other.lower(), one.upper()) == (one, other)


def places(text: str, message: str) -> list[tuple[int, int]]:
    """Return where `message` holds `text`, from the left, none over another, as docs/questions.md says."""
    sought = text.removeprefix("*")
    if len(text) > 1:
        sought = sought.removesuffix("*")
    open_start, open_end = sought != text and text.startswith("*"), len(text) > 1 and text.endswith("*")
    found: list[tuple[int, int]] = []
    for at in range(len(message) - len(sought) + 1):
        end = at + len(sought)
        if found and at < found[-1][1]:
            continue
        starts = open_start or not is_word(sought[0]) or at == 0 or not is_word(message[at - 1])
        ends = open_end or not is_word(sought[-1]) or end == len(message) or not is_word(message[end])
        if starts and ends and all(map(is_same, sought, message[at:end])):
            found.append((at, end))
    return found


def line(tenant: str, number: int, message: str, **fields: object) -> bytes:
    told: dict[str, object] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant} {number}")),
        "tenant": tenant,
        "occurred": (T0 + timedelta(milliseconds=number)).isoformat(),
        "event": "log.write",
        "kind": "log",
        "resource": {"id": "x"},
        "payload": {"message": message, "level": "info", "logger": "app"},
    }
    return msgspec.json.encode(told | fields)


async def publish(store: ClickHouseStore, values: Sequence[bytes]) -> None:
    rows = [
        row(value, log_id="a", partition=0, offset=n, append_ms=millis(T0) + 90_000).line
        for n, value in enumerate(values)
    ]
    await store.insert("flowgauge.events", b"\n".join(rows), str(uuid.uuid4()))


async def logs(store: ClickHouseStore, tenant: str, **more: object) -> list[dict[str, object]]:
    fields = {"tenant": tenant, "since_ms": millis(T0), "until_ms": millis(T0) + 86_400_000, "limit": 100}
    return (await answer(store, "logs", msgspec.convert(fields | more, MetricQuery))).dicts()


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[str], str]:
    messages = draw(st.lists(MESSAGES, min_size=1, max_size=6))
    whole = draw(st.sampled_from(messages))
    start = draw(st.integers(0, len(whole)))
    text = draw(st.one_of(st.just(whole[start : start + draw(st.integers(1, 8))]), MESSAGES))
    text = draw(st.sampled_from([text, text.upper(), text.lower()]))
    return messages, draw(st.sampled_from(["", "*"])) + text + draw(st.sampled_from(["", "*"]))


@settings(max_examples=one_in(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=texts(), again=st.booleans())
@example(asked=(["ΟΔΟΣ", "οδοσ", "οδος"], "οδοσ"), again=True)
@example(asked=(["5k", "5K", "5K"], "5K"), again=False)
@example(asked=(["“nightly”", "nightly_etl", "fortnightly"], "NIGHTLY"), again=False)
@example(asked=(["ReadTimeout", "timeouts"], "*timeout*"), again=False)
@example(asked=(["straße", "STRASSE", "STRAẞE"], "STRASSE"), again=False)
async def test_what_is_found_is_what_holds_the_text(
    embedded: ClickHouseStore, asked: tuple[list[str], str], again: bool
) -> None:
    """Run in the embedded engine alone: what is told apart here is the query's."""
    messages, text = asked
    tenant = f"search {uuid.uuid4().hex}"
    values = [line(tenant, n, message) for n, message in enumerate(messages)]
    await publish(embedded, values * (1 + again))

    if not text.removeprefix("*").removesuffix("*") and text:
        with pytest.raises(InvalidQuestion, match=r"^text: expected a part of a word by the \*"):
            await logs(embedded, tenant, text=text)
        return
    found = [(each["message"], each["matches"]) for each in await logs(embedded, tenant, text=text)]

    expected = [(message, places(text, message) if text else []) for message in messages[::-1]]
    assert found == [(message, spans) for message, spans in expected if spans or not text]


STORY = [("r1", "a needle"), ("", "needle"), ("r1", "b"), ("r1", "-"), ("r2", "c"), ("r1", "d"), ("r1", "needle e"),
         ("r1", "f"), ("r2", "needle g"), ("r1", "h"), ("r1", "i")]  # fmt: skip


async def test_the_lines_of_the_run_around_a_hit_are_told_once_in_groups(store: ClickHouseStore) -> None:
    tenant = f"context {uuid.uuid4().hex[:6]}"
    values = [line(tenant, n, message, run=run) for n, (run, message) in enumerate(STORY)]
    await publish(store, [*values, *values[2:6]])

    near = await logs(store, tenant, text="needle", context=1)
    nearer = await logs(store, tenant, text="needle", context=2)

    def told(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
        return [(each["group"], each["hit"], each["message"]) for each in rows]

    assert told(near) == [
        (1, None, "c"), (1, 1, "needle g"), (2, None, "d"), (2, 2, "needle e"), (2, None, "f"), (3, 3, "needle"),
        (4, 4, "a needle"), (4, None, "b"),
    ]  # fmt: skip
    assert [message for group, _, message in told(nearer) if group == 2] == [
        "a needle", "b", "-", "d", "needle e", "f", "h",
    ]  # fmt: skip
    assert [each["matches"] for each in near][:2] == [[], [(0, 6)]]


async def test_runs_of_two_tenants_with_one_name_are_not_mixed(embedded: ClickHouseStore) -> None:
    """Everybody's lines are asked for; the same history may have been loaded for both, with the same ids."""
    needle = uuid.uuid4().hex
    one, other = (f"mixed {needle[:6]} {name}" for name in ("one", "other"))
    shared = {"id": str(uuid.uuid4()), "run": needle}
    told = [
        line(one, 0, "a"), line(other, 1, "b"), line(one, 2, needle), line(other, 3, "c"), line(one, 4, "d"),
    ]  # fmt: skip
    whole = [msgspec.json.encode({**msgspec.json.decode(each), "run": needle}) for each in told]
    twin = [line(other, 5, "e", run=needle), line(other, 6, "twin", **shared), line(one, 7, "twin", **shared)]
    started = [
        line(tenant, 8 + n, "", run=needle, flow=flow, kind="flow-run", event="run.started", state="running")
        for n, (tenant, flow) in enumerate([(one, "of one"), (other, "of other")])
    ]
    await publish(embedded, [*whole, *twin, *started])

    near = await logs(embedded, "*", text=needle, context=1)
    twins = await logs(embedded, "*", run=needle, flow="of other")
    every = await logs(embedded, "*", run=needle)

    assert [(each["message"], each["flow"]) for each in near] == [("a", "of one"), (needle, "of one"), ("d", "of one")]
    assert [each["message"] for each in twins] == ["twin", "e", "c", "b"]
    assert [each["hit"] for each in every] == list(range(1, 9))


async def test_lines_are_marked_off_the_event_loop(embedded: ClickHouseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred lines of a megabyte take a second, in which `up` answers others."""
    tenant = f"threads {uuid.uuid4().hex[:6]}"
    await publish(embedded, [line(tenant, 0, "needle")])
    threads: list[int] = []

    def seen_rows(*arguments: Any, of_all: bool) -> Iterator[tuple[object, ...]]:
        threads.append(threading.get_ident())
        return log_rows(*arguments, of_all=of_all)

    monkeypatch.setattr("flowgauge.sinks.clickhouse.logs.log_rows", seen_rows)
    (found,) = await logs(embedded, tenant, text="needle")

    assert found["matches"] == [(0, 6)]
    assert threads
    assert threads[0] != threading.get_ident()


@settings(max_examples=one_in(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.lists(st.integers(0, 3), min_size=1, max_size=12), limit=st.integers(1, 4))
async def test_pages_follow_each_other_without_gap_or_repeat(
    embedded: ClickHouseStore, at: list[int], limit: int
) -> None:
    """Lines of the same moment too: a cursor tells their ids apart."""
    tenant = f"pages {uuid.uuid4().hex}"
    occurred = [(T0 + timedelta(microseconds=each)).isoformat() for each in at]
    await publish(embedded, [line(tenant, n, str(n), occurred=when) for n, when in enumerate(occurred)] * 2)

    seen: list[dict[str, object]] = []
    page = await logs(embedded, tenant, limit=limit)
    while page:
        seen += page
        page = await logs(embedded, tenant, limit=limit, before=page[-1]["cursor"])

    assert sorted(str(each["message"]) for each in seen) == sorted(map(str, range(len(at))))
    times = [int(str(each["cursor"]).partition("-")[0]) for each in seen]
    assert times == sorted(times, reverse=True)


AGO_S = st.integers(-3_600, 0) | st.integers(-86_400, 0) | st.integers(-60 * 86_400, 0)


@settings(max_examples=one_in(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(st.tuples(st.integers(0, 9), AGO_S), min_size=1, max_size=60),
    limit=st.integers(1, 40),
    level=st.sampled_from(["", "ERROR"]),
)
@example(told=[(0, -1), (0, -1_200), (1, -1_500), (2, -18_000)], limit=2, level="")
async def test_the_newest_lines_are_found_once_each_however_far_apart_they_lie(
    embedded: ClickHouseStore, told: list[tuple[int, int]], limit: int, level: str
) -> None:
    """Ids come again, some at another time: the newest is told."""
    tenant = f"sparse {uuid.uuid4().hex}"
    payload = {"message": "refused", "level": "error"}
    await publish(
        embedded,
        [
            line(tenant, number, "refused", occurred=(T0 + timedelta(seconds=at)).isoformat(), payload=payload, run="r")
            for number, at in told
        ],
    )

    span = {"since_ms": millis(T0) - 61 * 86_400_000, "until_ms": millis(T0) + 1_000}
    found = await logs(embedded, tenant, limit=limit, level=level, **span)

    newest = sorted((max(at for number, at in told if number == each) for each, _ in dict(told).items()), reverse=True)
    times = [int(str(each["cursor"]).partition("-")[0]) // 1_000_000 for each in found]
    assert times == [millis(T0) // 1_000 + at for at in newest[:limit]]


async def test_pages_of_all_tenants_skip_no_line_of_one_moment_and_id(embedded: ClickHouseStore) -> None:
    """Ids are a tenant's own: what a page ends with may have twins on the next."""
    run = f"twins {uuid.uuid4().hex}"
    same = {"run": run, "id": str(uuid.uuid5(uuid.NAMESPACE_OID, run))}
    await publish(embedded, [line(f"{run}-{whose}", 1, "same", **same) for whose in "abc"])

    seen: list[dict[str, object]] = []
    page = await logs(embedded, "*", run=run, limit=1)
    while page:
        seen += page
        page = await logs(embedded, "*", run=run, limit=1, before=page[-1]["cursor"])
    own = await logs(embedded, f"{run}-b", limit=1)
    after_own = await logs(embedded, f"{run}-b", limit=1, before=own[-1]["cursor"])

    assert [str(each["cursor"]).rpartition("-")[2] for each in seen] == ["a", "b", "c"]
    assert (str(own[-1]["cursor"]).count("-"), after_own) == (5, [])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"before": "yesterday"}, r"before: expected the cursor of a line such as \d+-[\w-]+, got 'yesterday'"),
        ({"before": "-1-6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, "before: expected the cursor of a line"),
        ({"context": 51}, "context: expected 0 to 50 lines, got 51"),
        ({"context": 50}, "context: 50 lines on each side of 100 may be more than 10000 lines: ask for fewer"),
        ({"level": "LOUD"}, "level: expected one of TRACE, DEBUG, .*, got 'LOUD'"),
        ({"before": "17-6ba7b810-9dad-11d1-80b4-00c04fd430c8-"}, "before: expected the cursor of a line"),
        ({"text": "*"}, r"text: expected a part of a word by the \*, got '\*'"),
        ({"text": "**"}, r"text: expected a part of a word by the \*, got '\*\*'"),
    ],
)
async def test_a_search_out_of_bounds_is_refused(store: ClickHouseStore, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidQuestion, match=f"^{says}"):
        await logs(store, "acme", **wrong)


NEEDLE = "ReadTimeout of Übertragung_42 at /mnt/a-7f"


async def test_a_needle_is_looked_up(embedded: ClickHouseStore) -> None:
    """A whole word, an id, a path, a word with its end open: one granule is read of each."""
    tenant = f"many {uuid.uuid4().hex[:6]}"
    messages = [f"worker loads {uuid.uuid5(uuid.NAMESPACE_OID, str(n))} of orders" for n in range(80_000)]
    messages[50_777] = NEEDLE
    await publish(embedded, [line(tenant, n, message) for n, message in enumerate(messages)])

    for text in ("readtimeout", "ÜBERTRAGUNG_42", "/mnt/a-7f", "*timeout", "überTrag*", "*imeou*", " of Übertragung"):
        planned = Planned(embedded)
        found = await logs(planned, tenant, text=text)

        assert [each["message"] for each in found] == [NEEDLE], text
        left, before = planned.plans[-1]["ix_words"]  # of the whole time, after the newest windows
        assert left <= 2, text
        assert before >= 80_000 // 8_192, text


LEVELS = ("trace", "info", "Warning", "error", "ERROR", "critical", "FATAL", "severe")


async def test_a_level_finds_the_lines_from_it_up_whether_or_not_they_know_flow_and_run(store: ClickHouseStore) -> None:
    tenant = f"levels {uuid.uuid4().hex}"
    abouts = [{"flow": "etl"}, {"run": "r"}, {"flow": "etl", "run": "r"}, {"flow": "other", "run": "o"}, {}]
    state: dict[str, object] = {"kind": "flow-run", "event": "run", "state": "failed", "flow": "etl", "run": "r"}
    told = [(about, level) for about in abouts for level in LEVELS]
    values = [
        line(tenant, n, f"line {n}", payload={"message": f"line {n}", "level": level}, **about)
        for n, (about, level) in enumerate(told)
    ]
    await publish(store, [line(tenant, 900, "", **state), *values])

    for level, least in (("info", 1), ("error", 3), ("fatal", 5)):
        found = set(LEVELS[least:7])  # not "severe", which no level counts
        for flow in ("", "etl"):
            lines = await logs(store, tenant, level=level, flow=flow)
            assert {str(each["message"]) for each in lines} == {
                f"line {n}"
                for n, (about, written) in enumerate(told)
                if written in found and (not flow or about.get("flow", "etl" if "run" in about else "") == flow)
            }


async def test_the_newest_errors_are_found_where_runs_failed_ahead_of_now(store: ClickHouseStore) -> None:
    tenant = f"ahead {uuid.uuid4().hex}"
    ahead = [{"kind": "flow-run", "event": "run", "state": "failed", "flow": "etl", "run": f"r{n}"} for n in range(3)]
    said = line(tenant, 1_000, "refused", payload={"message": "refused", "level": "error"})
    await publish(store, [said, *(line(tenant, 3_600_000 + n, "", **each) for n, each in enumerate(ahead))])

    for now_ms in (millis(T0) + 60_000, millis(T0) + 3_600_000):
        lines = await logs(store, tenant, level="error", limit=1, now_ms=now_ms)
        assert [each["message"] for each in lines] == ["refused"]
