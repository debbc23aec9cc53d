"""`rules test`: every transition must be expected, and every expected one must come."""

from pathlib import Path

import pytest

from flowgauge.processors.rule_test import run_rule_test
from flowgauge.schemas.errors import InvalidRules

RULES = """
rules:
  - name: failing
    for_each: [flow]
    when: {failure_rate: {above: 50%, within: 1m, min_samples: 3}}
    no_data: resolve
"""
STORY = """
rules: [rules.yaml]
events:
  - {at: 10s, flow: etl, state: completed}
  - {at: 20s, flow: etl, state: failed, times: 2, every: 5s}
until: 5m
expect:
"""


def written(folder: Path, expectations: str) -> Path:
    (folder / "rules.yaml").write_text(RULES)
    path = folder / "story.yaml"
    path.write_text(STORY + expectations)
    return path


def test_a_story_that_goes_as_expected_passes(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
  - {at: 26s, rule: failing, key: {flow: etl}, to: firing, samples: 3, value: 0.6666667}
  - {at: 1m26s, rule: failing, key: {flow: etl}, to: resolved}
""",
    )

    result = run_rule_test(path)

    assert result.has_passed


def test_what_is_missing_and_what_nobody_expected_are_both_told(tmp_path: Path) -> None:
    path = written(tmp_path, "  - {at: 30s, rule: failing, to: firing}\n")

    result = run_rule_test(path)

    assert not result.has_passed
    assert result.missing == ("at 30s (2026-01-01T00:00:30+00:00) failing to firing",)
    assert [line.split(":")[0] for line in result.unexpected] == ["at 26s (2026-01-01T00", "at 1m26s (2026-01-01T00"]


def test_a_mistake_in_the_story_is_told_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, "  - {at: soon, rule: failing, to: firing}\n")

    with pytest.raises(InvalidRules, match=r"story\.yaml:8:6: expect\[0\]\.at: expected a duration"):
        run_rule_test(path)
