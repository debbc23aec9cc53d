"""Lint: what each check finds in its file of tests/golden/lint/, and what it leaves alone there."""

import json
import os
from pathlib import Path

import pytest
from tests.integration.fenced_blocks import ROOT, blocks

from flowgauge.console.main import main
from flowgauge.processors.lint import CHECKS, Finding, lint
from flowgauge.processors.ruleset import rules_of
from flowgauge.sinks.webhooks.kinds import KINDS as CHANNEL_KINDS
from flowgauge.transport.yaml_files import read_documents

GOLDEN = ROOT / "tests" / "golden" / "lint"
UPDATES = os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1"
DOCUMENT = ROOT / "docs" / "lint.md"
EXAMPLES = (ROOT / "console" / "flowgauge" / "console" / "demo" / "rules.yaml", ROOT / "compose" / "rules")


def found_in(*paths: Path) -> list[Finding]:
    documents, problems = read_documents(paths)
    return lint(documents, rules_of(documents, problems))


def names_in(path: Path) -> set[str]:
    (document,), _ = read_documents([path])
    return {rule["name"] for rule in document.data["rules"]}


@pytest.mark.parametrize("check", CHECKS)
def test_each_finding_is_told_with_its_place_and_remedy(check: str) -> None:
    file = GOLDEN / f"{check}.yaml"

    told = "".join(f"{finding}\n" for finding in found_in(file) if finding.check == check)
    told = told.replace(str(file), file.name)
    if UPDATES:
        file.with_suffix(".txt").write_text(told)
    assert told == file.with_suffix(".txt").read_text()


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_finds_all_but_what_is_fine(check: str) -> None:
    file = GOLDEN / f"{check}.yaml"
    found = [finding for finding in found_in(file) if finding.check == check]

    assert {finding.rule for finding in found} == {name for name in names_in(file) if not name.startswith("fine")}


@pytest.mark.parametrize("check", CHECKS)
def test_no_other_check_complains_of_what_is_fine(check: str) -> None:
    assert [each for each in found_in(GOLDEN / f"{check}.yaml") if each.rule.startswith("fine")] == []


def test_each_check_has_its_files_and_its_line_in_the_reference() -> None:
    rows = [line.split("`")[1] for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]

    assert {file.name for file in GOLDEN.iterdir()} == {f"{check}.{end}" for check in CHECKS for end in ("yaml", "txt")}
    assert rows == list(CHECKS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_rules_that_people_copy_from_files_are_clean(path: Path) -> None:
    assert found_in(path) == []


def test_the_rules_that_people_copy_from_documents_are_clean(tmp_path: Path) -> None:
    documents = [ROOT / "README.md", *(each for each in sorted((ROOT / "docs").glob("*.md")) if each != DOCUMENT)]
    texts = [block.text for document in documents for block in blocks(document, "yaml")]
    for number, text in enumerate(text for text in texts if "rules:\n" in text):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")

    files = sorted(tmp_path.iterdir())

    assert len(files) >= 10
    assert [str(finding) for file in files for finding in found_in(file)] == []


def test_a_finding_has_the_line_of_its_own_file(tmp_path: Path) -> None:
    for name, rule in (("a", "one"), ("b", "two")):
        (tmp_path / f"{name}.yaml").write_text(
            f"channels: []\nrules:\n  - {{name: {rule}, when: {{event: {{}}}}, notify: []}}\n"
        )

    first, *others = found_in(tmp_path)

    assert (first.check, first.problem.file, first.problem.line) == ("every-event", str(tmp_path / "a.yaml"), 3)
    assert [(each.check, each.problem.file, each.problem.line) for each in others] == [
        ("duplicate", str(tmp_path / "b.yaml"), 3),
        ("every-event", str(tmp_path / "b.yaml"), 3),
    ]


# ── the command ──


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (example,) = blocks(DOCUMENT, "yaml")
    (tmp_path / "rules.yaml").write_text(example.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def linted(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["rules", "lint", *arguments])
    return ended.value.code


def test_the_example_of_the_reference_is_told_as_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder
    (shown,) = blocks(DOCUMENT, "")

    assert linted("rules.yaml") == 1
    assert capsys.readouterr().out == shown.text


def test_programs_get_every_field_of_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = (linted("rules.yaml", "--format", "json"), linted("rules.yaml"))
    written, _, lines = capsys.readouterr().out.partition("\n}\n")
    findings = json.loads(written + "}")["findings"]

    assert codes == (1, 1)
    assert [
        "{file}:{line}:{column}: {rule}: {message} ({remedy}) [{check}]".format(**each) for each in findings
    ] == lines.splitlines()
    assert {each["field"].partition(".")[0] for each in findings} == {"rules[0]", "rules[1]"}


def test_nothing_found_ends_with_0_and_says_how_much_was_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "good.yaml").write_text("rules:\n  - {name: a, when: {late: {after: 5m}}}\n")

    codes = (linted("good.yaml"), linted("good.yaml", "--format", "json"))

    assert codes == (0, 0)
    assert capsys.readouterr().out == '1 rule: nothing found\n{\n  "findings": []\n}\n'


def test_a_check_can_be_left_out_and_must_have_a_name_that_there_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del folder
    all_checks = [argument for check in CHECKS for argument in ("--skip", check)]

    assert (linted("rules.yaml", *all_checks), linted("rules.yaml", "--skip", "wavring")) == (0, 2)
    assert "no check is called 'wavring': cannot-fire, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules:\n  - name: a\n", "broken.yaml:2:5: rules[0].when: this field is required (add `when:`)\n"),
        ("channels:\n  - name: a\n", f"broken.yaml:2:5: channels[0]: expected one of: {', '.join(CHANNEL_KINDS)}\n"),
    ],
    ids=["rule", "channel"],
)
def test_a_file_with_a_mistake_ends_with_2_and_the_mistake(
    text: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.yaml").write_text(text)

    assert linted("broken.yaml") == 2
    assert capsys.readouterr() == ("", said)


def test_the_name_of_a_rule_cannot_forge_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.yaml").write_text('rules:\n  - {name: "a\\n\\e[31mb", when: {event: {}}, notify: []}\n')

    linted("odd.yaml")

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("odd.yaml:2:33: a  [31mb: each event")
