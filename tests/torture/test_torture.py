"""The short form: some faults of each kind while everything runs; nothing is lost, doubled or wrong."""

from pathlib import Path

import pytest
from tests.restarting_broker import restarting_broker
from tests.torture.checker import as_json
from tests.torture.faults import Kind, timeline
from tests.torture.figures import figures
from tests.torture.rig import running

TEAM = ("gateway-1", "pulse-1", "match-1", "detect-1", "detect-2", "sink-1", "notify-1")
KINDS: tuple[Kind, ...] = ("kill", "kill two", "zombie", "move", "broker", "rules", "clickhouse")
FAULTS = 10
SEED = 7

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_faults_over_all_roles_lose_double_and_change_nothing(tmp_path: Path) -> None:
    with restarting_broker() as broker, running(broker, tmp_path, "torture", TEAM, seed=SEED) as rig:
        rig.torture(timeline(SEED, FAULTS, TEAM, KINDS))
        rig.settle()
        found = figures(rig, SEED)

    print(as_json(found))
    assert rig.report.findings.are_none, found
    assert min(rig.report.findings.seen[what] for what in ("acked", "transitions", "told", "runs")) > 0
