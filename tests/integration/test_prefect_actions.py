"""What actions do to a real Prefect server."""

import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from tests.actions_about import NOW_MS, firing, notice
from tests.integration.prefect_server import PrefectServer, free_port, need_prefect
from tests.integration.up_process import wait_for

from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.actions.action import Action
from flowgauge.sinks.webhooks.actions.prefect import NO_SUCH, NOT_ACCEPTED
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.kinds.kind import Means

pytestmark = [pytest.mark.prefect, pytest.mark.integration]

BUSY = 503

Json = dict[str, Any]


class Api:
    """A Prefect server as people ask it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self, path: str, **fields: object) -> Json:
        return self._answer("POST", path, fields)

    def get(self, path: str) -> Json:
        return self._answer("GET", path)

    def runs(self) -> list[Json]:
        return cast("list[Json]", self._answer("POST", "flow_runs/filter", {}))

    def _answer(self, method: str, path: str, fields: object = None) -> Json:
        """Ask until the server's own database is not locked, as Prefect's client does."""

        def answer() -> httpx2.Response | None:
            answered = httpx2.request(method, f"{self.url}/{path}", json=fields, timeout=30)
            return None if answered.status_code == BUSY else answered

        answered: httpx2.Response = wait_for(answer, f"an answer to {path}")
        assert answered.is_success, answered.text
        return cast("Json", answered.json())

    async def told(self, transition: Transition, **fields: object) -> tuple[str, str]:
        """Do what `fields` say about `transition`, again where the server is busy; return how that ended."""
        action = Action.model_validate({"name": "a", "prefect": {"api_url": self.url, **fields}, "idempotent": True})
        means = Means(Egress(EgressPolicy(allow=("127.0.0.1",))), lambda: NOW_MS, {})
        while (verdict := await action.tell(notice(transition), means)).status == BUSY:
            assert verdict.outcome == "failed"
        return verdict.outcome, verdict.reason


@pytest.fixture
def api(tmp_path: Path) -> Generator[Api]:
    need_prefect()
    nowhere = {"FLOWGAUGE_URL": f"http://127.0.0.1:{free_port()}", "FLOWGAUGE_TOKEN": "t"}
    with PrefectServer(tmp_path, nowhere).serving() as server:
        yield Api(server.api)


@pytest.mark.timeout(600)
async def test_a_prefect_server_does_what_actions_ask_and_a_repeated_run_is_one_run(api: Api) -> None:
    deployment = api.make("deployments/", name="of prod", flow_id=api.make("flows/", name="etl ü")["id"])
    api.make("work_pools/", name="gpu pool", type="process")
    run = {"do": "run_deployment", "deployment": "etl ü/of prod", "parameters": {"flow": "{{ flow }}", "times": 3}}

    assert [await api.told(firing(), **run) for _ in range(2)] == [("delivered", "")] * 2
    (made,) = api.runs()
    assert (made["deployment_id"], made["parameters"]) == (deployment["id"], {"flow": "orders", "times": 3})
    assert await api.told(firing("others"), **run) == ("delivered", "")
    assert len(api.runs()) == 2

    for do, is_paused in (("pause", True), ("resume", False)):
        assert await api.told(firing(), do=f"{do}_deployment", deployment=deployment["id"]) == ("delivered", "")
        assert api.get(f"deployments/{deployment['id']}")["paused"] is is_paused
        assert await api.told(firing(), do=f"{do}_work_pool", work_pool="gpu {{ key.pool|default('pool') }}") == (
            "delivered",
            "",
        )
        assert api.get("work_pools/gpu%20pool")["is_paused"] is is_paused

    about = firing(run=made["id"])
    assert await api.told(about, do="cancel_flow_run", flow_run="{{ runs[0] }}") == ("delivered", "")
    assert api.get(f"flow_runs/{made['id']}")["state_type"] in {"CANCELLING", "CANCELLED"}
    change = {"do": "change_flow_run_state", "flow_run": "{{ runs[0] }}"}
    assert await api.told(about, **change, state="PENDING") == ("dead", NOT_ACCEPTED)
    (other,) = (each["id"] for each in api.runs() if each["id"] != made["id"])
    assert await api.told(firing(run=other), **change, state="FAILED") == ("delivered", "")
    assert api.get(f"flow_runs/{other}")["state_type"] == "FAILED"

    assert await api.told(about, do="pause_deployment", deployment="etl/none") == ("dead", NO_SUCH)
    assert await api.told(about, do="pause_deployment", deployment="etl") == ("dead", NO_SUCH)
    assert await api.told(about, do="cancel_flow_run", flow_run=str(uuid.uuid4())) == ("dead", "answered 404")
    assert await api.told(about, do="pause_work_pool", work_pool="../x") == ("dead", "answered 404")
