"""Silences through the application: whose they are, what is refused, what a preview finds, and how all are told."""

import asyncio
import html
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from tests.clickhouse.test_clickhouse_tenancy import HOLDS

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.console.web.silences import EXAMPLE, SILENCE_BYTES_MAX
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.schemas.topics import CONTROLS
from flowgauge.sinks.clickhouse.hidable import hidable
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.control_book import ControlBook
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log

ONE, OTHER = "silencing-one", "silencing-other"
NOW_MS = parse_time_ms("2026-11-30T12:00:00Z")  # a Monday
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
TOKENS = TokenTable({"of-one": ONE, "of-other": OTHER, "of-operator": "platform"})
BODY: dict[str, Any] = {"matchers": ['flow=~"orders.*"'], "lasts": "2h", "reason": "it moves", "by": "ann"}
Told = tuple[str, str, str, int, str]
INCIDENTS: list[Told] = [  # tenant, id, flow, opened, state
    (ONE, "open-orders", "orders", NOW_MS - HOUR_MS, "firing"),
    (ONE, "open-stock", "stock", NOW_MS - 30 * DAY_MS, "firing"),
    (ONE, "open-orders-old", "orders-eu", NOW_MS - 30 * DAY_MS, "no_data"),
    (ONE, "over-orders", "orders", NOW_MS - 2 * DAY_MS - 2 * HOUR_MS, "resolved"),  # Saturday 10:00
    (ONE, "over-long-ago", "orders", NOW_MS - 8 * DAY_MS, "resolved"),
    (OTHER, "open-of-other", "orders", NOW_MS - HOUR_MS, "firing"),
]


async def write_incidents(store: ClickHouseStore) -> None:
    for number, (tenant, incident_id, flow, opened_ms, state) in enumerate(INCIDENTS):
        for seq, to_state in enumerate(dict.fromkeys(("firing", state))):
            fields = HOLDS["transitions"] | {
                "tenant": tenant, "transition_id": f"{incident_id}-{seq}", "incident_id": incident_id, "seq": seq,
                "key": {"flow": flow}, "opened_at_ms": opened_ms, "at_ms": opened_ms + seq, "to_state": to_state,
            }  # fmt: skip
            line = row(msgspec.json.encode(fields), log_id="silencing", partition=number, offset=seq, append_ms=NOW_MS)
            await store.insert("flowgauge.transitions", line.line, f"silencing-{number}-{seq}")


@pytest.fixture(scope="module")
def filled(embedded: ClickHouseStore) -> ClickHouseStore:
    asyncio.run(write_incidents(embedded))
    return embedded


@pytest.fixture
async def log(tmp_path: Path) -> AsyncGenerator[LocalLog]:
    opened = await open_local_log(tmp_path, partitions={CONTROLS: 1})
    yield opened
    await opened.close()


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http(filled: ClickHouseStore, log: LocalLog, clock: Clock) -> AsyncGenerator[httpx2.AsyncClient]:
    health = Health()
    answers = Answers(
        filled, health, TOKENS, operator="platform", controls=ControlBook(log, health), now_ms=lambda: clock.now_ms
    )
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=token("of-one")) as client:
        yield client


