"""Deliveries through the application: whose they are, how they stand, and what is sent again."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.clickhouse.test_clickhouse_tenancy import HOLDS

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.control import Replayed, decode_control
from flowgauge.schemas.times import rfc3339
from flowgauge.schemas.topics import CONTROLS
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.control_book import ControlBook
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log

ONE, OTHER = "delivering-one", "delivering-other"
TOKENS = TokenTable({"of-one": ONE, "of-other": OTHER, "of-operator": "platform"})
NOW_MS, MINUTE_MS, DAY_MS = 1_800_000_000_000, 60_000, 86_400_000
INCIDENT = "dddddd0123456789"
LOST, TOLD, ACTED, OLD, OTHERS = (each * 16 for each in ("a1", "b2", "c3", "d4", "e5"))


def record(
    delivery_id: str, outcome: str, *, attempt: int = 1, ago_ms: int = MINUTE_MS, **more: object
) -> dict[str, object]:
    """Return a record of a delivery, so long before NOW_MS."""
    known = {"tenant": ONE, "channel": "pager", "transition_id": f"t{delivery_id}", "incident_id": INCIDENT}
    known |= {"rule": "flow failing", "to_state": "firing"}
    return {
        **known,
        "delivery_id": delivery_id,
        "outcome": outcome,
        "attempt": attempt,
        "at_ms": NOW_MS - ago_ms,
        **more,
    }


RECORDS = [
    record(LOST, "started", ago_ms=3 * MINUTE_MS),
    record(LOST, "failed", ago_ms=3 * MINUTE_MS, status=503, reason="answered 5xx", next_attempt_ms=NOW_MS),
    record(LOST, "dead", attempt=2, ago_ms=2 * MINUTE_MS, status=410, reason="endpoint gone", elapsed_ms=12),
    record(TOLD, "started", ago_ms=MINUTE_MS, channel="chat"),
    record(TOLD, "delivered", ago_ms=MINUTE_MS, status=204, channel="chat"),
    record(ACTED, "dead", channel="action:restart"),
    record(OLD, "dead", ago_ms=3 * DAY_MS),
    record(OTHERS, "dead", tenant=OTHER),
]


@pytest.fixture(scope="module")
def filled(embedded: ClickHouseStore) -> ClickHouseStore:
    async def fill() -> None:
        incident = HOLDS["transitions"] | {"tenant": ONE, "transition_id": "t", "incident_id": INCIDENT}
        written = [("transitions", incident), *[("deliveries", each) for each in [*RECORDS, RECORDS[2]]]]
        for number, (table, fields) in enumerate(written):
            line = row(msgspec.json.encode(fields), log_id="delivering", partition=0, offset=number, append_ms=NOW_MS)
            await embedded.insert(f"flowgauge.{table}", line.line, f"delivering-{number}")

    asyncio.run(fill())
    return embedded


@pytest.fixture
async def log(tmp_path: Path) -> AsyncGenerator[LocalLog]:
    opened = await open_local_log(tmp_path, partitions={CONTROLS: 1})
    yield opened
    await opened.close()


@pytest.fixture
async def http(filled: ClickHouseStore, log: LocalLog) -> AsyncGenerator[httpx2.AsyncClient]:
    health = Health()
    book = ControlBook(log, health)
    answers = Answers(filled, health, TOKENS, operator="platform", controls=book, now_ms=lambda: NOW_MS)
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=token("of-one")) as client:
        yield client


def token(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


async def ids(http: httpx2.AsyncClient, **asked: str) -> list[str]:
    answer = await http.get("/v1/deliveries", params=asked)
    assert answer.status_code == 200, answer.text
    return [each["delivery_id"] for each in answer.json()["rows"]]


async def replays(log: LocalLog) -> list[Replayed]:
    """Return what the log holds, which is replays alone."""
    found = [decode_control(each.value or b"") for each in await log.read(CONTROLS, 0, 0, 100)]
    return [each for each in found if isinstance(each, Replayed)]


async def test_each_delivery_is_told_once_as_it_stands_newest_first(http: httpx2.AsyncClient) -> None:
    answer = (await http.get("/v1/deliveries")).json()

    assert sorted(each["delivery_id"] for each in answer["rows"]) == [LOST, TOLD, ACTED, OLD]
    assert [each["at"] for each in answer["rows"]] == sorted((each["at"] for each in answer["rows"]), reverse=True)
    (lost,) = (each for each in answer["rows"] if each["delivery_id"] == LOST)
    assert lost == {
        "delivery_id": LOST,
        "incident_id": INCIDENT,
        "transition_id": f"t{LOST}",
        "rule": "flow failing",
        "channel": "pager",
        "to": "firing",
        "outcome": "dead",
        "attempts": 2,
        "status": 410,
        "reason": "endpoint gone",
        "at": rfc3339(NOW_MS - 2 * MINUTE_MS),
        "next_attempt": None,
        "elapsed_ms": 12,
    }
    assert set(answer["columns"]) == set(lost)


async def test_a_list_is_narrowed_by_time_channel_outcome_and_length(http: httpx2.AsyncClient) -> None:
    assert await ids(http, outcome="dead", channel="pager") == [LOST, OLD]
    assert await ids(http, outcome="dead", channel="pager", since="1d") == [LOST]
    assert await ids(http, outcome="dead", channel="pager", limit="1") == [LOST]
    assert await ids(http, outcome="failed") == []
    assert await ids(http, channel="nobody's") == []


async def test_one_delivery_is_told_with_each_of_its_records_once(http: httpx2.AsyncClient) -> None:
    answer = (await http.get(f"/v1/deliveries/{LOST[:6]}")).json()

    told = [(each["attempt"], each["outcome"], each["status"], each["reason"]) for each in answer["records"]]
    assert answer["delivery_id"] == LOST
    assert told == [(1, "started", 0, ""), (1, "failed", 503, "answered 5xx"), (2, "dead", 410, "endpoint gone")]
    assert answer["records"][1]["next_attempt"] == rfc3339(NOW_MS)


@pytest.mark.parametrize("asked", [OTHERS, OTHERS[:6], "nonsense", "a1"])
async def test_of_another_tenants_delivery_nothing_is_told_and_nothing_sent(
    http: httpx2.AsyncClient, log: LocalLog, asked: str
) -> None:
    shown = await http.get(f"/v1/deliveries/{asked}")
    replayed = await http.post(f"/v1/deliveries/{asked}/replay", json={"by": "ann"})

    assert [each.status_code for each in (shown, replayed)] == [404, 404]
    assert shown.json() == replayed.json()
    assert f"no delivery of tenant {ONE} has the id" in shown.text
    assert await replays(log) == []


async def test_what_was_given_up_is_asked_for_again_after_it_died(http: httpx2.AsyncClient, log: LocalLog) -> None:
    answer = await http.post(f"/v1/deliveries/{LOST[:6]}/replay", json={"by": "ann"})

    (said,) = await replays(log)
    assert (answer.status_code, answer.json()["delivery_id"], answer.json()["deliveries"]) == (200, LOST, 1)
    assert (said.tenant, said.delivery_id, said.by, said.at_ms) == (ONE, LOST, "ann", NOW_MS)


async def test_a_notifier_whose_clock_is_ahead_is_asked_after_its_time(filled: ClickHouseStore, log: LocalLog) -> None:
    early_ms = NOW_MS - DAY_MS
    book = ControlBook(log, Health())
    answers = Answers(filled, Health(), TOKENS, controls=book, now_ms=lambda: early_ms)
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=token("of-one")) as http:
        await http.post(f"/v1/deliveries/{LOST}/replay", json={"by": "ann"})
        await http.post("/v1/deliveries/replay", json={"by": "ann", "since": "1d", "channel": "pager"})

    assert [each.at_ms for each in await replays(log)] == [NOW_MS - 2 * MINUTE_MS + 1] * 2


async def test_what_was_not_given_up_is_not_sent_again(http: httpx2.AsyncClient, log: LocalLog) -> None:
    answer = await http.post(f"/v1/deliveries/{TOLD}/replay", json={"by": "ann"})

    said = f"delivery {TOLD[:12]} was not given up, it is delivered: only what is dead is sent again"
    assert (answer.status_code, answer.json()["error"].startswith(said)) == (409, True)
    assert "some seconds away" in answer.text
    assert await replays(log) == []


@pytest.mark.parametrize(
    ("body", "dead"),
    [
        ({"since": "1d"}, 1),
        ({"since": "7d"}, 2),
        ({"since": "7d", "channel": "pager"}, 2),
        ({"since": "7d", "channel": "action:restart"}, 1),
        ({"since": "7d", "channel": "chat"}, 0),
    ],
)
async def test_all_of_a_time_are_asked_for_and_counted_actions_by_name_alone(
    http: httpx2.AsyncClient, log: LocalLog, body: dict[str, str], dead: int
) -> None:
    answer = await http.post("/v1/deliveries/replay", json={"by": "ann", **body})

    (said,) = await replays(log)
    days = int(body["since"].removesuffix("d"))
    assert (answer.status_code, answer.json()["deliveries"]) == (200, dead), answer.text
    assert (said.channel, said.since_ms) == (body.get("channel", ""), NOW_MS - days * DAY_MS)


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({"by": "ann"}, "the body, such as"),
        ({"by": "ann", "since": "yesterday"}, "since: expected how long ago"),
        ({"since": "1d"}, "by: say who does this"),
        ({"by": "ann", "since": "1d", "channel": "x" * 300}, "the body, such as"),
        ({"by": "ann", "since": "1d", "delivery": LOST}, "the body, such as"),
    ],
)
async def test_a_replay_that_cannot_be_read_is_refused(
    http: httpx2.AsyncClient, log: LocalLog, body: dict[str, str], begins: str
) -> None:
    answer = await http.post("/v1/deliveries/replay", json=body)

    assert (answer.status_code, answer.json()["error"][: len(begins)]) == (400, begins)
    assert await replays(log) == []


async def test_the_operator_replays_for_any_tenant_and_a_tenant_for_none_but_itself(
    http: httpx2.AsyncClient, log: LocalLog
) -> None:
    path, body = f"/v1/deliveries/{OTHERS}/replay?tenant={OTHER}", {"by": "ann"}

    refused = await http.post(path, json=body)
    done = await http.post(path, json=body, headers=token("of-operator"))

    assert (refused.status_code, done.status_code) == (400, 200)
    assert [each.tenant for each in await replays(log)] == [OTHER]


async def test_the_page_shows_what_was_given_up_first_with_a_form_for_each(http: httpx2.AsyncClient) -> None:
    page = (await http.get("/deliveries")).text
    narrowed = (await http.get("/deliveries", params={"channel": "chat", "outcome": "", "since": ""})).text

    assert page.index(LOST[:12]) < page.index(TOLD[:12])
    assert [f'action="/deliveries/{each}/replay"' in page for each in (LOST, ACTED, OLD, TOLD)] == [True] * 3 + [False]
    assert (TOLD[:12] in narrowed, LOST[:12] in narrowed, OTHERS[:12] in page) == (True, False, False)
    assert 'name="channel" value="chat"' in narrowed


async def test_the_incidents_page_leads_to_them_and_sends_again_what_was_given_up(http: httpx2.AsyncClient) -> None:
    page = (await http.get(f"/incidents/{INCIDENT}")).text

    assert 'href="/deliveries"' in page
    assert [f'action="/deliveries/{each}/replay"' in page for each in (LOST, TOLD)] == [True, False]


async def test_a_form_has_one_sent_again_and_says_so(http: httpx2.AsyncClient, log: LocalLog) -> None:
    done = await http.post(f"/deliveries/{LOST}/replay", data={"by": "<ann>"})
    refused = await http.post(f"/deliveries/{TOLD}/replay", data={"by": "ann"})
    others = await http.post(f"/deliveries/{OTHERS}/replay", data={"by": "ann"})

    assert (done.status_code, f"delivery {LOST[:12]} is sent to pager again" in done.text) == (200, True)
    assert f'href="/incidents/{INCIDENT}#deliveries"' in done.text
    assert (refused.status_code, "was not given up, it is delivered" in refused.text) == (409, True)
    assert (others.status_code, "No such delivery" in others.text) == (404, True)
    assert [(each.delivery_id, each.by) for each in await replays(log)] == [(LOST, "<ann>")]


async def test_a_form_has_all_of_a_channel_sent_again_or_says_what_is_wrong_with_it(
    http: httpx2.AsyncClient, log: LocalLog
) -> None:
    done = await http.post("/deliveries/replay", data={"by": "ann", "channel": "pager", "since": "7d"})
    wrong = await http.post("/deliveries/replay", data={"by": "ann", "channel": "pager", "since": "soon"})
    nobody = await http.post("/deliveries/replay", data={"by": "", "channel": "", "since": "7d"})

    assert (done.status_code, "2 deliveries to pager given up since" in done.text) == (200, True)
    assert (wrong.status_code, "since: expected how long ago" in wrong.text) == (400, True)
    assert (nobody.status_code, "by: say who does this" in nobody.text) == (400, True)
    assert [(each.channel, each.delivery_id) for each in await replays(log)] == [("pager", "")]


async def test_the_operators_forms_keep_the_tenant_that_is_looked_at(http: httpx2.AsyncClient) -> None:
    page = await http.get("/deliveries", params={"tenant": OTHER}, headers=token("of-operator"))

    assert f'action="/deliveries/{OTHERS}/replay?tenant={OTHER}"' in page.text
    assert f'name="tenant" value="{OTHER}"' in page.text


async def test_a_page_of_another_origin_has_nothing_sent_again(http: httpx2.AsyncClient, log: LocalLog) -> None:
    foreign = {"origin": "https://evil.example"}

    answers = [await http.post(f"/deliveries/{LOST}/replay", data={"by": "ann"}, headers=foreign)]
    answers += [await http.post("/v1/deliveries/replay", json={"by": "ann", "since": "1d"}, headers=foreign)]

    assert ([each.status_code for each in answers], await replays(log)) == ([403, 403], [])
