"""`flowgauge actions list|run`: what there is, what one would do, and doing it once by hand."""

import json
import sys
from pathlib import Path

import pytest

from flowgauge.console.main import main

ACTIONS = """
actions:
  - name: restart
    http:
      url: https://robot.example/T0KEN
      headers: {authorization: {env: ROBOT}}
      body: {flow: "{{ flow }}", run: "{{ runs[0] }}", why: "{{ summary }}"}
    limit: {count: 3, per: 1h}
  - {name: tidy, command: {run: [PROGRAM, --all]}, dry_run: false}
  - name: cancel
    prefect: {api_url: {env: PREFECT}, do: cancel_flow_run, flow_run: "{{ runs[0] }}"}
    idempotent: true
rules:
  - name: orders failing
    for_each: [flow]
    when: {failure_rate: {above: 30%, within: 15m}}
    summary: "{{ flow }} fails"
    actions: [restart, {run: tidy, on: [resolved]}]
    notify: []
"""
PROGRAM = f"""#!{sys.executable}
import os, sys
open(os.path.join(os.path.dirname(sys.argv[0]), "seen"), "w").write(sys.stdin.read())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    (tmp_path / "actions.yaml").write_text(ACTIONS.replace("PROGRAM", str(program)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """Run a command on the file; return its exit code and all that it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["actions", *arguments])
    captured = capsys.readouterr()
    return ended.value.code, captured.out + captured.err


def test_the_list_has_each_action_with_its_bounds_and_who_runs_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del folder

    code, text = said(capsys, "list", "actions.yaml")

    assert (code, "T0KEN" in text) == (0, False)
    assert [" ".join(line.split()) for line in text.splitlines()[2:]] == [
        "restart * http 3 per 1h 10s no no orders failing",
        "tidy * command 10 per 1h 10s no no orders failing",
        "cancel * prefect 10 per 1h 10s yes no",
    ]


def test_a_dry_run_shows_what_would_be_sent_without_secrets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder
    asked = ("actions.yaml", "--rule", "orders failing", "--key", "flow=orders", "--behind", "run-1", "--dry-run")

    code, text = said(capsys, "run", "restart", *asked)

    assert (code, text) == (0, 'POST robot.example\n{"flow":"orders","run":"run-1","why":"orders fails"}\n')
    assert said(capsys, "run", "cancel", *asked) == (0, "Prefect: cancel_flow_run run-1\n")


def test_a_run_by_hand_does_it_where_the_settings_let_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("run", "tidy", "actions.yaml", "--rule", "orders failing", "--key", "flow=orders")

    not_listed = said(capsys, *asked)
    (folder / "flowgauge.toml").write_text(f'[actions]\ncommands = ["{folder / "program"}"]\n')
    done = said(capsys, *asked)
    (folder / "flowgauge.toml").write_text("[actions]\nenabled = false\n")
    switched_off = said(capsys, *asked)

    assert not_listed[0] == 1
    assert "not done: refused: the program is not in actions.commands here" in not_listed[1]
    assert (done[0], "\ndone (" in done[1]) == (0, True)
    assert json.loads((folder / "seen").read_text())["data"]["key"] == {"flow": "orders"}
    assert (switched_off[0], "actions.enabled = false" in switched_off[1]) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("restrt", "--rule", "orders failing"), "no action is called 'restrt': there are cancel, restart, tidy"),
        (("restart", "--rule", "x"), "no rule is called 'x': there are orders failing"),
        (("restart", "--rule", "orders failing", "--key", "flw=a"), "flw: the key of this rule has flow"),
        (("restart", "--rule", "orders failing", "--key", "flow"), "expected FIELD=VALUE"),
        (("cancel", "--rule", "orders failing"), "cancel: its flow run is empty here"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_sentence(
    arguments: tuple[str, ...], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del folder
    name, *rest = arguments

    code, text = said(capsys, "run", name, "actions.yaml", *rest, "--dry-run")

    assert (code, told in text) == (2, True)
