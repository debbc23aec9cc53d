"""JUnit XML of `rules test`: what a CI system reads in it, whatever names and texts there are."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.junit import Case, junit_xml
from flowgauge.console.main import main

RULES = "rules:\n  - {name: each, match: {state: failed}, when: {event: {}}}\n"
STORY = "rules: [rules.yaml]\nevents:\n  - {at: 1s, flow: etl, state: failed}\nexpect: [EXPECT]\n"
texts = st.text(st.characters(codec=None, categories=None), max_size=30)


@given(st.lists(st.builds(Case, texts, st.floats(0, 1e6), texts, texts), max_size=4))
def test_any_text_makes_a_report_that_is_well_formed_and_counts_right(cases: list[Case]) -> None:
    root = ET.fromstring(junit_xml(cases))  # noqa: S314  # our own

    (suite,) = root
    assert [len(suite), len(suite.findall("*/failure")), len(suite.findall("*/error"))] == [
        int(suite.attrib[name]) for name in ("tests", "failures", "errors")
    ]
    assert suite.attrib["tests"] == root.attrib["tests"] == str(len(cases))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_text_that_xml_can_hold_is_read_as_it_was(text: str) -> None:
    (case,) = ET.fromstring(junit_xml([Case(text, 0, failure=text)]))[0]  # noqa: S314  # our own

    assert (case.attrib["name"], case[0].attrib["message"], case[0].text) == (text, text, text)


def test_what_xml_cannot_hold_stands_as_its_escape() -> None:
    (case,) = ET.fromstring(junit_xml([Case("a\x1b\ud800.yaml", 0, error="one\x00\ntwo\r")]))[0]  # noqa: S314  # our own

    assert case.attrib["name"] == "a\\x1b\\ud800.yaml"
    assert (case[0].attrib["message"], case[0].text) == ("one\\x00", "one\\x00\ntwo\\r")


def test_a_ci_system_is_told_which_file_passed_failed_or_has_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(RULES)
    for name, expect in (("good", "{at: 1s, rule: each, to: firing}"), ("bad", ""), ("broken", "{at: 1s, rule: no}")):
        Path(f"{name}.yaml").write_text(STORY.replace("EXPECT", expect))

    with pytest.raises(SystemExit) as ended:
        main(["rules", "test", "good.yaml", "bad.yaml", "broken.yaml", "--junit", "report.xml"])

    root = ET.parse("report.xml").getroot()  # noqa: S314  # our own
    cases = {case.attrib["name"]: [(each.tag, each.text) for each in case] for case in root.iter("testcase")}
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("3", "1", "1")
    assert cases["good.yaml"] == []
    ((tag, text),) = cases["bad.yaml"]
    assert (tag, text) == ("failure", "\n".join(line[5:] for line in said.out.splitlines()[2:]))
    assert cases["broken.yaml"] == [("error", said.err.strip())]


def test_a_report_that_cannot_be_written_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    story = tmp_path / "story.yaml"
    story.write_text(STORY.replace("EXPECT", "{at: 1s, rule: each, to: firing}"))

    with pytest.raises(SystemExit) as ended:
        main(["rules", "test", str(story), "--junit", str(tmp_path / "no" / "report.xml")])

    assert ended.value.code == 3
    assert "report.xml cannot be written: No such file or directory" in capsys.readouterr().err
