"""Replace a rules folder and be killed before each of its steps on the disk in turn; say what is left each time.

Run as a program: forking is safe in a process without threads. Prints one JSON object a kill: `before`, what lies in
the folder, and `after`, what a start makes of it.
"""

import json
import os
import signal
import sys
from pathlib import Path

from flowgauge.console.rule_files import finish_replacing, replace_files
from flowgauge.transport.yaml_files import yaml_files

STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")  # what the disk is asked for, as Python audits it


def kill_at(step: int) -> None:
    """Kill this process at its `step`th step on the disk."""
    left = step

    def count(event: str, _arguments: object) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def is_killed_at(step: int, folder: Path, texts: dict[str, str]) -> bool:
    """Replace `folder` in a child that is killed at `step`; tell whether it got as far."""
    child = os.fork()
    if not child:
        kill_at(step)
        replace_files(folder, texts)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def texts_of(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in yaml_files([folder])}


def main(at: Path, old: dict[str, str], new: dict[str, str]) -> None:
    for step in range(1_000):
        folder = at / str(step) / "rules"
        folder.parent.mkdir()
        replace_files(folder, old)
        (folder / "README").write_text("not ours")
        is_killed = is_killed_at(step, folder, new)
        before = texts_of(folder)
        finish_replacing(folder)
        left_over = sorted(file.name for file in folder.parent.iterdir() if file.name != ".rules.draft")
        print(json.dumps({"before": before, "after": texts_of(folder), "beside": left_over, "killed": is_killed}))
        if not is_killed:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
