"""The benchmarks run and say what they promise to say. What they measure is for people to judge."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_the_paths_on_kafka_run_on_a_broker_that_is_there(kafka: str) -> None:
    names = ["kafka-append", "kafka-gateway", "kafka-sink"]

    command = [sys.executable, "-m", "benchmarks", "--events", "4000", *names]
    env = {**os.environ, "FLOWGAUGE_TEST_KAFKA": kafka}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=True, env=env)

    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(line["name"], line["events"]) for line in lines] == [(name, 4_000) for name in names]


@pytest.mark.timeout(600)
def test_a_steady_run_says_what_each_process_costs_and_that_nothing_is_missing(kafka: str) -> None:
    command = [sys.executable, "-m", "benchmarks.steady", "--rate", "300", "--minutes", "0.2", "--matchers", "2"]
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


def test_an_unknown_path_is_told_with_those_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert run.returncode == 2
    assert "unknown: nothing" in run.stderr
