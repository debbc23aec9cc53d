"""The help of every command, as people see it: read in review, updated with FLOWGAUGE_UPDATE_GOLDEN=1."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flowgauge.console.main import flowgauge, main
from flowgauge.processors.ruleset import load_rules

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(flowgauge)), ids="-".join)
def test_the_help_of_a_command_is_as_it_was_read_in_review(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    golden = GOLDEN / f"{'-'.join(('flowgauge', *path))}.txt"

    with pytest.raises(SystemExit) as ended:
        main([*path, "--help"])

    text = capsys.readouterr().out
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert ended.value.code == 0
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_help_is_left_of_a_command_that_is_gone() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == {
        "-".join(("flowgauge", *path)) for path in commands(flowgauge)
    }


def test_an_unknown_command_ends_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tail"])

    assert ended.value.code == 2
    assert "No such command 'tail'" in capsys.readouterr().err


def test_broken_rules_end_with_2_and_the_place_of_each_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n  - name: a\n    when: {failure_rate: {above: 200%, within: 10m}}\n", encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["rules", "validate", str(file)])

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{file}:3:")


RULE = "  - {name: a, when: {event: {}}, notify: [ops]}\n"
CHANNEL = "  - {name: NAME, webhook: {url: 'https://a.example/', secret: {env: NOT_SET_ANYWHERE}}}\n"
UNKNOWN = "rules.yaml:2:43: rules[0].notify[0]: no channel is called 'ops': nobody would be told"
NO_SECRET = (
    "warning: rules.yaml:4:54: channels[0].webhook.secret: environment variable NOT_SET_ANYWHERE is not set or empty"
    " (set it where flowgauge is started)\n"
)
REFUSED = (
    "warning: rules.yaml:4:27: channels[0].webhook.url: no message may go there: loopback address"
    ' (allow it by egress.allow = ["localhost:443"] in flowgauge.toml)\n'
)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (
            f"rules:\n{RULE}",
            0,
            (
                "1 rule and 0 channels: fine, but see the 1 warning\n",
                f"warning: {UNKNOWN} (define it under `channels:`, in this file or beside it)\n",
            ),
        ),
        (
            f"rules:\n{RULE}channels:\n{CHANNEL.replace('NAME', 'opps')}",
            2,
            ("", f"{UNKNOWN} (did you mean 'opps'?)\n"),
        ),
        (
            f"rules:\n{RULE}channels:\n{CHANNEL.replace('NAME', 'ops')}",
            0,
            ("1 rule and 1 channel: fine, but see the 1 warning\n", NO_SECRET),
        ),
        (
            f"rules:\n{RULE}channels:\n{CHANNEL.replace('NAME', 'ops').replace('https://a.example', 'https://localhost')}",
            0,
            ("1 rule and 1 channel: fine, but see the 2 warnings\n", f"{NO_SECRET}{REFUSED}"),
        ),
        ("rules: []\n", 0, ("0 rules and 0 channels: fine\n", "")),
    ],
    ids=["channels elsewhere", "unknown channel", "no secret", "address refused", "nothing"],
)
def test_who_would_not_be_told_is_a_mistake_where_it_must_be_and_else_a_warning(
    text: str,
    code: int,
    said: tuple[str, str],
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["rules", "validate", "rules.yaml"])

    assert (ended.value.code, capsys.readouterr()) == (code, said)


def test_a_level_that_no_log_has_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["metrics", "logs", "--level", "LOUD"])

    assert ended.value.code == 2
    assert "Invalid value for '--level': 'LOUD' is not one of" in capsys.readouterr().err


def test_the_command_alone_imports_no_role() -> None:
    """The light install has neither ClickHouse nor pydantic; finding a command must not need them."""
    code = (
        "import sys; import flowgauge.console.main; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('pydantic', 'chdb', 'starlette', 'uvicorn')))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_validate_notes_how_few_runs_can_make_a_guarded_rule_fire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rule = "{name: a, when: {failure_rate: {above: 80%, within: 1m, guard: wilson}}}"
    Path("rules.yaml").write_text(f"rules:\n  - {rule}\n", encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["rules", "validate", "rules.yaml"])

    noted = "fewer than 16 finished runs in the window can never make it fire"
    assert ended.value.code == 0
    assert capsys.readouterr().out == (
        f"note: rules.yaml:2:61: rules[0].when.failure_rate.guard: {noted}\n1 rule and 0 channels: fine\n"
    )


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("validate", ()),
        ("lint", ()),
        ("apply", ("--url", "http://127.0.0.1:1")),
        ("apply", ("--config", "kafka.toml")),
    ],
    ids=["validate", "lint", "apply", "apply to Kafka"],
)
def test_a_schedule_whose_years_are_over_is_refused_and_a_set_in_force_keeps_it(
    command: str,
    options: tuple[str, ...],
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kafka.toml").write_text('kafka.bootstrap = "127.0.0.1:1"\n', encoding="utf-8")
    rule = '{name: a, when: {missed: {cron: "0 12 1 1 * 0 2020-2021", dialect: airflow, grace: 5m}}}'
    Path("rules.yaml").write_text(f"rules:\n  - {rule}\n", encoding="utf-8")

    with pytest.raises(SystemExit) as ended:
        main(["rules", command, "rules.yaml", *options])

    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "rules.yaml:2:31: rules[0].when.missed.cron: nothing comes after 2021-01-01T12:00:00.000Z: it never fires "
        "(write years to come, or remove the rule)\n"
    )
    assert len(load_rules([Path("rules.yaml")]).rules) == 1


def test_validate_tells_every_mistake_of_a_file_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(
        """\
rules:
  - name: one
    no_data: never
    summary: "{{ flow"
    when: {failure_rate: {above: 20%, within: 10m, min_samples: few, clear_below: 30%}}
    notify: [opps]
  - name: one
    for: 1m
    when: {event: {}}
    notify: [nobody]
channels:
  - {name: ops, webhook: {url: not a url, secret: {env: HERE}}}
""",
        encoding="utf-8",
    )

    with pytest.raises(SystemExit) as ended:
        main(["rules", "validate", "rules.yaml"])

    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert [line.split(": ")[1] for line in lines] == [
        "rules[0].no_data",
        "rules[0].summary",
        "rules[0].when.failure_rate.min_samples",
        "rules[0].when.failure_rate.clear_below",
        "rules[0].notify[0]",
        "rules[1].name",
        "rules[1].for",
        "rules[1].notify[0]",
        "channels[0].webhook.url",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"- name: a\n",
            "rules.yaml:1:1: expected `rules:` or `channels:` at the top (write rules: and a list below it)",
        ),
        (b"\x89PNG\xff", "rules.yaml: not UTF-8 text (name a readable UTF-8 YAML file)"),
    ],
)
def test_a_file_that_is_no_rule_file_gets_one_message(
    content: bytes,
    said: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_bytes(content)

    with pytest.raises(SystemExit) as ended:
        main(["rules", "validate", "rules.yaml"])

    assert (ended.value.code, capsys.readouterr().err) == (2, f"{said}\n")


@pytest.mark.parametrize(("command", "options"), [("apply", ("--url", "http://127.0.0.1:1")), ("validate", ())])
def test_rules_take_a_folder_and_say_what_an_empty_one_lacks(
    command: str, options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()

    with pytest.raises(SystemExit) as ended:
        main(["rules", command, str(folder), *options])

    said = f"flowgauge: no rule files in {folder}: expected NAME.yaml files; a file with `rules: []` ends all rules\n"
    assert (ended.value.code, capsys.readouterr().err) == (2, said)
