"""The image holds what the roles need, at the pins of the one lock, and nothing else is sent to build it."""

import base64
import re
import runpy
import stat
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.compose.composed import COMPOSE, ROOT

LOCK = ROOT / "requirements.lock"
PICK = COMPOSE / "image" / "pick.py"
DOCKERFILE = (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
NOT_IN_THE_IMAGE = "chdb"  # ClickHouse within the process: the roles use a server
PYTHON = re.compile(r"^FROM (python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64})(?: AS \w+)?$", re.MULTILINE)


def needed(roots: list[str]) -> set[str]:
    """Return the packages that `roots` need on this machine, as the packages themselves say."""
    extras: dict[str, set[str]] = {}
    ahead = [Requirement(root) for root in roots]
    while ahead:
        wanted = ahead.pop()
        name = canonicalize_name(wanted.name)
        if name in extras and wanted.extras <= extras[name]:
            continue
        known = extras.setdefault(name, set())
        known |= wanted.extras
        for text in distribution(name).requires or []:
            each = Requirement(text)
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *known)):
                ahead.append(each)
    return set(extras)


def listed(name: str) -> set[str]:
    lines = (COMPOSE / "image" / name).read_text(encoding="utf-8").splitlines()
    return {package for line in lines if (package := line.partition("#")[0].strip())}


def picked(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(PICK), str(LOCK), *arguments], capture_output=True, text=True, check=False
    )


def test_the_image_has_the_packages_that_the_roles_need_and_no_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    roots = [*project["dependencies"], *extras["kafka"], *extras["server"]]

    wanted = needed([root for root in roots if not root.startswith(NOT_IN_THE_IMAGE)])

    assert listed("packages.txt") == wanted | {"tzdata"}
    assert listed("build-packages.txt") == needed(["hatchling"])


@pytest.mark.parametrize("name", ["packages.txt", "build-packages.txt"])
def test_what_is_picked_are_whole_entries_of_the_lock(name: str) -> None:
    part = picked(str(COMPOSE / "image" / name))
    lock = LOCK.read_text(encoding="utf-8")

    assert part.returncode == 0, part.stderr
    entries = re.split(r"^(?=\S)", part.stdout, flags=re.MULTILINE)[1:]
    assert {each.partition("==")[0] for each in entries} == listed(name)
    assert all(f"\n{each}" in f"\n{lock}" and each.count("--hash=sha256:") for each in entries)


def test_a_package_that_is_not_in_the_lock_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("starlette\nnobody-made-this  # a remark\n", encoding="utf-8")

    refused = picked(str(tmp_path / "names.txt"))

    assert refused.returncode != 0
    assert "not in the lock: nobody-made-this" in refused.stderr


def test_the_image_is_of_two_stages_of_one_pinned_python_and_runs_as_nobody_in_particular() -> None:
    bases = PYTHON.findall(DOCKERFILE)
    last = DOCKERFILE.rpartition("\nFROM ")[2]

    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE
    assert "RUN" not in last  # nothing is installed outside the first stage


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert len(sources) >= 10
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, each) or source.startswith(f"{each}/") for each in allowed), source


def test_the_parts_of_the_wheel_are_all_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {each.partition("/")[0] for each in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}

    assert folders == set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE))


def test_the_health_check_says_why_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    ready: dict[str, Any] = runpy.run_path(str(COMPOSE / "image" / "ready.py"))

    assert ready["main"]("http://127.0.0.1:1/readyz") == 1
    assert capsys.readouterr().out.startswith("no answer: ")


def test_secrets_of_ones_own_are_made_once(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run([str(COMPOSE / "secrets" / "make"), str(tmp_path / "mine")], check=True)
        return {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "mine").iterdir()}

    made, again = make(), make()

    examples = {file.name: file.read_text(encoding="utf-8") for file in (COMPOSE / "secrets" / "example").iterdir()}
    assert made == again
    assert set(made) == set(examples)
    assert len({*made.values(), *examples.values()}) == 2 * len(made)
    assert len(base64.b64decode(made["webhook-secret"].strip().removeprefix("whsec_"))) == 32
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700
