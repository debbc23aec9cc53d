"""docs/backtest.md shows what the commands really print."""

from pathlib import Path

import pytest
from tests.captures import captured
from tests.integration.fenced_blocks import ROOT, Block, blocks

from flowgauge.console.main import main

DOCUMENT = ROOT / "docs" / "backtest.md"


def block(begin: str) -> Block:
    """Return the only block of output that begins so."""
    (found,) = (each for each in blocks(DOCUMENT, "") if each.text.startswith(begin))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (rules,) = blocks(ROOT / "README.md", "yaml")
    (tmp_path / "rules.yaml").write_text(rules.text)
    (tmp_path / "old.yaml").write_text(rules.text.replace("20%", "35%"))
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(captured("outage")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().out


UNTIL = ("--events", "events.jsonl", "--until", "2026-11-23T10:30:00Z")


def test_the_backtest_prints_what_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder

    assert printed(capsys, "rules", "backtest", "rules.yaml", *UNTIL) == block("rule ").text


def test_an_explanation_is_what_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder
    asked = ("orders-sync failing", "flow=orders-sync", "--rules", "rules.yaml", "--events", "events.jsonl")

    said = printed(capsys, "rules", "explain", *asked, "--at", "2026-11-23T09:43:35Z", "--rows", "3")
    assert said == block("2026-").text


def test_a_plan_is_what_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder

    assert printed(capsys, "rules", "plan", "rules.yaml", "--against", "old.yaml") == block("~ ").text
