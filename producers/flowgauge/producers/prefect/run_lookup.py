"""What Prefect's API knows of flow runs and their events do not tell: when they were to start, and of a log, the flow.

One request brings up to 200 rows. What was found is kept; a row that Prefect does not know is asked for again when it
is needed again.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.prefect.api import PrefectApi
from flowgauge.producers.prefect.flow_cache import RUNS_SEEN_MAX, RunSeen
from flowgauge.producers.prefect.look_back import ROWS_PAGE, Json
from flowgauge.producers.prefect.mapping import rfc3339, utc_time

# Of a run's row, which may hold parameters of any size.
_KEPT: Final = ("id", "name", "flow_id", "deployment_id", "expected_start_time", "tags", "type")


class Rows:
    """Rows of one kind by id, such as `flows`: the least recently used of RUNS_SEEN_MAX go first."""

    def __init__(self, api: PrefectApi, what: str) -> None:
        self._api = api
        self._what = what
        self._rows: OrderedDict[str, Json] = OrderedDict()

    def learn(self, ids: Iterable[object]) -> None:
        """Ask for those that are not known yet; None is none. Raises as `PrefectApi` does."""
        unknown = sorted({str(each) for each in ids if each is not None} - self._rows.keys())
        for start in range(0, len(unknown), ROWS_PAGE):
            wanted = {self._what: {"id": {"any_": unknown[start : start + ROWS_PAGE]}}, "limit": ROWS_PAGE}
            for row in self._api.post(f"/{self._what}/filter", wanted, list[Json]):
                self._rows[str(row.get("id"))] = {name: row.get(name) for name in _KEPT}
        while len(self._rows) > RUNS_SEEN_MAX:
            self._rows.popitem(last=False)

    def find(self, row_id: object) -> Json:
        """Return the row, {} of one that is not known."""
        row = self._rows.get(str(row_id))
        if row is None:
            return {}
        self._rows.move_to_end(str(row_id))
        return row


class RunLookup:
    """Flow runs and the names of their flows. Not thread-safe: its owner calls it from one thread."""

    def __init__(self, api: PrefectApi) -> None:
        self._runs = Rows(api, "flow_runs")
        self._flows = Rows(api, "flows")

    def learn(self, runs: Iterable[str]) -> None:
        """Ask for those of `runs` that are not known yet. Raises as `PrefectApi` does."""
        wanted = list(runs)
        self._runs.learn(wanted)
        self._flows.learn(self._runs.find(run).get("flow_id") for run in wanted)

    def seen(self, run: str | None) -> RunSeen | None:
        """Return the names of a run, for its logs."""
        row = self._runs.find(run)
        flow = self._flows.find(row.get("flow_id")).get("name")
        return None if flow is None else RunSeen(str(flow), str(row["name"]))

    def complete(self, event: EventJson) -> None:
        """Write into the event of a flow run when the run was to start, where Prefect knows."""
        expected = scheduled_for(self._runs.find(event.get("run"))) if event.get("kind") == "flow-run" else None
        if expected is not None:
            event.setdefault("scheduled_for", expected)


def scheduled_for(run: Json) -> str | None:
    """Return when a run of Prefect's API was to start. One that no deployment made was to start when it did: None."""
    expected = utc_time(run.get("expected_start_time")) if run.get("deployment_id") else None
    return None if expected is None else rfc3339(expected)
