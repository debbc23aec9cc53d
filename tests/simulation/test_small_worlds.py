"""Small worlds of every kind of rule, whose transitions an oracle makes again from the log alone; and planted bugs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.drawing import drawn_story
from tests.simulation.drawn_rules import DRAWN
from tests.simulation.judged_alert import JudgedAlert
from tests.simulation.planting import PLANTED, planted
from tests.simulation.readings import ORACLES
from tests.simulation.small_worlds import Worlds
from tests.simulation.story import told

from flowgauge.processors.alert_state import Alert, NoData, Policy, step
from flowgauge.processors.kinds import KINDS
from flowgauge.processors.reading import Verdict

SEEDS = range(1, 61)
PLANTED_SEEDS = range(1, 201)
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(120)


def test_every_kind_of_rule_is_drawn_and_judged() -> None:
    assert DRAWN.keys() == KINDS.keys()
    assert DRAWN.keys() == ORACLES.keys() | {"prefect"}  # which has firings and no readings


def test_faults_delays_and_switches_change_no_transition() -> None:
    report = Worlds().run(SEEDS)

    assert report.violation is None
    # Worlds in which nothing happens prove nothing.
    assert report.transitions.keys() == DRAWN.keys()
    assert min(report.transitions.values()) > 10
    assert report.judged > 0.95 * sum(report.transitions.values())
    assert min(report.faults.crashes, report.faults.fenced, report.faults.resent, report.faults.late) > 10


def test_a_seed_draws_its_world_again() -> None:
    assert drawn_story(7) == drawn_story(7)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_and_its_trace_is_short(name: str) -> None:
    with planted(name):
        report = Worlds().run(PLANTED_SEEDS, planted=name)

    assert report.violation is not None
    assert report.violation.seed == PLANTED_SEEDS[0] + report.seeds - 1
    assert len(report.violation.trace) < len(told(drawn_story(report.violation.seed))) / 2


def test_a_planted_bug_is_gone_afterwards() -> None:
    for name in PLANTED:
        with planted(name):
            pass

    assert Worlds().run(SEEDS[:5]).violation is None


@pytest.mark.parametrize(("bug", "code"), [("", 0), ("wrong minimum clock", 0)])
def test_the_command_prints_a_line_and_says_by_its_code_whether_all_is_as_it_should_be(bug: str, code: int) -> None:
    flags = ["--seeds", "2", *(["--planted", bug] if bug else [])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["violations"] == (1 if bug else 0)


@given(
    verdicts=st.lists(st.sampled_from(list(Verdict)), max_size=60),
    for_ms=st.sampled_from((0, 3_000)),
    keep_ms=st.sampled_from((0, 2_000)),
    no_data=st.sampled_from(("hold", "resolve", "fire")),
)
def test_the_alert_of_the_oracle_is_that_of_the_detector(
    verdicts: list[Verdict], for_ms: int, keep_ms: int, no_data: NoData
) -> None:
    judged, alert, policy = JudgedAlert(for_ms, keep_ms, no_data), Alert(), Policy(for_ms, keep_ms, no_data)

    for number, verdict in enumerate(verdicts):
        change = step(alert, verdict, number * 1_000, policy)
        assert judged.read(verdict.value, number * 1_000) == (None if change is None else change[:4])
