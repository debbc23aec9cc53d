"""History through everything: the same incidents as an offline replay, however the log is split; and only once."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.up_process import COMMAND, Up, environment, run, running_up, wait_for
from tests.integration.up_process import RULES as RULES_TEXT

from flowgauge.console.history import Entry, entries
from flowgauge.console.loading import Load, LoadStopped, event_lines, load, refuse_half_loaded, shift_of
from flowgauge.processors.ruleset import RuleSet
from flowgauge.schemas.topics import EVENTS, RULES, RecordKind
from flowgauge.transport.local import open_local_log
from flowgauge.transport.wall_clock import now_ms

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

EXTRACTS = sorted((Path(__file__).parents[1] / "data").glob("*-extract.jsonl.gz"), reverse=True)  # by their time
HOUR_MS = 3_600_000
LONG_LINES = 75_000  # takes seconds to load, and milliseconds to be told to stop


@dataclass(frozen=True, slots=True)
class Lived:
    """A history that `up` loaded: where, and the ids of the transitions that it told and that a replay tells."""

    data: Path
    told: list[str]
    expected: list[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with rules and a history that ended two hours ago."""
    return written(tmp_path_factory.mktemp("story"), ended_ago_ms=2 * HOUR_MS)


def written(folder: Path, *, ended_ago_ms: int) -> Path:
    """Write rules and both captures as event lines with their append times into `folder`; return it."""
    (folder / "rules").mkdir()
    (folder / "rules" / "rules.yaml").write_text(RULES_TEXT, encoding="utf-8")
    capture = folder / "capture.jsonl.gz"
    capture.write_bytes(b"".join(extract.read_bytes() for extract in EXTRACTS))
    shift_ms = shift_of(Load(capture, end_ms=now_ms() - ended_ago_ms))
    lines = [
        entry.value[:-1] + f',"_append":{entry.append_ms}}}\n'.encode()
        for entry in entries(event_lines(capture), shift_ms=shift_ms)
        if isinstance(entry, Entry)
    ]
    (folder / "history.jsonl").write_bytes(b"".join(lines))
    return folder


def replayed(story: Path, until_ms: int) -> list[str]:
    found = run(
        "replay",
        str(story / "history.jsonl"),
        "--rules",
        str(story / "rules" / "rules.yaml"),
        "--format",
        "jsonl",
        "--until",
        str(until_ms),
    )
    assert found.returncode == 0, found.stderr
    return sorted(json.loads(line)["transition_id"] for line in found.stdout.splitlines())


def transitions(up: Up) -> list[str]:
    return sorted(
        step["transition_id"]
        for row in up.rows("/v1/incidents", limit="1000")
        for step in up.get(f"/v1/incidents/{row['incident_id']}")["transitions"]
    )


def has_settled(up: Up) -> bool:
    health = up.get("/v1/health")
    return not health["loading"] and health["rules_version"] == 1 and health["detection_unknown_since"] is None


def load_arguments(story: Path, *more: str) -> Sequence[str]:
    return ("--rules", str(story / "rules"), "--load", str(story / "history.jsonl"), *more)


def lived(story: Path, folder: Path, partitions: int) -> Lived:
    """Load the history into a new `up`; return what it told, and what it had to, once everything is stored."""
    both = ("--partitions", str(partitions), "--samples-partitions", str(partitions))
    with running_up(folder / "data", *load_arguments(story, *both)) as up:
        wait_for(lambda: has_settled(up), "the history to pass detection")
        expected = replayed(story, now_ms())
        wait_for(lambda: len(transitions(up)) >= len(expected), "the transitions in ClickHouse")
        found = transitions(up)
        lines = (story / "history.jsonl").read_bytes().count(b"\n")
        wait_for(lambda: up.get("/v1/health")["stored"] == lines, "every event in ClickHouse")
    return Lived(folder / "data", found, expected)


