"""JUnit XML of rule tests, as CI systems read it: one suite, a case for each file. Pure.

    <testsuites><testsuite><testcase name="story.yaml">
      <failure message="story.yaml:11:5: came with another at">every line of the diff</failure>

A test that does not end as expected is a failure; a file with a mistake is an error.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

SUITE = "flowgauge rules test"
CLASS = "flowgauge.rules"  # what CI systems group cases by
# What XML 1.0 cannot hold, not even escaped, and \r, which its readers take for a line break.
_NO_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """How one test file ended: both texts are empty where it passed."""

    file: str
    seconds: float
    failure: str = ""  # what came against what was expected
    error: str = ""  # mistakes in the file


def junit_xml(cases: Sequence[Case]) -> bytes:
    """Return the report, UTF-8; a character that XML cannot hold stands as its escape."""
    root = ET.Element("testsuites", _counts(cases))
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **_counts(cases)})
    for case in cases:
        name = _text(case.file)
        element = ET.SubElement(
            suite, "testcase", {"classname": CLASS, "name": name, "file": name, "time": f"{case.seconds:.3f}"}
        )
        for tag, said in (("failure", case.failure), ("error", case.error)):
            if said:
                text = _text(said)
                ET.SubElement(element, tag, {"message": text.partition("\n")[0]}).text = text
    ET.indent(root)
    report: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return report + b"\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failure) for case in cases)),
        "errors": str(sum(bool(case.error) for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _text(text: str) -> str:
    return _NO_XML.sub(lambda char: char[0].encode("unicode_escape", "surrogatepass").decode(), text)