def token(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


async def listed(http: httpx2.AsyncClient, **parameters: str) -> list[tuple[str, str]]:
    told = (await http.get("/v1/silences", params=parameters)).json()["silences"]
    return [(each["silence_id"], each["state"]) for each in told]


async def test_a_silence_is_in_the_log_and_told_until_it_is_ended(http: httpx2.AsyncClient, log: LocalLog) -> None:
    added = (await http.post("/v1/silences", json=BODY)).json()

    other = ControlBook(log, Health())
    await other.refresh()
    before = await listed(http)
    ended = await http.request("DELETE", f"/v1/silences/{added['silence_id']}", params={"by": "bob"})

    assert added | {"silence_id": "", "window": None} == {
        "silence_id": "", "tenant": ONE, "state": "active", "matchers": ['flow=~"orders.*"'],
        "starts": rfc3339(NOW_MS), "ends": rfc3339(NOW_MS + 2 * HOUR_MS), "every": None, "timezone": None,
        "window": None, "reason": "it moves", "by": "ann", "added": rfc3339(NOW_MS), "expired_by": None,
    }  # fmt: skip
    assert [each.silence.reason for each in other.in_force.silences.of(ONE)] == ["it moves"]
    assert before == [(added["silence_id"], "active")]
    assert ended.json()["expired_by"] == "bob"


async def test_what_was_ended_is_told_for_a_week_where_that_is_asked(http: httpx2.AsyncClient, clock: Clock) -> None:
    await http.post("/v1/silences", json=BODY | {"id": "a"})
    await http.request("DELETE", "/v1/silences/a", params={"by": "bob"})
    clock.now_ms += 1

    now, late = await listed(http), await listed(http, expired="true")
    again = await http.request("DELETE", "/v1/silences/a", params={"by": "eve"})
    clock.now_ms += 8 * DAY_MS

    assert (now, late, await listed(http, expired="true")) == ([], [("a", "expired")], [])
    assert (again.status_code, again.json()["expired_by"]) == (200, "bob")


async def test_the_same_asked_again_with_its_id_adds_nothing(
    http: httpx2.AsyncClient, log: LocalLog, clock: Clock
) -> None:
    first = await http.post("/v1/silences", json=BODY | {"id": "move-1"})
    clock.now_ms += HOUR_MS
    again = await http.post("/v1/silences", json=BODY | {"id": "move-1", "by": "bob"})
    another = await http.post("/v1/silences", json=BODY | {"id": "move-1", "lasts": "3h"})

    assert [each.status_code for each in (first, again, another)] == [200, 200, 400]
    assert (again.json()["ends"], again.json()["by"]) == (first.json()["ends"], "ann")
    assert another.json() == {"error": "id: move-1 is another silence: take another id, or leave it out"}
    assert await log.ends(CONTROLS) == {0: 1}


async def test_a_silence_is_of_its_tenant_and_only_the_operator_hides_what_is_everybodys(
    http: httpx2.AsyncClient,
) -> None:
    await http.post("/v1/silences", json=BODY | {"id": "mine"})
    refused = await http.post("/v1/silences", json=BODY | {"everyone": True})
    all_of = await http.post("/v1/silences", json=BODY | {"everyone": True, "id": "all"}, headers=token("of-operator"))
    strange = await http.post("/v1/silences", params={"tenant": OTHER}, json=BODY)

    others = (await http.get("/v1/silences", headers=token("of-other"))).json()["silences"]
    ended = [
        await http.request("DELETE", f"/v1/silences/{which}", params={"by": "eve"}, headers=token(whose))
        for which, whose in (("mine", "of-other"), ("all", "of-other"), ("all", "of-operator"), ("none", "of-one"))
    ]

    assert (refused.status_code, all_of.status_code, strange.status_code) == (403, 200, 400)
    assert [(each["silence_id"], each["tenant"]) for each in others] == [("all", ANY_TENANT)]
    assert [each.status_code for each in ended] == [404, 400, 200, 404]
    assert ended[3].json()["error"] == (
        f"no silence of tenant {ONE} has the id 'none': `flowgauge silences list` shows them"
    )


async def test_a_preview_counts_what_is_open_and_what_opened_in_the_past_week(http: httpx2.AsyncClient) -> None:
    told = (await http.post("/v1/silences/preview", json={"matchers": ['flow=~"orders.*"']})).json()

    assert told["says"] == ("2 of 3 incidents open now and 2 of 2 that opened in the past 7 days would be hidden")
    assert [each["incident_id"] for each in told["open"]["incidents"]] == ["open-orders", "open-orders-old"]
    assert [each["incident_id"] for each in told["late"]["incidents"]] == ["open-orders", "over-orders"]
    assert told["is_cut"] is False


async def test_a_preview_of_hours_that_come_again_counts_what_opened_in_them(http: httpx2.AsyncClient) -> None:
    body = {"matchers": ["flow=orders"], "every": "Sat 11:00-11:30", "timezone": "Europe/Berlin"}
    told = (await http.post("/v1/silences/preview", json=body)).json()

    assert [each["incident_id"] for each in told["late"]["incidents"]] == ["over-orders"]
    assert (told["open"]["hidden"], told["late"]["counted"]) == (1, 2)


async def test_a_preview_sees_the_incidents_of_its_tenant_alone(
    http: httpx2.AsyncClient, filled: ClickHouseStore
) -> None:
    everything = {"everything": True}
    of_other = await http.post("/v1/silences/preview", json=everything, headers=token("of-other"))
    refused = await http.post("/v1/silences/preview", json=everything | {"everyone": True})
    of_all = await http.post("/v1/silences/preview", json=everything | {"everyone": True}, headers=token("of-operator"))
    stored = await hidable(filled, ANY_TENANT, since_ms=NOW_MS)

    assert [each["incident_id"] for each in of_other.json()["open"]["incidents"]] == ["open-of-other"]
    assert (refused.status_code, of_all.json()["open"]["counted"]) == (403, len([x for x in stored if x.is_open]))
    assert {ONE, OTHER} <= {each.tenant for each in stored}


async def test_no_more_than_the_bound_is_looked_at(filled: ClickHouseStore) -> None:
    found = await hidable(filled, ONE, since_ms=0, limit=2)

    assert [each.incident_id for each in found] == ["open-orders", "open-orders-old"]


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (BODY | {"matchers": ["flow"]}, (400, "matchers[0]: expected a field")),
        (BODY | {"matcher": ["flow=a"]}, (400, "unknown field `matcher`")),
        (BODY | {"matchers": "flow=a"}, (400, "Expected `array`, got `str`")),
        (BODY | {"by": " "}, (400, "by: say who does this")),
        (BODY | {"by": "x" * 201}, (400, "by: say who does this")),
        (BODY | {"id": "a b"}, (400, "id: expected at most 64 letters")),
        (BODY | {"reason": ""}, (400, "reason: say why nobody is to be told")),
        (BODY | {"reason": "x" * SILENCE_BYTES_MAX}, (413, "a silence is at most 65536 bytes")),
    ],
)
async def test_what_cannot_be_a_silence_is_refused_and_nothing_is_written(
    http: httpx2.AsyncClient, log: LocalLog, body: dict[str, Any], refused: tuple[int, str]
) -> None:
    status, said = refused
    answer = await http.post("/v1/silences", json=body)

    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    assert await log.ends(CONTROLS) == {0: 0}


