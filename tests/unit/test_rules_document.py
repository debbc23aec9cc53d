"""The stories in docs/rules.md come true with the rules that stand before them."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from tests.integration.fenced_blocks import ROOT, Block, blocks

from flowgauge.processors.rule_test import run_rule_test

BLOCKS = blocks(ROOT / "docs" / "rules.md", "yaml")
STORIES = [(before, each) for before, each in pairwise(BLOCKS) if "expect" in yaml.safe_load(each.text)]


@pytest.mark.parametrize(("rules", "story"), STORIES, ids=str)
def test_a_story_comes_true(rules: Block, story: Block, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rules.text, encoding="utf-8")
    (tmp_path / "story.yaml").write_text(story.text, encoding="utf-8")

    result = run_rule_test(tmp_path / "story.yaml")

    assert result.has_passed, list(result.lines())
    assert result.transitions


def test_there_are_stories() -> None:
    assert STORIES
