"""`flowgauge schema` on a server that the settings name, as an operator runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.clickhouse_front import Front

from flowgauge.sinks.clickhouse.schema import schema_files

NAMES = [file.name for file in schema_files()]


def environment_of(**variables: str) -> dict[str, str]:
    """Return the environment of a command that finds flowgauge and no settings but `variables`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOWGAUGE_")}
    return environ | {"PYTHONPATH": os.pathsep.join(sys.path), **variables}


def flowgauge(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the command in `folder`; return exit code, output and errors."""
    main = [sys.executable, "-c", "from flowgauge.console.main import main; main()"]
    ended = subprocess.run(
        [*main, *arguments],
        cwd=folder,
        env=environment_of(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return ended.returncode, ended.stdout, ended.stderr


def write_settings(folder: Path, front: Front, database: str) -> None:
    (folder / "flowgauge.toml").write_text(
        f'[clickhouse]\nurl = "{front.url}"\nuser = "{front.user}"\npassword = {{ env = "SECRET" }}\n'
        f'database = "{database}"\n'
    )


def test_the_schema_is_checked_and_applied_on_the_server(front: Front, tmp_path: Path) -> None:
    write_settings(tmp_path, front, "commanded")
    all_missing = "".join(f"missing {name}\n" for name in NAMES)
    all_applied = "".join(f"applied {name}\n" for name in NAMES)

    def run(what: str) -> tuple[int, str, str]:
        return flowgauge(tmp_path, "schema", what, SECRET=front.password)

    assert run("check") == (1, all_missing, "")
    assert run("apply") == (0, all_applied, "")
    assert run("check") == (0, "the tables are up to date\n", "")
    assert run("apply") == (0, "the tables are up to date\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["flowgauge.toml"]


def test_a_plan_is_statements_for_the_database_of_the_settings(front: Front, tmp_path: Path) -> None:
    write_settings(tmp_path, front, "planned")

    code, planned, _ = flowgauge(tmp_path, "schema", "plan", SECRET=front.password)

    assert (code, planned.count("-- 00"), planned.count("flowgauge.")) == (0, len(NAMES), 0)
    assert planned.startswith("-- 0001_database.sql: makes something new\nCREATE DATABASE IF NOT EXISTS planned ")


@pytest.mark.parametrize(
    ("variables", "code", "message"),
    [
        (
            {},
            2,
            (
                "flowgauge: flowgauge.toml: clickhouse.password: environment variable SECRET is not set or empty"
                " (set it where flowgauge is started)\n"
            ),
        ),
        (
            {"SECRET": "wr0ng"},
            3,
            (
                "flowgauge: ClickHouse at {url} refuses user 'sink' or its password"
                " (correct clickhouse.user and clickhouse.password)\n"
            ),
        ),
        (
            {"SECRET": "x", "FLOWGAUGE_CLICKHOUSE_URL": "http://127.0.0.1:1"},
            3,
            (
                "flowgauge: no ClickHouse answers at http://127.0.0.1:1: no connection: Connection refused"
                " (start it there, or correct clickhouse.url)\n"
            ),
        ),
    ],
)
def test_what_keeps_the_server_from_us_is_one_line(
    front: Front, tmp_path: Path, *, variables: dict[str, str], code: int, message: str
) -> None:
    write_settings(tmp_path, front, "flowgauge")

    assert flowgauge(tmp_path, "schema", "check", **variables) == (code, "", message.format(url=front.url))


def test_an_embedded_schema_is_checked_without_making_a_folder(tmp_path: Path) -> None:
    code, said, where = flowgauge(tmp_path, "schema", "check", FLOWGAUGE_DATA=str(tmp_path / "data"))

    assert (code, said.splitlines()[0]) == (1, f"missing {NAMES[0]}")
    assert where == f"looked at {tmp_path / 'data' / 'clickhouse'}, and there is nothing yet\n"
    assert list(tmp_path.iterdir()) == []


def test_an_embedded_schema_is_applied_and_checked_in_the_folder_that_is_said(tmp_path: Path) -> None:
    applied, _, _ = flowgauge(tmp_path, "schema", "apply", "--data", "mine")

    checked = flowgauge(tmp_path, "schema", "check", "--data", "mine")

    assert applied == 0
    assert checked == (0, "the tables are up to date\n", f"looked at {tmp_path / 'mine' / 'clickhouse'}\n")
