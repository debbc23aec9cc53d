"""The files of a rules folder, replaced all together: a kill at any moment leaves the old set or the new one.

    .rules.draft/    the new files are written here; what a kill leaves here never counted
       │ rename      from this moment the new set counts
    .rules.next/     copied into rules/ file by file, then what it does not hold is removed there
       │ rename
    .rules.draft/    removed

Whoever opens the folder first finishes what a kill interrupted: as long as .rules.next is there, rules/ is made equal
to it. The folder itself stays, so that whoever watches it goes on seeing it. Both take the data folder's lock before.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from flowgauge.schemas.errors import BadInput, Transient
from flowgauge.transport.yaml_files import read_text, yaml_files

FILES_MAX = 1_000  # a rule set is a handful of files; more is a folder named by mistake
FILE_NAME_BYTES_MAX = 200  # file systems take 255, and a copy on its way has a longer name
COPYING = ".part"


def check_file_name(name: str) -> None:
    """Raise BadInput unless `name` is a plain name of a YAML file, which every place can show and keep."""
    is_plain = name.isprintable() and "/" not in name and "\\" not in name  # surrogates and NUL are not printable
    if not is_plain or Path(name).suffix not in {".yaml", ".yml"} or len(name.encode()) > FILE_NAME_BYTES_MAX:
        raise BadInput(
            f"{name!r} is no name of a rule file: expected NAME.yaml, printable and at most {FILE_NAME_BYTES_MAX} bytes"
        )


def check_file_names(names: Mapping[str, object]) -> None:
    """Raise BadInput unless `names` are those of 1 to FILES_MAX rule files."""
    if not 1 <= len(names) <= FILES_MAX:
        raise BadInput(f"expected 1 to {FILES_MAX} rule files, got {len(names)}")
    for name in names:
        check_file_name(name)


def texts_of(files: Sequence[Path]) -> dict[str, str]:
    """Return the text of each rule file by its name; raise BadInput when there is none or two have one name."""
    texts: dict[str, str] = {}
    if not files:
        raise BadInput("no rule files there: expected NAME.yaml files; a file with `rules: []` ends all rules")
    for file in files:
        if file.name in texts:
            raise BadInput(f"two files are called {file.name}: rename one")
        texts[file.name] = read_text(file)
    check_file_names(texts)
    return texts


def replace_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Make the YAML files of `folder` exactly `texts`; raise Transient where the disk does not let us."""
    check_file_names(texts)
    finish_replacing(folder)
    draft = _beside(folder, "draft")
    try:
        _throw_away(draft)
        draft.mkdir(parents=True)
        for name, text in texts.items():
            _write(draft / name, text.encode())
        draft.rename(_beside(folder, "next"))
    except OSError as error:
        raise _cannot_write(folder, error) from None
    finish_replacing(folder)


def finish_replacing(folder: Path) -> None:
    """Finish what a kill interrupted, if anything; raise Transient where the disk does not let us."""
    new, draft = _beside(folder, "next"), _beside(folder, "draft")
    if not new.is_dir():
        return
    try:
        folder.mkdir(exist_ok=True)
        names = sorted(file.name for file in new.iterdir())
        for name in names:
            part = folder / (name + COPYING)
            _write(part, (new / name).read_bytes())
            part.replace(folder / name)
        for old in yaml_files([folder]):
            if old.name not in names:
                old.unlink()
        _throw_away(draft)
        new.rename(draft)
        _throw_away(draft)
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _write(file: Path, content: bytes) -> None:
    """Write all of `file`, down to the disk: a power cut leaves no empty file under a name that counts."""
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _throw_away(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _cannot_write(folder: Path, error: OSError) -> Transient:
    return Transient(f"the rules folder {folder} cannot be written: {error.strerror or error}; make room there")
