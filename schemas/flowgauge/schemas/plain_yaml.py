"""Plain YAML read fast, by libyaml: the data and places that `yaml_places` would find, many times sooner.

    rule files, as people write them     libyaml's events ──► data and places
    anchors, tags, tabs, any mistake     left to `yaml_places`, which tells mistakes by their exact place

Invariant: what is read here is what `yaml_places` reads of the same text, places included.
"""

import re
from typing import Any

import yaml

Path = tuple[str | int, ...]
Places = dict[Path, tuple[int, int]]

# libyaml takes tabs, comments without a space before, and question marks in brackets, where PyYAML does not; it differs
# in directives and byte order marks.
_DOUBTFUL = re.compile(r"[\t\ufeff?]|^%|(?<=\S)#", re.MULTILINE)
_MEANT = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
NUMBER_MAX = 2**63 - 1  # what every store of ours keeps exactly as an integer


class NotPlainError(Exception):
    """This text is for `yaml_places`."""


def read_plain(text: str, *, nodes_max: int, depth_max: int) -> tuple[Any, Places]:
    """Return the data of the one document in `text`, and the place of each value.

    Raises NotPlainError for what is not plain, is wrong, has more than `nodes_max` nodes or is deeper than `depth_max`.
    """
    if not yaml.__with_libyaml__ or _DOUBTFUL.search(text):
        raise NotPlainError
    loader = yaml.CSafeLoader(text)
    try:
        return _Plain(loader, nodes_max=nodes_max, depth_max=depth_max).read()
    except (yaml.YAMLError, UnicodeError):
        raise NotPlainError from None
    finally:
        loader.dispose()


class _Plain:
    """Builds data from events; each event is taken once, so nothing here grows beyond the text."""

    def __init__(self, loader: Any, *, nodes_max: int, depth_max: int) -> None:
        self._next = loader.get_event
        self._resolve = loader.resolve
        self._constructor: Any = yaml.SafeLoader("")
        self._scalars: dict[str, Any] = {}  # plain text → what it means: few differ
        self._places: Places = {}
        self._nodes_left = nodes_max
        self._depth_max = depth_max

    def read(self) -> tuple[Any, Places]:
        self._expect(yaml.StreamStartEvent)
        self._expect(yaml.DocumentStartEvent)
        data = self._build(self._there(), ())
        self._expect(yaml.DocumentEndEvent)
        self._expect(yaml.StreamEndEvent)
        return data, self._places

    def _expect(self, event: type[yaml.Event]) -> None:
        if not isinstance(self._next(), event):
            raise NotPlainError

    def _there(self) -> Any:
        """Return the next event; libyaml gives what is left empty another place, unless it has a name."""
        event = self._next()
        if isinstance(event, yaml.ScalarEvent) and not event.value and event.implicit[0]:
            raise NotPlainError
        return event

    def _build(self, event: Any, path: Path) -> Any:
        self._note(event, path)
        self._nodes_left -= 1
        if self._nodes_left < 0 or len(path) > self._depth_max:
            raise NotPlainError
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if event.anchor is not None or isinstance(event, yaml.AliasEvent) or event.tag is not None:
            raise NotPlainError
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _note(self, event: Any, path: Path) -> None:
        mark = event.start_mark
        self._places[path] = (mark.line + 1, mark.column + 1)

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise NotPlainError
            key: str = event.value
            if key in found:
                raise NotPlainError
            here = (*path, key)
            found[key] = self._build(self._next(), here)
            self._note(event, here)  # a field is where its name is
        return found

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._there(), yaml.SequenceEndEvent):
            found.append(self._build(event, (*path, len(found))))
        return found

    def _scalar(self, event: Any) -> Any:
        if event.anchor is not None or event.tag is not None:
            raise NotPlainError
        value: str = event.value
        if not event.implicit[0]:  # in quotes, or a block
            return value
        try:
            return self._scalars[value]
        except KeyError:
            found = self._scalars[value] = self._meaning(value)
            return found

    def _meaning(self, value: str) -> Any:
        tag = self._resolve(yaml.ScalarNode, value, (True, False))
        if tag not in _MEANT:
            return value  # text, or a time, which stays the text that was written
        try:
            found = self._constructor.construct_object(yaml.ScalarNode(tag, value))
        except (ValueError, KeyError, IndexError):
            raise NotPlainError from None
        if isinstance(found, int | float) and not -NUMBER_MAX <= found <= NUMBER_MAX:
            raise NotPlainError
        return found
