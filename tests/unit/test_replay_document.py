"""docs/replay.md shows what `replay` and `rules test` really print."""

from pathlib import Path

import pytest
from tests.captures import captured
from tests.integration.fenced_blocks import ROOT, Block, blocks

from flowgauge.console.main import main

DOCUMENT = ROOT / "docs" / "replay.md"


def block(language: str, begin: str = "") -> Block:
    """Return the only block of a language that begins so."""
    (found,) = (each for each in blocks(DOCUMENT, language) if each.text.startswith(begin))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (rules,) = blocks(ROOT / "README.md", "yaml")
    (tmp_path / "rules.yaml").write_text(rules.text)
    (tmp_path / "story.yaml").write_text(block("yaml").text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().out


def test_the_table_is_what_the_replay_of_the_capture_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "events.jsonl").write_bytes(b"\n".join(captured("outage")))

    said = printed(capsys, "replay", "events.jsonl", "--rules", "rules.yaml", "--until", "2026-11-23T10:30:00Z")
    assert said == block("", "at ").text
    assert said.splitlines()[-1].split()[4:6] == ["recovering", "resolved"]  # the first rule people copy ends by itself


def test_the_event_is_one_that_a_replay_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rules.yaml").write_text("rules: [{name: each, match: {flow: orders-sync}, when: {event: {}}}]")
    (folder / "events.jsonl").write_text(block("json").text.replace("\n", " "))

    assert "2026-11-23T09:41:10.000Z" in printed(capsys, "replay", "events.jsonl", "--rules", "rules.yaml")


def test_the_story_comes_true_as_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder

    assert printed(capsys, "rules", "test", "story.yaml") == block("", "ok ").text


def test_a_story_that_fails_is_told_as_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = (folder / "story.yaml").read_text()
    (folder / "story.yaml").write_text(story.replace("{at: 16m35s", "{at: 17m"))

    assert printed(capsys, "rules", "test", "story.yaml") == block("", "FAIL ").text
