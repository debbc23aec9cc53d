"""The Teams channel against a server that answers as a workflow does, on good days and on bad ones."""

import json
from dataclasses import replace

import pytest
from tests.integration.http_service import HTML_PAGE, Request, http, serving
from tests.notices import FIRING, notice, storm

from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice
from flowgauge.sinks.webhooks.kinds.teams import DELETED, NO_ANSWER, NOT_LET_IN, TURNED_OFF, Teams
from flowgauge.sinks.webhooks.schedule import Verdict

pytestmark = pytest.mark.integration

PATH = "/workflows/1/triggers/manual/paths/invoke?api-version=2016-06-01&sig=S3CRET"


def error(status: int, code: str) -> bytes:
    return http(status, {"error": {"code": code, "message": "The request is not right."}})


async def told(reply: bytes, notice: Notice) -> tuple[Verdict, list[Request]]:
    """Make one attempt; how long it took is no part of what is looked at."""
    requests: list[Request] = []

    def answer(request: Request) -> bytes:
        requests.append(request)
        return reply

    async with serving(answer) as port:
        kind = Teams.model_validate({"url": f"http://127.0.0.1:{port}{PATH}"})
        egress = Egress(EgressPolicy(allow=(f"127.0.0.1:{port}",)))
        verdict = await kind.tell(notice, Means(egress, lambda: 1_795_427_470_000, {}))
    assert "S3CRET" not in repr(kind)
    return replace(verdict, elapsed_ms=0), requests


@pytest.mark.parametrize("status", [200, 202])
async def test_a_workflow_takes_an_incident_and_a_storm_in_one_card_each(status: int) -> None:
    one, (request,) = await told(http(status), notice(FIRING))
    many, requests = await told(http(status), notice(*storm(2_000)))

    assert (one, many) == (Verdict("delivered", "", status), Verdict("delivered", "", status))
    assert (request.path, request.headers["content-type"], len(requests)) == (PATH, "application/json", 1)
    assert json.loads(request.body)["attachments"][0]["content"]["type"] == "AdaptiveCard"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (http(200, HTML_PAGE), Verdict("failed", NO_ANSWER, 200)),
        (http(302, "", location="https://login.microsoftonline.com/"), Verdict("failed", "answered 3xx", 302)),
        (error(400, "WorkflowTriggerIsNotEnabled"), Verdict("dead", TURNED_OFF, 400)),
        (error(400, "TriggerInputSchemaMismatch"), Verdict("dead", "refused: answered 400", 400)),
        (http(400, HTML_PAGE), Verdict("dead", "refused: answered 400", 400)),
        (error(401, "DirectApiAuthorizationRequired"), Verdict("dead", NOT_LET_IN, 401)),
        (error(403, "AuthorizationFailed"), Verdict("dead", NOT_LET_IN, 403)),
        (http(403, HTML_PAGE), Verdict("failed", "answered 4xx", 403)),
        (error(404, "WorkflowNotFound"), Verdict("dead", DELETED, 404, is_gone=True)),
        (http(404, HTML_PAGE), Verdict("failed", "answered 4xx", 404)),
        (http(404, b'{"error": {"code": 7}}'), Verdict("failed", "answered 4xx", 404)),
        (http(413), Verdict("dead", "refused: answered 413", 413)),
        (error(429, "TooManyRequests"), Verdict("failed", "answered 429", 429)),
        (http(429, "", retry_after="17"), Verdict("failed", "answered 429", 429, retry_after_ms=17_000)),
        (error(502, "NoResponse"), Verdict("failed", "answered 5xx", 502)),
    ],
)
async def test_a_workflows_answers_mean_what_it_says(reply: bytes, verdict: Verdict) -> None:
    came, _ = await told(reply, notice(FIRING))

    assert came == verdict
