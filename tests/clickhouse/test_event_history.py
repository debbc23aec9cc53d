"""History out of ClickHouse: the replay of what is stored finds what the replay of what was sent finds, id by id."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.captures import captured
from tests.clickhouse.running_sink import NOW_MS, new_log, running_sink, until
from tests.examples import one_in

from flowgauge.console.history import Entry, entries
from flowgauge.console.web.parameters import looks_in
from flowgauge.processors.backtest import looks_of
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import parse_rules
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.event import KINDS, STATES
from flowgauge.schemas.ids import events_partition
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.schemas.topics import EVENTS
from flowgauge.sinks.clickhouse.event_history import HistoryAsked, history_clock_ms, history_page
from flowgauge.sinks.clickhouse.inserting import CLOCKS_TABLE
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import only
from flowgauge.sinks.clickhouse.tenant_rows import PagePlace
from flowgauge.transport.log import Outgoing

UNTIL_MS = parse_time_ms("2026-11-23T12:00:00Z")
RULES = parse_rules(
    "rules.yaml",
    """
rules:
  - name: flow failing
    for_each: [flow]
    when: {failure_rate: {above: 20%, within: 5m, min_samples: 3, clear_below: 10%}}
    for: 10s
    keep_firing_for: 30s
    no_data: resolve
  - name: by tag
    match: {related.tag.name: "*"}
    for_each: [related.tag.name]
    when: {consecutive_failures: {times: 2}}
  - {name: runs late, when: {late: {after: 1m, at_least: 5, within: 5m}}}
  - {name: heartbeat, match: {event: prefect.flow-run.heartbeat}, for_each: [run], when: {absence: {after: 1m}}}
  - {name: errors, match: {kind: log}, for_each: [flow], when: {event: {times: 3, within: 1m}}}
  - {name: crashed, match: {event: prefect.flow-run.Crashed}, for_each: [flow], when: {event: {}}}
