"""`flowgauge rules backtest` of what ClickHouse has: where there is nothing to tell, or too much, it says so."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.captures import captured
from tests.equality.comparison import lines_of
from tests.integration.up_process import RULES, Up, run, running_up, wait_for

from flowgauge.console.ask import Place
from flowgauge.console.past_events import Span
from flowgauge.console.stored_events import FILE, STORED_BYTES_MAX, Stored, stored_events
from flowgauge.processors.replay import Replay
from flowgauge.processors.ruleset import RuleSet, load_rules
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import parse_time_ms, rfc3339
from flowgauge.transport.wall_clock import now_ms

pytestmark = pytest.mark.integration
DAY_MS = 86_400_000
SPAN = Span(parse_time_ms("2026-11-23T00:00:00Z"), parse_time_ms("2026-11-24T00:00:00Z"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    (folder / "events.jsonl").write_bytes(b"\n".join(captured("outage")))
    (folder / "rules").mkdir()
    (folder / "rules" / "rules.yaml").write_text(RULES)
    return folder


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    rules, events = str(folder / "rules"), str(folder / "events.jsonl")
    env = {"FLOWGAUGE_RETENTION_DAYS": "3650"}
    with running_up(folder / "data", "--rules", rules, "--load", events, env=env) as up:
        wait_for(lambda: up.get("/v1/health")["stored"] >= len(captured("outage")), "every event in ClickHouse")
        yield up


def rules_in(folder: Path) -> RuleSet:
    return load_rules([folder / "rules"])


def stored(up: Up, folder: Path, into: Path, *, bytes_max: int = STORED_BYTES_MAX) -> Stored:
    place, rules = Place(up.url, None, folder / "data"), rules_in(folder).rules
    return asyncio.run(stored_events(place, rules, SPAN, {}, into=into, bytes_max=bytes_max))


def test_what_is_stored_tells_what_the_file_tells(up: Up, folder: Path, tmp_path: Path) -> None:
    rules = rules_in(folder)
    of_file = Replay(lambda: captured("outage"), rules, until_ms=SPAN.until_ms).transitions()

    found = stored(up, folder, tmp_path).past.replay(rules, until_ms=SPAN.until_ms).transitions()

    assert sorted(lines_of(found)) == sorted(lines_of(of_file)) != []


def test_events_that_take_more_room_than_is_allowed_are_refused(up: Up, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"take more than 1,000 bytes, gzipped: ask for a later --since"):
        stored(up, folder, tmp_path, bytes_max=1_000)


def test_a_folder_without_room_is_told_with_the_remedy(up: Up, folder: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")

    with pytest.raises(BadInput, match=r"no room for the events .*: ask for a later --since, .*, or set TMPDIR"):
        stored(up, folder, tmp_path)


def test_a_time_of_which_nothing_is_stored_yet_is_refused(up: Up, folder: Path) -> None:
    since = rfc3339(now_ms() + 2 * DAY_MS)

    ended = run("rules", "backtest", str(folder / "rules"), "--since", since, "--url", up.url)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--since: the history ends at 20" in ended.stderr
    assert f"before {since}: nothing can be told of that time; write an earlier --since" in ended.stderr
