"""YAML that remembers where each value stands, so that a mistake is told by file, line and column.

PyYAML composes nodes with marks; the data is built from these nodes here, which also shows duplicate keys, and
`problems_of` turns pydantic's complaints into problems at their places.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flowgauge.schemas.errors import InvalidRules, Problem

Path = tuple[str | int, ...]
YAML_BYTES_MAX = 4 * 1_048_576  # ten thousand rules fit; a file beyond is a mistake
YAML_NODES_MAX = 1_000_000  # aliases of aliases grow without end; nobody writes this much
YAML_DEPTH_MAX = 32
_SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}


@dataclass(frozen=True, slots=True)
class Document:
    """The data of one YAML file, and the place of each value in it."""

    file: str
    data: Any
    places: dict[Path, tuple[int, int]]

    def place(self, path: Path) -> tuple[int, int]:
        """Return (line, column), from 1, of the value at `path`, or of its nearest parent that stands there."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def problem(self, path: Path, message: str, remedy: str = "") -> Problem:
        """Return `message` as a problem at `path`."""
        line, column = self.place(path)
        return Problem(self.file, line, column, dotted(path), message, remedy)


def read_yaml(file: str, text: str) -> Document:
    """Return the document in `text`; raise InvalidRules at the place of broken YAML or a duplicate key."""
    if len(text) > YAML_BYTES_MAX:
        problem = Problem(file, 0, 0, "", f"the file is larger than {YAML_BYTES_MAX} bytes", "split it")
        raise InvalidRules((problem,))
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidRules((_syntax_problem(file, error),)) from None
    builder = _Builder(file)
    data = builder.build(root, ()) if root is not None else None
    if builder.problems:
        raise InvalidRules(tuple(builder.problems))
    return Document(file, data, builder.places)


def problems_of(
    error: ValidationError, document: Document, prefix: Path, known: Iterable[str] = ()
) -> tuple[Problem, ...]:
    """Return pydantic's complaints about the value at `prefix` as problems at their places.

    `known` names the fields that an unknown field may have been meant as.
    """
    found: list[Problem] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = prefix + detail["loc"]
        while path not in document.places and len(path) > len(prefix) and path[:-1] in document.places:
            if detail["type"] == "missing":
                break
            path = path[:-1]  # pydantic adds the names of union members, which the file does not have
        found.append(_problem(document, path, detail, tuple(known)))
    return tuple(dict.fromkeys(found))


def dotted(path: Path) -> str:
    """Return `path` as people write it, such as rules[0].when.failure_rate."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _problem(document: Document, path: Path, detail: ErrorDetails, known: tuple[str, ...]) -> Problem:
    if detail["type"] == "missing":
        return document.problem(path, "this field is required", f"add `{path[-1]}:`")
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"known fields: {', '.join(known)}" if known else "remove it"
        return document.problem(path, "unknown field", remedy)
    return document.problem(path, detail["msg"].removeprefix("Value error, "))


def _syntax_problem(file: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = str(getattr(error, "problem", None) or "cannot be read")
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(file, line, column, "", f"not valid YAML: {what}", "check indentation, quotes and colons")


class _Builder:
    """Builds plain data from YAML nodes and notes each value's place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Path, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.SafeLoader("")
        self._nodes_left = YAML_NODES_MAX

    def build(self, node: yaml.Node, path: Path) -> Any:
        mark = node.start_mark
        self.places[path] = (mark.line + 1, mark.column + 1)
        self._nodes_left -= 1
        if len(path) > YAML_DEPTH_MAX or self._nodes_left < 0:
            self._complain(node, path, "nested too deeply or too large", "write it out flat")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key in found:
                self._complain(key_node, (*path, key), "the key stands twice", "remove one")
            found[key] = self.build(value_node, (*path, key))
            mark = key_node.start_mark
            self.places[(*path, key)] = (mark.line + 1, mark.column + 1)
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if node.tag not in _SCALAR_TAGS:
            return str(node.value)  # a time, or a value with a tag of its own, stays the text that was written
        try:
            return cast(Any, self._scalars).construct_object(node)
        except ValueError:
            self._complain(node, path, f"{node.value!r} is not what its tag says")
            return None

    def _complain(self, node: yaml.Node, path: Path, message: str, remedy: str = "") -> None:
        mark = node.start_mark
        place = (mark.line + 1, mark.column + 1)
        self.problems.append(Problem(self.file, *place, dotted(path), message, remedy))
