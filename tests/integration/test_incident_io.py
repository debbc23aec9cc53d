"""incident.io on loopback: what it takes, what becomes of alerts there, and its bad days."""

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from tests.integration.alert_services import Request, Service, kind_of, means_for, running, unavailable
from tests.integration.egress_servers import saying
from tests.unit.test_message import FIRING, NO_DATA, RESOLVED

from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.egress import EgressFailed
from flowgauge.sinks.webhooks.kinds.kind import Notice
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = pytest.mark.integration

TOKEN = "t0ken"


@dataclass
class AlertSource:
    """An HTTP alert source: alerts by their key, and whether they fire."""

    firing: dict[str, bool] = field(default_factory=dict[str, bool])
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(self.take)

    def take(self, request: Request) -> tuple[int, object]:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"type": "authentication_error", "status": 401}
        body = request.body
        if not body.get("title") or body.get("status") not in {"firing", "resolved"}:
            return 422, {"type": "validation_error", "status": 422}
        key = body["deduplication_key"]
        self.firing[key] = body["status"] == "firing"
        return 202, {"deduplication_key": key, "message": "Event accepted for processing", "status": "success"}

    async def told(self, *transitions: Transition, token: str = TOKEN) -> list[Verdict]:
        async with running(self.service) as port:
            kind = kind_of(f"incident_io: {{url: 'http://127.0.0.1:{port}/v2/alert_events/http/1', token: {{env: T}}}}")
            means = means_for(kind, token=token)
            notices = [Notice("d", (each,), public_url="https://gauge.example") for each in transitions]
            return [await kind.tell(each, means) for each in notices]


async def test_an_incident_is_one_alert_until_its_end() -> None:
    source = AlertSource()

    await source.told(FIRING, NO_DATA)
    assert source.firing == {FIRING.incident_id: True}
    await source.told(RESOLVED)

    assert source.firing == {FIRING.incident_id: False}


async def test_an_alert_says_what_happened_with_its_numbers() -> None:
    source = AlertSource()

    await source.told(msgspec.structs.replace(FIRING, runbook="https://wiki.example/orders"))

    body = source.service.requests[0].body
    assert body["title"] == "orders-eu in prod: 60% of 5 runs failed"
    assert "Runbook: https://wiki.example/orders" in body["description"].splitlines()
    assert body["source_url"] == f"https://gauge.example/incidents/{FIRING.incident_id}"
    assert (body["metadata"]["severity"], body["metadata"]["labels"], body["metadata"]["value"]) == (
        "critical",
        {"team": "data"},
        0.6,
    )


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict("dead", "refused: answered 400", 400)),
        (422, Verdict("dead", "refused: answered 422", 422)),
        (404, Verdict("failed", "answered 4xx", 404)),
        (429, Verdict("failed", "answered 429", 429, retry_after_ms=60_000)),
        (502, Verdict("failed", "answered 5xx", 502)),
    ],
)
async def test_only_an_event_that_is_refused_is_given_up(status: int, verdict: Verdict) -> None:
    source = AlertSource()
    source.service.bad_days = [unavailable(status, *([b"Retry-After: 60"] if status == 429 else []))]

    told, again = await source.told(FIRING, FIRING)

    assert replace(told, elapsed_ms=0) == verdict
    assert again.outcome == "delivered"


async def test_an_answer_that_breaks_off_is_tried_again_under_the_same_key() -> None:
    source = AlertSource()
    source.service.bad_days = [saying(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{")]

    with pytest.raises(EgressFailed):
        await source.told(FIRING)
    await source.told(FIRING)

    assert source.service.requests[0].body == source.service.requests[1].body
    assert source.firing == {FIRING.incident_id: True}


async def test_a_wrong_token_is_tried_again_and_one_that_breaks_the_header_is_never_sent() -> None:
    source = AlertSource()

    (wrong,) = await source.told(FIRING, token="wrong")
    assert (wrong.outcome, wrong.status) == ("failed", 401)
    with pytest.raises(ValueError, match="visible ASCII") as caught:
        await source.told(FIRING, token="s3cret\r\nX: y")

    assert "s3cret" not in str(caught.value)
    assert len(source.service.requests) == 1