@pytest.fixture(scope="module")
def split(story: Path, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Return what a log of four partitions made of the history; its process has ended."""
    return lived(story, tmp_path_factory.mktemp("split"), 4)


def test_up_finds_what_a_replay_finds_under_the_same_ids_however_the_log_is_split(
    story: Path, split: Lived, tmp_path: Path
) -> None:
    whole = lived(story, tmp_path, 1)

    assert whole.told == whole.expected
    assert split.told == split.expected
    assert min(len(whole.expected), len(split.expected)) >= 8


def test_history_that_is_older_than_the_log_keeps_anything_is_stored_first(tmp_path: Path) -> None:
    """Once it was trimmed as soon as it was loaded: what nobody had begun to read counted as passed by all."""
    story = written(tmp_path, ended_ago_ms=30 * 24 * HOUR_MS)

    with running_up(tmp_path / "data", *load_arguments(story)) as up:
        wait_for(lambda: has_settled(up), "the history to pass detection")

        lines = (story / "history.jsonl").read_bytes().count(b"\n")
        wait_for(lambda: up.get("/v1/health")["stored"] == lines, "every event in ClickHouse")


async def test_the_history_lies_between_its_rules_and_its_end_in_every_partition(split: Lived) -> None:
    log = await open_local_log(split.data, partitions={})
    try:
        for partition in range(4):
            kinds = [record.kind for record in await log.read(EVENTS, partition, 0, 100_000)]
            end = kinds.index(RecordKind.LOADED)
            assert kinds[0] == RecordKind.RULES
            assert set(kinds[1:end]) == {RecordKind.EVENT}
            assert set(kinds[end + 1 :]) <= {RecordKind.PULSE}
    finally:
        await log.close()


def test_history_enters_a_new_log_only(story: Path, split: Lived, tmp_path: Path) -> None:
    arguments = load_arguments(story, "--partitions", "4", "--samples-partitions", "4")

    found = run("up", "--data", str(split.data), "--port", "0", *arguments, cwd=tmp_path)

    assert (found.returncode, found.stderr.count("\n")) == (3, 1)
    assert "history enters a new log only" in found.stderr


def test_a_folder_with_half_a_history_is_refused(story: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "loading").touch()

    found = run("up", "--data", str(data), "--port", "0", cwd=tmp_path)

    assert found.returncode == 3
    assert "a load into" in found.stderr
    assert "remove the folder and load again" in found.stderr


def test_a_load_that_is_stopped_ends_soon_and_says_what_the_next_start_does(story: Path, tmp_path: Path) -> None:
    data, long = tmp_path / "data", tmp_path / "long.jsonl"
    history = (story / "history.jsonl").read_bytes()
    long.write_bytes(history * (1 + LONG_LINES // history.count(b"\n")))
    command = [*COMMAND, "up", "--data", str(data), "--port", "0", "--load", str(long)]

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        while "loading history" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    again = run("up", "--data", str(data), "--port", "0", cwd=tmp_path)

    assert (process.returncode, said) == (
        1,
        f"flowgauge: stopped while it loaded {long}: the next start refuses {data}, remove it and load again\n",
    )
    assert (again.returncode, "remove the folder and load again" in again.stderr) == (3, True)


async def test_a_load_that_is_stopped_before_it_began_leaves_the_log_as_it_was(story: Path, tmp_path: Path) -> None:
    log = await open_local_log(tmp_path, partitions={EVENTS: 1, RULES: 1})
    stop = asyncio.Event()
    stop.set()

    with pytest.raises(LoadStopped, match="before anything was loaded: start it again as it was"):
        await load(log, RuleSet(), Load(story / "history.jsonl"), data=tmp_path, stop=stop)

    assert await log.ends(EVENTS) == {0: 0}
    await log.close()
    refuse_half_loaded(tmp_path)


def test_a_file_without_events_is_bad_input(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n", encoding="utf-8")

    found = run("up", "--data", str(tmp_path / "data"), "--port", "0", "--load", str(empty), cwd=tmp_path)

    assert (found.returncode, found.stderr) == (2, f"flowgauge: {empty}: no events in it\n")


def test_a_bad_line_goes_to_the_dlq_and_its_neighbours_are_stored(story: Path, tmp_path: Path) -> None:
    lines = (story / "history.jsonl").read_bytes().splitlines()[:3]
    file = tmp_path / "some.jsonl"
    file.write_bytes(b"\n".join([lines[0], b"{broken", *lines[1:]]))

    with running_up(tmp_path / "data", "--load", str(file), "--shift-to-now") as up:
        wait_for(lambda: up.get("/v1/health")["stored"] == 3, "the good lines")

    assert '"line": 2' in (tmp_path / "up.err").read_text()
