"""YAML files of rules and channels: which ones a path names, and reading them all before complaining."""

from collections.abc import Iterable
from pathlib import Path

from flowgauge.schemas.errors import BadInput, InvalidRules, Problem
from flowgauge.schemas.yaml_places import Document, read_yaml


def yaml_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that `paths` name; of a folder its *.yaml and *.yml files, sorted by name."""
    found: list[Path] = []
    for path in paths:
        found += sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
    return found


def refuse_no_files(paths: Iterable[Path]) -> None:
    """Raise BadInput where `paths`, which are there, hold no rule file: most likely they name the wrong folder."""
    if not yaml_files(paths):
        raise BadInput(
            f"no rule files in {', '.join(map(str, paths))}: expected NAME.yaml files; "
            "a file with `rules: []` ends all rules"
        )


def read_documents(paths: Iterable[Path]) -> tuple[list[Document], list[Problem]]:
    """Return every file that can be read, and the problems of those that cannot."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for path in yaml_files(paths):
        try:
            documents.append(read_document(path))
        except InvalidRules as error:
            problems.extend(error.problems)
    return documents, problems


def read_document(path: Path) -> Document:
    """Return the document in the file at `path`; raise InvalidRules where it cannot be read."""
    return read_yaml(str(path), read_text(path))


def read_text(path: Path) -> str:
    """Return the text of the file at `path`; raise InvalidRules where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidRules((Problem(str(path), 0, 0, "", reason, "name a readable UTF-8 YAML file"),)) from None
