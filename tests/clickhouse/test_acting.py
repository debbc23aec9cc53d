"""Acts on incidents through the application: whose they are, what is refused, and how all are told."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.clickhouse.test_clickhouse_tenancy import HOLDS

from flowgauge.console.web.acts import ACT_BYTES_MAX
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.control import Acknowledged
from flowgauge.schemas.setting_parts import QuestionSettings
from flowgauge.schemas.topics import CONTROLS
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.control_book import ControlBook
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log

ONE, OTHER = "acting-one", "acting-other"
DISK, SLOW, OTHERS = "aaaaaa0123456789", "bbbbbb0123456789", "cccccc0123456789"
TOKENS = TokenTable({"of-one": ONE, "of-other": OTHER, "of-operator": "platform"})
AT_MS = 1_800_000_000_000
FORM = "application/x-www-form-urlencoded"


async def write_incidents(store: ClickHouseStore) -> None:
    for number, (tenant, incident_id) in enumerate(((ONE, DISK), (ONE, SLOW), (OTHER, OTHERS))):
        fields = HOLDS["transitions"] | {"tenant": tenant, "transition_id": f"t{number}", "incident_id": incident_id}
        line = row(msgspec.json.encode(fields), log_id="acting", partition=0, offset=number, append_ms=AT_MS)
        await store.insert("flowgauge.transitions", line.line, f"acting-{number}")


@pytest.fixture(scope="module")
def filled(embedded: ClickHouseStore) -> ClickHouseStore:
    asyncio.run(write_incidents(embedded))
    return embedded


@pytest.fixture
async def log(tmp_path: Path) -> AsyncGenerator[LocalLog]:
    opened = await open_local_log(tmp_path, partitions={CONTROLS: 1})
    yield opened
    await opened.close()


@pytest.fixture
async def http(filled: ClickHouseStore, log: LocalLog) -> AsyncGenerator[httpx2.AsyncClient]:
    health = Health()
    answers = Answers(filled, health, TOKENS, operator="platform", controls=ControlBook(log, health))
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=token("of-one")) as client:
        yield client


def token(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


async def test_an_act_is_in_the_log_and_told_by_the_next_answer(http: httpx2.AsyncClient, log: LocalLog) -> None:
    answer = await http.post(f"/v1/incidents/{DISK[:6]}/ack", json={"by": "ann"})

    shown = (await http.get(f"/v1/incidents/{DISK}")).json()
    listed = (await http.get("/v1/incidents")).json()["rows"]
    assert (answer.status_code, answer.json()["incident_id"]) == (200, DISK)
    assert (shown["handling"]["says"], [act["act"] for act in shown["acts"]]) == ("acknowledged by ann", ["ack"])
    assert {each["incident_id"]: each["handling"]["says"] for each in listed} == {DISK: "acknowledged by ann", SLOW: ""}
    assert len(await log.read(CONTROLS, 0, 0, 10)) == 1


async def test_the_overview_that_somebody_looked_at_a_moment_before_tells_an_act_at_once(
    filled: ClickHouseStore, log: LocalLog
) -> None:
    health, asked_once = Health(), QuestionSettings(fresh="1h")
    controls = ControlBook(log, health)
    answers = Answers(filled, health, TOKENS, bounds=asked_once, controls=controls, now_ms=lambda: AT_MS)

    async def handled() -> list[tuple[str, str]]:
        seen = await answers.overview(ONE)
        return sorted((each.incident_id, each.handling) for each in (*seen.open, *seen.recent))

    before = await handled()
    await controls.append(Acknowledged(control_id="c", tenant=ONE, at_ms=AT_MS, by="ann", incident_id=DISK))

    assert before == [(DISK, ""), (SLOW, "")]
    assert await handled() == [(DISK, "acknowledged by ann"), (SLOW, "")]


async def test_another_process_knows_of_an_act_when_it_has_read_the_log(
    http: httpx2.AsyncClient, log: LocalLog
) -> None:
    await http.post(f"/v1/incidents/{DISK}/note", json={"by": "ann", "text": "the disk\nis full"})
    other = ControlBook(log, Health())

    await other.refresh()

    assert [note.text for note in other.in_force.handling(ONE, DISK).notes] == ["the disk\nis full"]


@pytest.mark.parametrize(
    ("path", "status"),
    [(f"/v1/incidents/{OTHERS}", 404), ("/v1/incidents/nonsense", 404), (f"/v1/incidents/{OTHERS[:6]}", 404)],
)
async def test_nobody_acts_on_an_incident_that_is_not_of_its_tenant(
    http: httpx2.AsyncClient, log: LocalLog, path: str, status: int
) -> None:
    for verb, body in (("ack", {}), ("note", {"text": "x"}), ("merge", {"into": DISK})):
        answer = await http.post(f"{path}/{verb}", json={"by": "ann", **body})
        assert (answer.status_code, "no incident of tenant acting-one" in answer.text) == (status, True)

    assert await log.ends(CONTROLS) == {0: 0}


async def test_the_operator_acts_for_any_tenant_and_a_tenant_for_none_but_itself(http: httpx2.AsyncClient) -> None:
    path, body = f"/v1/incidents/{OTHERS}/ack?tenant={OTHER}", {"by": "ann"}

    refused = await http.post(path, json=body)
    done = await http.post(path, json=body, headers=token("of-operator"))
    seen = await http.get(f"/v1/incidents/{OTHERS}", headers=token("of-other"))
    nobody = await http.post(f"/v1/incidents/{DISK}/ack", headers={"authorization": ""}, json={"by": "ann"})

    assert (refused.status_code, done.status_code, done.json()["tenant"], nobody.status_code) == (400, 200, OTHER, 401)
    assert seen.json()["handling"]["acknowledged"]["by"] == "ann"


async def test_an_incident_is_merged_into_another_and_never_into_itself(http: httpx2.AsyncClient) -> None:
    itself = await http.post(f"/v1/incidents/{DISK}/merge", json={"by": "ann", "into": DISK[:6]})
    strange = await http.post(f"/v1/incidents/{DISK}/merge", json={"by": "ann", "into": OTHERS})
    merged = await http.post(f"/v1/incidents/{DISK}/merge", json={"by": "ann", "into": SLOW[:6]})
    circle = await http.post(f"/v1/incidents/{SLOW}/merge", json={"by": "ann", "into": DISK})

    assert merged.json()["handling"]["merged_into"] == SLOW
    assert [each.status_code for each in (itself, strange, circle)] == [400, 400, 400]
    assert itself.json() == {"error": "into: an incident cannot be part of itself"}
    assert strange.json() == {"error": f"into: no incident of tenant {ONE} has the id {OTHERS!r}"}
    assert circle.json() == {"error": f"into: {DISK} is part of it already: an incident cannot be part of itself"}


async def test_what_is_said_later_counts_though_the_clock_stepped_back(filled: ClickHouseStore, log: LocalLog) -> None:
    times = iter([2_000, 1_000])
    answers = Answers(filled, Health(), TOKENS, controls=ControlBook(log, Health()), now_ms=lambda: next(times, 1_000))
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=token("of-one")) as http:
        for to in ("bob", "eve"):
            answer = await http.post(f"/v1/incidents/{DISK}/assign", json={"by": "ann", "to": to})

    assert answer.json()["handling"]["assignee"] == "eve"


async def test_a_body_that_is_wrong_or_too_large_or_of_another_type_does_nothing(
    http: httpx2.AsyncClient, log: LocalLog
) -> None:
    path = f"/v1/incidents/{DISK}/note"
    long, large = {"by": "ann", "text": "x" * 2_001}, {"by": "ann", "text": "x" * ACT_BYTES_MAX}
    answers = [
        await http.post(path, json=long),
        await http.post(path, json=large),
        await http.post(path, content=b"text=x", headers={"content-type": FORM}),
        await http.post(path, json={"text": "x"}),
    ]

    assert [each.status_code for each in answers] == [400, 413, 415, 400]
    assert await log.ends(CONTROLS) == {0: 0}


async def test_a_form_does_the_same_and_leads_back_to_the_page(http: httpx2.AsyncClient) -> None:
    basic = "Basic " + base64.b64encode(b"ann:of-one").decode()
    own = {"authorization": basic, "origin": "http://localhost", "sec-fetch-site": "same-origin"}

    page = await http.get(f"/incidents/{DISK}", headers=own)
    done = await http.post(f"/incidents/{DISK}/note", data={"by": "", "text": "a\r\n<b>"}, headers=own)
    after = await http.get(f"/incidents/{DISK}", headers=own)

    assert (done.status_code, done.headers["location"]) == (303, f"/incidents/{DISK}#acts")
    assert 'name="by" value="ann"' in page.text
    assert "noted: a\n&lt;b&gt;" in after.text


async def test_the_forms_of_an_operator_keep_the_tenant_it_looks_at(http: httpx2.AsyncClient) -> None:
    http.headers |= token("of-operator")

    page = await http.get(f"/incidents/{OTHERS}?tenant={OTHER}")
    done = await http.post(f"/incidents/{OTHERS}/ack?tenant={OTHER}", data={"by": "ann"})

    assert f'action="/incidents/{OTHERS}/ack?tenant={OTHER}"' in page.text
    assert done.headers["location"] == f"/incidents/{OTHERS}?tenant={OTHER}#acts"


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
    ids=["foreign", "hidden", "without an origin"],
)
async def test_a_page_of_another_origin_cannot_act(
    http: httpx2.AsyncClient, log: LocalLog, headers: dict[str, str]
) -> None:
    form = await http.post(f"/incidents/{DISK}/ack", data={"by": "ann"}, headers=headers)
    program = await http.post(f"/v1/incidents/{DISK}/ack", json={"by": "ann"}, headers=headers)

    assert (form.status_code, program.status_code, await log.ends(CONTROLS)) == (403, 403, {0: 0})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"by=ann&by=bob", "the form names a field twice"),
        (b"by=ann&text=" + b"x" * 2_001, "length &lt;= 2000"),
        (b"by=ann&text=" + b"x" * ACT_BYTES_MAX, "an act is at most 65536 bytes"),
        (b"by=ann&text=%ff", "the form cannot be read"),
        (b"&".join(b"x%d=" % n for n in range(17)), "the form cannot be read"),
    ],
)
async def test_a_form_that_is_wrong_is_refused_on_a_page_that_says_why(
    http: httpx2.AsyncClient, log: LocalLog, body: bytes, says: str
) -> None:
    answer = await http.post(f"/incidents/{DISK}/note", content=body, headers={"content-type": FORM})

    assert (answer.status_code, says in answer.text) == (400, True), answer.text
    assert "That cannot be done" in answer.text
    assert await log.ends(CONTROLS) == {0: 0}


async def test_a_form_about_an_incident_that_is_not_there_says_so(http: httpx2.AsyncClient) -> None:
    answer = await http.post(f"/incidents/{OTHERS}/ack", data={"by": "ann"})

    assert (answer.status_code, "No such incident" in answer.text) == (404, True)


async def test_what_a_tenant_said_goes_with_its_rows(http: httpx2.AsyncClient, embedded: ClickHouseStore) -> None:
    await http.post(f"/v1/incidents/{DISK}/ack", json={"by": "ann"})

    erased = await http.post("/v1/tenant/erase", params={"tenant": ONE}, headers=token("of-operator"))
    await write_incidents(embedded)
    shown = await http.get(f"/v1/incidents/{DISK}")

    assert erased.status_code == 200
    assert shown.status_code == 404 or shown.json()["acts"] == []
