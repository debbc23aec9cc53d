"""What is planted is found: each fault in what it breaks, by the same checker, in runs of a minute."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.torture.checker import Findings, as_json
from tests.torture.faults import Fault
from tests.torture.rig import running
from tests.torture.shared_broker import SharedBroker

STABLE_S = 12.0
# Each takes a minute. One is part of `make test`; those with this mark are asked for, or run in `make torture`.
short_form = pytest.mark.skipif(
    not {"FLOWGAUGE_TORTURE", "FLOWGAUGE_PLANTED"} & os.environ.keys(),
    reason="takes minutes: runs with FLOWGAUGE_TORTURE=short, and in make torture",
)
long_form = pytest.mark.skipif(
    os.environ.get("FLOWGAUGE_PLANTED") != "all", reason="runs with FLOWGAUGE_PLANTED=all, as in make torture"
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def kill(instance: str, times: int) -> list[Fault]:
    """Kill it again and again, each time once it has been at work for a while."""
    return [Fault("kill", (instance,), seconds=2.0, waits_until_ready=True, is_patient=False, pause_s=0.5)] * times


def found_in(
    kafka: str,
    folder: Path,
    team: Sequence[str],
    plants: Mapping[str, str],
    *,
    faults: Sequence[Fault],
    all_fail: bool = False,
) -> Findings:
    """Run a small team with something planted; return what the checker finds."""
    broker = SharedBroker(kafka)
    with running(broker, folder, f"p{uuid.uuid4().hex[:8]}", team, seed=1, plants=plants, all_fail=all_fail) as rig:
        rig.torture(faults)
        rig.settle(stable_s=STABLE_S)
    print(as_json(rig.report.findings.counts()))
    return rig.report.findings


@short_form
def test_what_is_planted_in_gateway_matcher_sink_and_notifier_is_found_in_what_each_breaks(
    kafka: str, tmp_path: Path
) -> None:
    team = ("gateway-1", "pulse-1", "match-1", "detect-1", "sink-1", "notify-1")
    plants = {"gateway": "acks-first", "match": "slow-matcher", "detect": "guard-off-by-one"}
    plants |= {"sink": "ends-first", "notify": "told-before-sent"}
    faults = [*kill("sink-1", 3), *kill("match-1", 6), *kill("notify-1", 2), *kill("gateway-1", 2)]

    found = found_in(kafka, tmp_path, team, plants, faults=faults, all_fail=True)

    assert found.lost["acked events"] > 0
    assert found.lost["transitions"] > 0
    assert found.lost["rows of events"] > 0
    assert found.lost["messages"] > 0
    assert found.wrong["deliveries"] > 0


def test_a_detector_that_commits_offsets_before_its_state_is_found(kafka: str, tmp_path: Path) -> None:
    team = ("gateway-1", "pulse-1", "match-1", "detect-1")

    found = found_in(kafka, tmp_path, team, {"detect": "offsets-before-state"}, faults=kill("detect-1", 3))

    assert found.lost["transitions"] > 0
    assert found.wrong["processes"] > 0  # it sees the gap itself, and ends again and again


def frozen(seconds: float) -> list[Fault]:
    return [Fault("zombie", ("detect-1",), seconds=seconds, pause_s=3.0)]


@short_form
@pytest.mark.parametrize(("plant", "is_clean"), [("no-fencing", False), pytest.param("slow", True, marks=long_form)])
def test_a_former_owner_that_wakes_is_found_where_nothing_fences_it(
    plant: str, is_clean: bool, kafka: str, tmp_path: Path
) -> None:
    team = ("gateway-1", "pulse-1", "match-1", "detect-1", "detect-2")

    found = found_in(kafka, tmp_path, team, {"detect": plant}, faults=frozen(11.0) * 2)

    assert (found.doubled["transitions"] == 0) is is_clean
    assert found.are_none is is_clean


@long_form
@pytest.mark.parametrize(("plant", "is_clean"), [("trusts-tokens", False), ("slow-sink", True)])
def test_a_sink_that_trusts_tokens_is_found(plant: str, is_clean: bool, kafka: str, tmp_path: Path) -> None:
    team = ("gateway-1", "pulse-1", "sink-1")
    faults = [Fault("claim", pause_s=1.0)] * 3

    found = found_in(kafka, tmp_path, team, {"sink": plant}, faults=faults)

    assert (found.lost["rows of events"] == 0) is is_clean
    assert found.are_none is is_clean
