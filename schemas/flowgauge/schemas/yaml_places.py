"""YAML that remembers where each value stands, so that a mistake is told by file, line and column.

PyYAML composes nodes with marks; the data is built from these nodes here, which also shows duplicate keys, and
`problems_of` turns pydantic's complaints into problems at their places.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.plain_yaml import NUMBER_MAX, NotPlainError, Path, Places, read_plain

KnownFields = Callable[[Path], Iterable[str]]
YAML_BYTES_MAX = 4 * 1_048_576  # ten thousand rules fit; a file beyond is a mistake
YAML_NODES_MAX = 500_000  # aliases of aliases grow without end; nobody writes this much
NODES_PER_CHARACTER_MAX = 10  # without aliases a node has at least one character of its own
YAML_DEPTH_MAX = 32
_LEVELS_MAX = 500  # PyYAML composes a level in two calls, and Python's stack holds a thousand
_PYDANTIC_BEGINS = re.compile(r"^Input should be (?=(greater|less)?)")
_NAMED_FIELD = re.compile(r"`(\w+)")
_PERCENT = re.compile(r"\d{1,9}(?:\.\d{1,9})?%")
_WORD = re.compile(r"[^\s,\]}#]*")
# What pydantic finds, in the words of somebody who writes YAML: (message, remedy).
_IN_OUR_WORDS = {
    "dict_type": ("expected fields, one `name: value` a line", "write {} where there are none"),
    "model_type": ("expected fields, one `name: value` a line", "write {} where there are none"),
    "tuple_type": ("expected a list", "put it in brackets: [one, two]"),
    "list_type": ("expected a list", "put it in brackets: [one, two]"),
    "too_short": ("expected a list of at least one, got none", "name one"),
    "string_type": ("expected text", "put it in quotes"),
    "string_too_short": ("expected some text, got none", "write at least one character"),
    "int_type": ("expected a whole number", "write it in digits, without quotes"),
    "int_parsing": ("expected a whole number", "write it in digits, without quotes"),
    "float_type": ("expected a number", "write it in digits, without quotes"),
    "float_parsing": ("expected a number", "write it in digits, such as 14.4"),
    "int_from_float": ("expected a whole number", "write it in digits, without a point"),
}
# Whose value is shown as it came: no secret is a choice or a number.
_SHOWN_TYPES = ("literal_error", "int_type", "int_parsing", "float_type", "float_parsing", "int_from_float")
_SHOWN_CHARS_MAX = 40
_UNQUOTED_STAR = ("`*` begins the name of an alias", "quote a glob")
_UNQUOTED_NOT = ("`!` begins a tag", "quote what is not to match")
_UNQUOTED = {"while scanning an alias": _UNQUOTED_STAR, "while scanning a tag": _UNQUOTED_NOT}  # by PyYAML's context
_SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}


@dataclass(frozen=True, slots=True)
class Document:
    """The data of one YAML file, and the place of each value in it."""

    file: str
    data: Any
    places: Places

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
    nodes_max = min(YAML_NODES_MAX, NODES_PER_CHARACTER_MAX * len(text))
    try:
        return Document(file, *read_plain(text, nodes_max=nodes_max, depth_max=YAML_DEPTH_MAX))
    except NotPlainError:
        return read_closely(file, text, nodes_max)


def read_closely(file: str, text: str, nodes_max: int) -> Document:
    """Return the document in any text, node by node; raise InvalidRules with every mistake at its place."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InvalidRules((_syntax_problem(file, text, error),)) from None
    except RecursionError:
        raise InvalidRules((Problem(file, 0, 0, "", "nested too deeply to read", "write it out flat"),)) from None
    builder = _Builder(file, nodes_max=nodes_max)
    data = builder.build(root, ()) if root is not None else None
    if builder.problems:
        raise InvalidRules(tuple(builder.problems))
    return Document(file, data, builder.places)


def problems_of(
    error: ValidationError, document: Document, prefix: Path, known: Iterable[str] | KnownFields = ()
) -> tuple[Problem, ...]:
    """Return pydantic's complaints about the value at `prefix` as problems at their places.

    `known` names the fields that an unknown field may have been meant as; of a file of several objects, by its path.
    """
    found: list[Problem] = []
    for detail in error.errors(include_url=False, include_context=False):
        path = prefix
        for step in detail["loc"]:
            if not _is_member(step) or (*path, step) in document.places:  # somebody may have written such a name
                path = (*path, step)
        while path not in document.places and len(path) > len(prefix) and path[:-1] in document.places:
            if detail["type"] == "missing":
                break
            path = path[:-1]  # pydantic adds the names of union members, which the file does not have
        found.append(_problem(document, path, detail, tuple(known(path) if callable(known) else known)))
    return tuple(dict.fromkeys(found))


