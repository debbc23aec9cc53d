"""The firings of Prefect's engine and of the `prefect` kind for one scenario, side by side."""

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from tests.differential.scenarios import Scenario
from tests.property.detection import Line, in_order

from flowgauge.processors.prefect_automations import trigger_of
from flowgauge.processors.ruleset import RuleSet, rules_of
from flowgauge.producers.prefect.mapping import Unmappable, map_event
from flowgauge.schemas.topics import RecordKind
from flowgauge.schemas.transition import Transition
from flowgauge.schemas.yaml_places import Document
from flowgauge.transport.log import Record

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".cache" / "prefect-venv"
ENGINE = Path(__file__).with_name("engine.py")
START_S_MAX = 300  # its first start compiles all of Prefect


def needs_prefect(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs Prefect's engine."""
    for mark in (
        pytest.mark.prefect,
        pytest.mark.integration,
        pytest.mark.timeout(START_S_MAX),
        pytest.mark.skipif(not (VENV / "bin" / "prefect").exists(), reason="no Prefect: run .ci/peer prefect"),
    ):
        test = mark(test)
    return test


class Firing(NamedTuple):
    """When which automation fired, for which values of `for_each` in the order of labels, and the event behind it."""

    name: str
    at_ms: int
    key: tuple[str, ...]
    event: str


@dataclass(frozen=True)
class Difference:
    """What one side has and the other has not."""

    only_prefect: Sequence[Firing]
    only_flowgauge: Sequence[Firing]


class PrefectEngine:
    """Prefect's engine in a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def firings(self, scenario: Scenario) -> list[Firing]:
        """Return what the engine fires, in its order."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(scenario.as_json()) + b"\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert isinstance(answer, list), answer
        return msgspec.convert(answer, list[Firing])

    def wait_until_ready(self) -> None:
        """Return once its tables are made; raise AssertionError where it ends instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == b"ready\n", line

    def _answer(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "Prefect's engine has ended"
        answer: object = msgspec.json.decode(line)
        if not isinstance(answer, list):
            return answer
        return [
            [item["name"], item["at_ms"], item["key"], item["event"]] for item in cast("list[dict[str, Any]]", answer)
        ]


@contextmanager
def running_engine() -> Generator[PrefectEngine]:
    """Run Prefect's engine with a database in memory."""
    with tempfile.TemporaryDirectory(prefix="flowgauge-prefect-") as home:
        settings = {
            "PREFECT_HOME": home,
            "PREFECT_API_DATABASE_CONNECTION_URL": (
                "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true&check_same_thread=false"
            ),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PYTHONHASHSEED": "0",
        }
        command = [str(VENV / "bin" / "python"), str(ENGINE)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **settings}
        ) as process:
            try:
                engine = PrefectEngine(process)
                engine.wait_until_ready()
                yield engine
            finally:
                process.terminate()


def ruleset_of(automations: Sequence[Mapping[str, Any]]) -> RuleSet:
    """Return the rules that automations are imported as."""
    rules = [{"name": each["name"], "when": {"prefect": trigger_of(each["trigger"])}} for each in automations]
    return RuleSet(rules_of([Document("automations", {"rules": rules}, {})]).rules, 1)


def records_of(scenario: Scenario) -> list[Record]:
    """Return the events of a scenario as records of a log, stamped when they arrive."""
    found: list[Record] = []
    for offset, (arrives_ms, event) in enumerate(scenario.events):
        mapped = map_event(event)
        assert not isinstance(mapped, Unmappable), mapped
        value = msgspec.json.encode(mapped | {"tenant": "t"})
        found.append(Record(offset, arrives_ms, RecordKind.EVENT, "", value))
    return found


def transitions_of(scenario: Scenario, ruleset: RuleSet) -> list[Transition]:
    """Return the transitions of a rule set for the events of a scenario."""
    line = Line(ruleset)
    line.feed(0, records_of(scenario))
    line.end(scenario.until_ms)
    return in_order(line.transitions)


def firings_of(scenario: Scenario) -> list[Firing]:
    """Return what the `prefect` kind fires."""
    found: list[Firing] = []
    for item in transitions_of(scenario, ruleset_of(scenario.automations)):
        *key, event = item.key.values()
        found.append(Firing(item.rule, item.at_ms, tuple(key), event))
    return found


def difference(engine: PrefectEngine, scenario: Scenario) -> Difference | None:
    """Return where both sides differ, None where they fire alike."""
    theirs, ours = Counter(engine.firings(scenario)), Counter(firings_of(scenario))
    if theirs == ours:
        return None
    return Difference(sorted((theirs - ours).elements()), sorted((ours - theirs).elements()))
