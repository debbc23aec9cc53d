"""The lock of the data folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowgauge.schemas.errors import BadEnvironment, DataFolderLocked
from flowgauge.transport.data_folder import address_of_owner, lock_data_folder

_OWNER = """
import sys
from pathlib import Path
from flowgauge.transport.data_folder import lock_data_folder
with lock_data_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_missing_folder_is_made_and_may_be_locked_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_data_folder(tmp_path / "deep" / "data"):
            assert (tmp_path / "deep" / "data").is_dir()


def test_a_second_owner_is_refused_with_the_process_id_of_the_first_and_a_remedy(tmp_path: Path) -> None:
    refusal = pytest.raises(DataFolderLocked, match=f"process {os.getpid()}: stop it, or choose another with --data")
    with lock_data_folder(tmp_path), refusal, lock_data_folder(tmp_path):
        pass


def test_the_lock_ends_with_its_process_even_when_that_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, tmp_path], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        with pytest.raises(DataFolderLocked, match=f"process {owner.pid}"), lock_data_folder(tmp_path):
            pass
        owner.send_signal(signal.SIGKILL)

    with lock_data_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(BadEnvironment, match="cannot write the data folder"), lock_data_folder(tmp_path / "file"):
        pass


def test_the_owners_address_can_be_read_while_it_lives(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path) as note_address:
        before = address_of_owner(tmp_path)
        note_address("http://127.0.0.1:5311")
        during = address_of_owner(tmp_path)
        with pytest.raises(DataFolderLocked, match=r"which answers at http://127\.0\.0\.1:5311: stop it"):
            lock_data_folder(tmp_path).__enter__()

    assert (before, during, address_of_owner(tmp_path)) == ("", "http://127.0.0.1:5311", "")


@pytest.mark.parametrize(
    "left", [b"", b"4194999\nhttp://127.0.0.1:1", b"x\nhttp://h", b"9" * 40 + b"\nhttp://h", b"\xff"]
)
def test_what_a_kill_leaves_in_the_lock_file_is_nobodys_address(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "lock").write_bytes(left)

    assert address_of_owner(tmp_path) == ""
    assert address_of_owner(tmp_path / "missing") == ""


def test_a_folder_made_for_nothing_is_removed_again(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path / "data"):
        pass

    assert not (tmp_path / "data").exists()