def dotted(path: Path) -> str:
    """Return `path` as people write it, such as rules[0].when.failure_rate."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _is_member(step: str | int) -> bool:
    """Tell whether a step only names which form of several a value has: such tags are written in brackets."""
    return isinstance(step, str) and step.startswith("(")


def _problem(document: Document, path: Path, detail: ErrorDetails, known: tuple[str, ...]) -> Problem:
    if detail["type"] == "missing":
        return document.problem(path, "this field is required", f"add `{path[-1]}:`")
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        remedy = f"did you mean `{near[0]}`?" if near else f"known fields: {', '.join(known)}" if known else "remove it"
        return document.problem(path, "unknown field", remedy)
    if detail["type"] == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        named = _NAMED_FIELD.match(message)  # what a model says of one of its fields stands at that field
        place = (*path, named[1]) if named else path
        return document.problem(place if place in document.places else path, message)
    message, remedy = _IN_OUR_WORDS.get(detail["type"], (_PYDANTIC_BEGINS.sub(_expected, detail["msg"]), ""))
    if detail["type"] in _SHOWN_TYPES:
        message += f", got {_shown(detail['input'])}"
    if detail["type"] == "float_parsing" and _PERCENT.fullmatch(str(detail["input"])):
        remedy = f"write {float(str(detail['input'])[:-1]) / 100:g}"
    return document.problem(path, message, remedy)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…"


def _expected(begin: re.Match[str]) -> str:
    return "expected a number " if begin[1] else "expected "


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what, remedy = f"the character U+{ord(text[error.position]):04X} is not allowed", "remove it"
    else:
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what, remedy = str(getattr(error, "problem", None) or "cannot be read"), "check indentation, quotes and colons"
    context = getattr(error, "context", None)
    begin = getattr(error, "context_mark", None) or mark
    if begin and (what.startswith("found undefined alias") or context in _UNQUOTED):
        line, column = begin.line + 1, begin.column + 1
        what, remedy = _UNQUOTED.get(str(context), _UNQUOTED_STAR)
        remedy = f'{remedy}: "{_word_at(text, line, column)}"'
    if "'\\t'" in what:
        remedy = "indent with spaces, not tabs"
    elif "another document" in what:
        what, remedy = "a second document begins here", "remove the `---`, or make it a file of its own"
    return Problem(file, line, column, "", f"not valid YAML: {what}", remedy)


def _word_at(text: str, line: int, column: int) -> str:
    """Return what stands at a place, up to a space or what ends a value there."""
    rest = text.splitlines()[line - 1][column - 1 :]
    return (_WORD.match(rest) or [""])[0][:_SHOWN_CHARS_MAX]


class _Loader(yaml.SafeLoader):
    """Ends at the level that nothing could be composed of; the scanner looks at all open levels with each token."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803  # the library's name
        """Begin a level. Raises RecursionError, as composing it would."""
        if self.flow_level >= _LEVELS_MAX:
            raise RecursionError
        cast("Any", super()).fetch_flow_collection_start(TokenClass)


class _Builder:
    """Builds plain data from YAML nodes and notes each value's place."""

    def __init__(self, file: str, *, nodes_max: int) -> None:
        self.file = file
        self.places: Places = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.SafeLoader("")
        self._nodes_left = nodes_max

    def build(self, node: yaml.Node, path: Path) -> Any:
        mark = node.start_mark
        self.places[path] = (mark.line + 1, mark.column + 1)
        self._nodes_left -= 1
        if len(path) > YAML_DEPTH_MAX or self._nodes_left < 0:
            # One complaint ends the reading: aliases of aliases would make as many as they make nodes.
            place, what = (mark.line + 1, mark.column + 1), "nested too deeply or too large"
            raise InvalidRules((Problem(self.file, *place, dotted(path), what, "write it out flat"),))
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
            if not node.value and node.tag.startswith(
                "!"
            ):  # YAML takes an unquoted `!sandbox-*` for a tag without value
                what, remedy = _UNQUOTED_NOT
                self._complain(node, path, what, f'{remedy}: "{node.tag}"')
            return str(node.value)  # a time, or a value with a tag of its own, stays the text that was written
        try:
            value = cast("Any", self._scalars).construct_object(node)
        except (ValueError, KeyError, IndexError):
            self._complain(node, path, f"{node.value!r} is not what its tag says", "remove the tag, or mend the value")
            return None
        if isinstance(value, int | float) and not -NUMBER_MAX <= value <= NUMBER_MAX:  # not a number either
            self._complain(node, path, f"{node.value} is no number that can be kept", "put it in quotes if it is text")
        return value

    def _complain(self, node: yaml.Node, path: Path, message: str, remedy: str = "") -> None:
        mark = node.start_mark
        place = (mark.line + 1, mark.column + 1)
        self.problems.append(Problem(self.file, *place, dotted(path), message, remedy))