async def test_recurring_silences_tell_their_next_window(http: httpx2.AsyncClient, clock: Clock) -> None:
    body = BODY | {"id": "weekly", "every": "Sat,Sun 22:00-02:00", "timezone": "Europe/Berlin", "lasts": "4w"}
    waiting = (await http.post("/v1/silences", json=body)).json()
    clock.now_ms = parse_time_ms("2026-12-05T22:30:00Z")

    assert (waiting["state"], waiting["every"], waiting["timezone"], waiting["window"]) == (
        "recurring", "Sat,Sun 22:00-02:00", "Europe/Berlin",
        {"start": "2026-12-05T21:00:00.000Z", "end": "2026-12-06T01:00:00.000Z"},
    )  # fmt: skip
    assert await listed(http) == [("weekly", "active")]


async def test_the_example_is_one(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/silences", json=dict(EXAMPLE))).status_code == 200


FORM = {"matchers": 'flow=~"orders.*"\r\n\r\nseverity!=page', "lasts": "2h", "reason": "<b>moves</b>", "by": "ann"}


async def test_a_form_previews_and_keeps_what_was_written(http: httpx2.AsyncClient, log: LocalLog) -> None:
    page = await http.post("/silences", data=FORM | {"do": "preview", "reason": ""})

    assert page.status_code == 200
    assert "2 of 3 incidents open now and 2 of 2 that opened in the past 7 days would be hidden." in page.text
    assert 'href="/incidents/open-orders"' in page.text
    assert "flow=~&#34;orders.*&#34;\n\nseverity!=page</textarea>" in page.text
    assert await log.ends(CONTROLS) == {0: 0}


async def test_a_form_adds_a_silence_and_another_ends_it(http: httpx2.AsyncClient, clock: Clock) -> None:
    added = await http.post("/silences", data=FORM | {"do": "add"})
    before = await http.get("/silences")
    ((silence_id, _),) = await listed(http)
    ended = await http.post(f"/silences/{silence_id}/expire", data={"by": "bob"})
    clock.now_ms += 1
    after = await http.get("/silences")
    none = await http.post("/silences/none/expire", data={"by": "bob"})

    assert [(each.status_code, each.headers.get("location")) for each in (added, ended)] == [(303, "/silences")] * 2
    assert ("&lt;b&gt;moves&lt;/b&gt;" in before.text, "End now" in before.text) == (True, True)
    assert ("ended by bob" in after.text, "End now" in after.text) == (True, False)
    assert (none.status_code, "No such silence" in none.text) == (404, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matchers": "flow"}, "matchers[0]: expected a field"),
        ({"matchers": " "}, "matchers: there is none, so it would hide everything"),
        ({"reason": ""}, "reason: say why nobody is to be told"),
        ({"by": ""}, "by: say who does this"),
        ({"timezone": "UTC"}, "timezone: only hours that come again"),
    ],
)
async def test_a_form_that_is_wrong_says_so_and_keeps_what_was_written(
    http: httpx2.AsyncClient, log: LocalLog, change: dict[str, str], said: str
) -> None:
    page = await http.post("/silences", data=FORM | {"do": "add"} | change)

    assert (page.status_code, said in page.text, 'role="alert"' in page.text) == (400, True, True)
    assert 'name="lasts" value="2h"' in page.text
    assert await log.ends(CONTROLS) == {0: 0}


async def test_an_incident_leads_to_the_form_with_its_matchers(http: httpx2.AsyncClient) -> None:
    http.headers |= token("of-operator")
    page = (await http.get(f"/incidents/open-of-other?tenant={OTHER}")).text
    link = html.unescape(page.split('href="/silences?')[2].split("#new")[0])
    form = await http.get(f"/silences?{link}")

    assert f"tenant={OTHER}" in link
    assert html.escape('rule="r"\nflow="orders"', quote=True).replace("&quot;", "&#34;") in form.text
    assert f'action="/silences?tenant={OTHER}#new"' in form.text
