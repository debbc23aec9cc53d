"""The benchmarks run and say what they promise to say. What they measure is for people to judge."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
KEYS = {"name", "events", "cpu_seconds", "per_cpu_second", "us_per_event", "steps"}
NUMBERS = ("events", "cpu_seconds", "per_cpu_second", "us_per_event")


def test_each_path_prints_one_json_line_with_its_numbers() -> None:
    names = ["matcher", "detector", "replay"]

    command = [sys.executable, "-m", "benchmarks", "--quick", "--events", "6000", *names]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=True)

    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["name"] for line in lines] == names
    assert all(line.keys() >= KEYS and all(line[key] > 0 for key in NUMBERS) for line in lines)
    assert all(isinstance(step, float) for line in lines for step in line["steps"].values())


def test_beside_a_frozen_gateway_nothing_is_lost() -> None:
    command = [sys.executable, "-m", "benchmarks", "--events", "200", "frozen-gateway"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=True)

    notes = json.loads(run.stdout)["notes"]
    assert (notes["emitted"], notes["lost"], notes["dropped"]) == (10_201, 0, 0)
    assert notes["spooled"] > 0


def test_the_paths_on_kafka_run_on_a_broker_that_is_there(kafka: str) -> None:
    names = ["kafka-append", "kafka-gateway", "kafka-sink"]

    command = [sys.executable, "-m", "benchmarks", "--events", "1000", *names]
    env = {**os.environ, "FLOWGAUGE_TEST_KAFKA": kafka}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=True, env=env)

    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(line["name"], line["events"]) for line in lines] == [(name, 1_000) for name in names]


def test_a_storm_is_few_messages_and_webhooks_come_under_load() -> None:
    command = [sys.executable, "-m", "benchmarks", "--events", "1200"]
    with (  # side by side: each mostly waits
        subprocess.Popen([*command, "storm"], cwd=ROOT, stdout=subprocess.PIPE) as of_storm,
        subprocess.Popen([*command, "tell-latency"], cwd=ROOT, stdout=subprocess.PIPE) as of_latency,
    ):
        storm, latency = [json.loads(run.communicate(timeout=110)[0]) for run in (of_storm, of_latency)]

    assert (of_storm.returncode, of_latency.returncode) == (0, 0)
    assert storm["notes"]["messages"] < 10
    assert (latency["notes"]["event_webhooks"], latency["notes"]["rate_webhooks"]) == (6, 2)


@pytest.mark.timeout(600)
def test_a_steady_run_says_what_each_process_costs_and_that_nothing_is_missing(kafka: str) -> None:
    command = [sys.executable, "-m", "benchmarks.steady", "--rate", "150", "--minutes", "0.12", "--matchers", "2"]
    env = {**os.environ, "FLOWGAUGE_TEST_KAFKA": kafka}

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False, env=env)

    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    processes = {line["process"] for line in lines if line["part"] == "process"}
    roles = {f"{role}-1" for role in ("gateway", "pulse", "match", "detect", "sink", "notify")}
    assert processes == roles | {"match-2", "clickhouse", "sender", "receiver"}  # the broker is not its own
    assert lines[-1]["part"] == "counts"
    assert lines[-1]["sent"] == lines[-1]["rows"] > 0
    assert lines[-1]["failures"] == lines[-1]["alerts"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[dict[str, Any]]]]:
    """Return the folder of some events, and what making them said, and making them again."""
    folder = tmp_path_factory.mktemp("questions") / "clickhouse"
    return folder, [questions("make", "--events", "8240", "--data", str(folder)) for _ in range(2)]


@pytest.mark.timeout(300)
def test_questions_are_asked_of_events_that_are_made_once(
    made: tuple[Path, list[list[dict[str, Any]]]], tmp_path: Path
) -> None:
    folder, lines_of_making = made
    of_largest, of_all = ["--of", "largest", "--data", str(folder)], ["--of", "all", "--data", str(folder)]

    told = questions("ask", "--askings", "2", *of_largest)
    more = questions("ask", "--askings", "2", "--clients", "2", "--cold", "--only", "top, 7d", *of_all)
    (tmp_path / "lines").write_text("".join(f"{json.dumps(line)}\n" for line in (*told, *more)))
    tables = run_questions("tell", str(tmp_path / "lines"))

    assert [[line["events"] for line in lines] for lines in lines_of_making] == [[8_240], []]
    asked = [line for line in (*told, *more) if line["part"] == "question" and "is_cold" not in line]
    assert {line["clients"] for line in asked} == {1, 2}
    assert [line["trouble"] for line in asked if line.get("troubles")] == []
    assert all(line["askings"] == 2 and 0 < line["p50_ms"] <= line["max_ms"] for line in asked)
    assert {line["name"] for line in asked} >= {"top, 7d", "timeline, a run", "logs, 7d, an id", "incidents"}
    assert next(line["answer_rows"] for line in asked if line["name"] == "logs, 7d, an id") >= 1
    (events,) = (line for line in told if line["part"] == "kept" and (line["table"], line["name"]) == ("events", ""))
    assert events["rows"] == 8_240
    assert [line["is_cold"] for line in more if line["part"] == "question" and "is_cold" in line] == [True]
    assert "| top, 7d |" in tables


@pytest.mark.timeout(300)
def test_other_tables_get_the_same_events_and_are_asked_the_same(
    made: tuple[Path, list[list[dict[str, Any]]]],
) -> None:
    folder, _ = made

    lines = questions("compare", "--hours", "2", "--rounds", "1", "--merge", "--data", str(folder))

    assert {line["rows"] for line in lines} == {8_240}
    assert all(line["bytes_per_row"] > 0 and line["insert_us"] > 0 for line in lines)
    asked = [line["p50_ms"] for line in lines if "p50_ms" in line]
    assert len(asked) > 10
    assert all(each.keys() == asked[0].keys() for each in asked)


def questions(*arguments: str) -> list[dict[str, Any]]:
    """Return what the command says, a dict a line."""
    return [json.loads(line) for line in run_questions(*arguments).splitlines()]


def run_questions(*arguments: str) -> str:
    """Run a command of the questions at scale."""
    command = [sys.executable, "-m", "benchmarks.questions", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=280, check=True).stdout


def test_an_unknown_path_is_told_with_those_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 2
    assert "unknown: nothing" in run.stderr
