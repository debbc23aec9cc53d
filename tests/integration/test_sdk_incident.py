"""From a worker's exception to the page of its incident: the SDK, one server, ClickHouse, the API, the console."""

from functools import partial
from pathlib import Path

import pytest
from tests.integration.up_process import running_up, wait_for

from flowgauge.producers import Publisher

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

FAILING = """
rules:
  - name: imports failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 10s, min_samples: 1}}
    allowed_lateness: 1s
"""
SAID = "no rows in s3://lake/orders since 02:00"


class NoRows(Exception):
    """What this worker's own code raises."""


def test_why_a_run_failed_is_seen_in_its_runs_and_on_the_page_of_its_incident(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yaml").write_text(FAILING, encoding="utf-8")
    with running_up(tmp_path / "data", "--rules", str(tmp_path / "rules")) as up, Publisher(up.url) as publisher:
        with pytest.raises(NoRows), publisher.run("import-orders", run="r-1"):
            raise NoRows(SAID)
        assert publisher.flush(30_000)

        runs = partial(up.rows, "/v1/metrics/runs", flow="import-orders")
        (run,) = wait_for(lambda: [run for run in runs() if run["ended"]], "the end of the run")
        (incident,) = wait_for(lambda: up.rows("/v1/incidents"), "the incident")
        shown = up.get(f"/v1/incidents/{incident['incident_id']}")
        page = up.http.get(f"/incidents/{incident['incident_id']}").text

    assert (run["run"], run["state"], run["message"]) == ("r-1", "failed", SAID)
    assert [(example["run"], example["message"]) for example in shown["runs"]] == [("r-1", SAID)]
    assert SAID in page
