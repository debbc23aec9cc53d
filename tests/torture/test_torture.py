"""The short form: a few faults while everything runs; nothing is lost, doubled or wrong.

FLOWGAUGE_TORTURE=short does more of them, and those of the sink alone; so does `make torture`.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kafka_broker import mortal_broker
from tests.torture.checker import as_json, check
from tests.torture.faults import Fault
from tests.torture.figures import figures
from tests.torture.rig import Broker, running
from tests.torture.shared_broker import SharedBroker

TEAM = ("gateway-1", "pulse-1", "match-1", "detect-1", "detect-2", "sink-1", "notify-1")
HAS_ALL = bool({"FLOWGAUGE_TORTURE", "FLOWGAUGE_PLANTED"} & os.environ.keys())
MORE_FAULTS = [
    Fault("kill", ("notify-1",), is_aimed=True, is_patient=False, pause_s=1.0),
    Fault("rules", is_patient=False, pause_s=1.0),
    Fault("clickhouse", seconds=0.5, is_patient=False, pause_s=1.0),
    Fault("kill", ("gateway-1",), is_patient=False, pause_s=0.5),
    Fault("broker", seconds=0.5, is_patient=False, pause_s=2.0),
]
FAULTS = [
    Fault("kill", ("detect-1",), is_aimed=True, is_patient=False, pause_s=0.5),
    Fault("kill two", ("match-1", "sink-1"), is_patient=False, pause_s=1.0),
    Fault("zombie", ("detect-2",), seconds=7.0, is_aimed=True, is_patient=False, pause_s=0.5),
    *MORE_FAULTS * HAS_ALL,
]
SINK_TEAM = ("gateway-1", "pulse-1", "sink-1", "sink-2")
SINK_FAULTS = [
    Fault("inserts", seconds=2.0, is_patient=False, pause_s=0.5),
    Fault("kill", ("sink-1",), is_patient=False, pause_s=0.5),
    Fault("claim", is_patient=False, pause_s=1.0),
    Fault("zombie", ("sink-2",), seconds=7.0, is_patient=False, pause_s=0.5),
    Fault("broker", seconds=0.5, is_patient=False, pause_s=1.0),
    Fault("kill", ("sink-2",), is_patient=False, pause_s=0.5),
    Fault("clickhouse", seconds=0.5, is_patient=False, pause_s=1.0),
]
SEED = 7

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Return a broker of its own where it is hit too, else that of all tests."""
    if not HAS_ALL:
        yield SharedBroker(request.getfixturevalue("kafka"))
        return
    with mortal_broker() as own:
        yield own


def test_faults_over_all_roles_lose_double_and_change_nothing(broker: Broker, tmp_path: Path) -> None:
    with running(broker, tmp_path, f"t{uuid.uuid4().hex[:8]}", TEAM, seed=SEED) as rig:
        rig.torture(FAULTS)
        rig.settle()
        found = figures(rig, SEED)

    print(as_json(found))
    assert rig.report.findings.are_none, found
    assert len(rig.report.done) == len(FAULTS)
    assert min(rig.report.findings.seen[what] for what in ("acked", "transitions", "told", "runs")) > 0


@pytest.mark.skipif(not HAS_ALL, reason="takes a minute: runs with FLOWGAUGE_TORTURE=short, and in make torture")
def test_faults_of_the_sink_alone_lose_and_double_no_row_also_in_a_run_that_is_given_up(tmp_path: Path) -> None:
    """Rows that were only behind when it was given up were told as lost."""
    with mortal_broker() as broker, running(broker, tmp_path, "torture", SINK_TEAM, seed=SEED) as rig:
        rig.torture(SINK_FAULTS)
        was_well = not rig.team.problem
        rig.torture([Fault("refused", refusal="full disk", seconds=2.0, is_patient=False)])
        for sink in rig.team.of("sink"):
            sink.is_wanted = False
            sink.kill()
        rig.team.problem = rig.team.problem or "sink-1 ended 4 times in a row, as the test says"
        rig.torture(SINK_FAULTS)
        acked, front = list(rig.load.acked), rig.front
        at_once = rig.watch.run(lambda: check(rig.watch.log, acked=acked, told=None, front=front, detects=False), 60.0)
        rig.settle()
        found = figures(rig, SEED)

    print(as_json(found))
    assert was_well, found
    assert at_once.lost["rows of events"] > 0
    assert len(rig.report.done) == len(SINK_FAULTS) + 1
    assert (rig.report.findings.lost, rig.report.findings.doubled) == ({}, {}), found
    assert dict(rig.report.findings.wrong) == {"processes": 1}, found
    assert rig.report.findings.seen["rows of events"] >= len(rig.load.acked) > 0
    assert rig.report.findings.seen["runs"] > 0