""",
)


def of_tenant(line: bytes, tenant: str) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(line), "tenant": tenant})


async def store_events(store: ClickHouseStore, folder: Path, lines: Sequence[bytes]) -> list[bytes]:
    """Send events through a log of two partitions and its sink; return them as they stand in the log."""
    sent = [entry for entry in entries(lines) if isinstance(entry, Entry)]
    places = [events_partition(entry.key, 2) for entry in sent]
    async with new_log(folder) as log:
        await log.append(
            EVENTS,
            [
                Outgoing(place, entry.key, entry.value, append_ms=entry.append_ms)
                for place, entry in zip(places, sent, strict=True)
            ],
        )
        async with running_sink(log, store) as health:
            await until(lambda: health.stored >= len(sent))
    return [
        b'%b,"_partition":%d,"_append":%d}' % (entry.value[:-1], place, entry.append_ms)
        for place, entry in zip(places, sent, strict=True)
    ]


async def history(
    store: ClickHouseStore, tenant: str, looks: Sequence[str], since_ms: int = 0, *, until_ms: int = UNTIL_MS
) -> list[bytes]:
    asked = HistoryAsked(tenant, since_ms, until_ms, looks)
    found: list[bytes] = []
    after: PagePlace | None = PagePlace()
    while after is not None:
        page = await history_page(store, asked, after)
        found += page.rows
        after = page.next
    return found


def told(lines: Sequence[bytes]) -> list[tuple[Any, ...]]:
    found = Replay(lambda: lines, RULES, until_ms=UNTIL_MS).transitions()
    return sorted((item.transition_id, item.at_ms, item.value, item.late_samples, item.reason) for item in found)


@pytest.mark.parametrize("name", ["outage", "late"])
async def test_the_replay_of_what_is_stored_is_that_of_what_was_sent(
    store: ClickHouseStore, tmp_path: Path, name: str
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    sent = await store_events(store, tmp_path, [of_tenant(line, tenant) for line in captured(name)])

    everything = await history(store, tenant, looks_in(""))
    some = await history(store, tenant, looks_of(RULES.rules))

    assert len(everything) == len(sent)
    assert len(some) <= len(everything)
    assert told(everything) == told(some) == told(sent) != []


async def test_what_is_history_only_is_stored_and_counts_for_no_rule_in_a_backtest_as_it_did_not_live(
    embedded: ClickHouseStore, tmp_path: Path
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    lines = [of_tenant(line, tenant) for line in captured("outage")]
    marked = [line[:-1] + b',"history":true}' if at % 3 else line for at, line in enumerate(lines)]
    sent = await store_events(embedded, tmp_path, marked)

    everything = await history(embedded, tenant, looks_in(""))
    ((rows, of_history),) = (
        await embedded.query(
            "SELECT count(), countIf(history) FROM flowgauge.events WHERE tenant = {tenant:String}",
            {"tenant": tenant},
            seen=only(tenant),
        )
    ).rows

    assert (rows, of_history) == (len(sent), len(sent) - len(everything))
    assert told(everything) == told(sent) != told(lines)


async def test_lines_come_in_the_order_of_their_append_times_and_from_the_time_that_is_asked(
    embedded: ClickHouseStore, tmp_path: Path
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    await store_events(embedded, tmp_path, [of_tenant(line, tenant) for line in captured("late")])

    everything = [msgspec.json.decode(line) for line in await history(embedded, tenant, looks_in(""))]
    middle_ms = everything[len(everything) // 2]["_append"]
    later = [msgspec.json.decode(line) for line in await history(embedded, tenant, looks_in(""), middle_ms)]

    assert [each["_append"] for each in everything] == sorted(each["_append"] for each in everything)
    assert later == [each for each in everything if each["_append"] >= middle_ms]
    assert await history(embedded, "nobody", looks_in("")) == []


NAMES = st.none() | st.text(min_size=1, max_size=5).filter(lambda text: text.isprintable())
TIMES = st.integers(-(10**9), 10**9).map(lambda us: f"{rfc3339(NOW_MS + us // 1000)[:-1]}{us % 1000:03}Z")
LABELS = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)


EVENT_FIELDS = st.fixed_dictionaries(
    {
        "flow": NAMES,
        "run": NAMES,
        "task": NAMES,
        "kind": st.sampled_from(KINDS),
        "state": st.none() | st.sampled_from(STATES),
        "resource": LABELS.map(lambda labels: {**labels, "id": "r"}),
        "related": st.lists(LABELS.map(lambda labels: {"id": "x", "role": "tag", **labels}), max_size=2),
        "occurred": TIMES,
        "scheduled_for": st.none() | TIMES,
    }
)


@given(st.lists(EVENT_FIELDS, min_size=1, max_size=20))
@settings(max_examples=one_in(12), deadline=None)
def test_a_stored_event_says_what_was_sent_of_all_that_rules_look_at(
    embedded: ClickHouseStore, drawn: list[dict[str, Any]]
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:8]}"
    sent = [
        {"id": str(uuid.uuid4()), "tenant": tenant, "event": "x", **{k: v for k, v in fields.items() if v is not None}}
        for fields in drawn
    ]
    rows = [
        row(msgspec.json.encode(event), log_id=tenant, partition=3, offset=offset, append_ms=NOW_MS + offset).line
        for offset, event in enumerate(sent)
    ]
    asyncio.run(embedded.insert("flowgauge.events", b"\n".join(rows), f"drawn-{tenant}"))

    found = asyncio.run(history(embedded, tenant, looks_in(""), until_ms=NOW_MS + 1000))

    places = [{"_partition": 3, "_append": NOW_MS + offset} for offset in range(len(sent))]
    assert [meaning(msgspec.json.decode(line)) for line in found] == [
        meaning({**event, **place}) for event, place in zip(sent, places, strict=True)
    ]


def meaning(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a line says: a time with or without its last zeros, a field that is null or not there, are one."""
    said = {name: value for name, value in fields.items() if value is not None}
    times = {name: msgspec.convert(said[name], datetime) for name in ("occurred", "scheduled_for") if name in said}
    return said | times


async def test_the_clock_is_that_of_the_partition_that_is_farthest_behind_in_the_newest_log(
    embedded: ClickHouseStore,
) -> None:
    newest_ms = 4_200_000_000_000  # past what any other test stores, and in reach of a TTL
    rows = [
        ("older", 0, 1, newest_ms - 9),
        ("newer", 0, 1, newest_ms - 7),
        ("newer", 0, 2, newest_ms - 3),
        ("newer", 1, 1, newest_ms),
    ]
    names = ("log_id", "partition", "end", "clock_ms")
    lines = [msgspec.json.encode({"topic": EVENTS, **dict(zip(names, row, strict=True))}) for row in rows]
    await embedded.insert(CLOCKS_TABLE, b"\n".join(lines), f"clocks-{uuid.uuid4()}")

    assert await history_clock_ms(embedded) == newest_ms - 3


@pytest.mark.parametrize("looks", ["flow-run", "flow-run:gone", "run:failed", "flow-run:failed,", "log:;"])
def test_a_look_that_no_event_has_is_refused(looks: str) -> None:
    with pytest.raises(BadInput, match="looks: expected KIND:STATE"):
        looks_in(looks)
