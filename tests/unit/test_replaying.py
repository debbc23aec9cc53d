"""`flowgauge replay` on files that are not what it reads: one clear line, an exit code, and never a flood."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from flowgauge.console.main import main
from flowgauge.console.past_events import UNREADABLE_SHOWN_MAX

CAPTURE = Path(__file__).parents[1] / "data" / "prefect-outage-extract.jsonl.gz"
RULES = "rules: [{name: each, for_each: [flow], when: {event: {}}}]"


def event(number: int) -> str:
    return json.dumps(
        {
            "id": f"00000000-0000-0000-0000-{number:012}",
            "occurred": f"2026-11-23T09:00:{number:02}Z",
            "event": "flow-run.failed",
            "kind": "flow-run",
            "flow": "etl",
            "resource": {"id": "r"},
        }
    )


class Ended:
    """One `flowgauge replay`, run to its end."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], events: Path | str, *more: str) -> None:
        (folder / "rules.yaml").write_text(RULES)
        if isinstance(events, str):
            (folder / "events.jsonl").write_text(events)
            events = folder / "events.jsonl"
        with pytest.raises(SystemExit) as ended:
            main(["replay", str(events), "--rules", str(folder / "rules.yaml"), *more])
        said = capsys.readouterr()
        self.code = ended.value.code
        self.out = said.out.splitlines()
        self.err = said.err.replace(f"{folder}/", "").splitlines()


def test_a_readable_file_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(tmp_path, capsys, f"{event(1)}\n{event(2)}\n", "--format", "jsonl")

    assert ended.code == 0
    assert [json.loads(line)["at"] for line in ended.out] == ["2026-11-23T09:00:01.000Z", "2026-11-23T09:00:02.000Z"]
    assert ended.err == ["2 lines, 0 skipped, 0 invalid events, 2 samples, 0 late, 0 skewed, 2 transitions"]


def test_rules_may_be_a_folder_of_files_as_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules").mkdir()
    for number in (1, 2):
        (tmp_path / "rules" / f"{number}.yaml").write_text(RULES.replace("name: each", f"name: rule {number}"))
    events = tmp_path / "events.jsonl"
    events.write_text(event(1))
    (tmp_path / "empty").mkdir()

    codes: list[object] = []
    for folder in ("rules", "empty"):
        with pytest.raises(SystemExit) as ended:
            main(["replay", str(events), "--rules", str(tmp_path / folder), "--format", "jsonl"])
        codes.append(ended.value.code)

    said = capsys.readouterr()
    assert codes == [0, 2]
    assert [json.loads(line)["rule"] for line in said.out.splitlines()] == ["rule 1", "rule 2"]
    assert f"no rule files in {tmp_path / 'empty'}: expected NAME.yaml files" in said.err


def test_a_capture_of_prefect_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, each of its lines was complained of, and it ended as if all were well."""
    ended = Ended(tmp_path, capsys, CAPTURE)

    assert (ended.code, ended.out) == (2, [])
    assert ended.err == [
        (
            f"flowgauge: {CAPTURE}: a capture of a Prefect server, not event lines: convert it first "
            f"(flowgauge prefect convert {CAPTURE} > events.jsonl)"
        )
    ]


@pytest.mark.parametrize("form", ["jsonl", "table"])
def test_a_file_in_which_no_line_can_be_read_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    ended = Ended(tmp_path, capsys, "at,flow\n" * 1_000, "--format", form)

    assert (ended.code, ended.out) == (2, [])
    assert ended.err == [
        ("flowgauge: events.jsonl: 1,000 lines and no event; line 1: JSON is malformed: invalid character (byte 0)")
    ]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_lines_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    ended = Ended(tmp_path, capsys, text)

    assert (ended.code, ended.out, ended.err) == (2, [], ["flowgauge: events.jsonl: no lines in it"])


def test_some_unreadable_lines_are_told_the_first_ones_by_number_and_end_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Ended(tmp_path, capsys, f"{event(1)}\n" + "?\n" * 30)

    assert ended.code == 1
    assert len(ended.out) == 3
    assert [line.split(": ")[0] for line in ended.err[:-2]] == [
        f"events.jsonl:{number}" for number in range(2, 2 + UNREADABLE_SHOWN_MAX)
    ]
    assert ended.err[-2:] == [
        "events.jsonl: 20 more lines cannot be read",
        "31 lines, 30 skipped, 0 invalid events, 1 sample, 0 late, 0 skewed, 1 transition",
    ]


def test_of_events_that_are_none_the_first_is_told_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Ended(tmp_path, capsys, re.sub(r'"id": ?"[^"]+"', '"id":"e1"', event(1), count=1) + "\n")

    assert ended.err[-1] == (
        "1 line, 0 skipped, 1 invalid event (the first: wrong field: Invalid UUID - at `$.id`), "
        "0 samples, 0 late, 0 skewed, 0 transitions"
    )


def test_a_file_that_breaks_off_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(f"{event(1)}\n".encode() * 100)[:-12])

    ended = Ended(tmp_path, capsys, broken)

    assert ended.code == 2
    assert ended.err[0].startswith("flowgauge: broken.jsonl.gz: after line 99: the gzip stream is broken")


def test_a_pipe_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")

    ended = Ended(tmp_path, capsys, tmp_path / "pipe")

    assert (ended.code, ended.out) == (2, [])
    assert ended.err == ["flowgauge: pipe: no regular file, and it is read more than once: write it to a file first"]


def test_an_end_that_is_no_time_is_told_by_its_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(tmp_path, capsys, f"{event(1)}\n", "--until", "tomorrow")

    assert ended.code == 2
    assert ended.err[0].startswith("flowgauge: --until: expected an RFC 3339 time")
