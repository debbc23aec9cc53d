"""The summary: a rule's one-line template, rendered with the numbers of one transition.

    "{{ flow }}: {{ value|percent }} of {{ samples }} runs failed"  →  "orders-eu: 60% of 5 runs failed"

Templates are written by people and rendered where alerts must go out, so none may fail or run away. Nothing in the
language can grow or run long: only the syntax in `_ALLOWED` is accepted (no loops, calls, arithmetic or lists), a name
gives only what `summary_values` holds (no Python attributes), every text is cut before it enters, and the result is
cut at its cap. A name that is missing is empty; a template that fails gives the plain text with the rule's name. The
result is plain text: whoever puts it into HTML escapes it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from itertools import islice
from math import isfinite
from typing import Any, cast

from jinja2 import Environment, Template, TemplateError, TemplateSyntaxError, Undefined, nodes

from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import EXAMPLES_MAX, Transition

SUMMARY_BYTES_MAX = 2_000  # rendered, UTF-8: a chat message, and a tenth of what a webhook may carry
TEMPLATE_CHARS_MAX = 2_000  # one line of text with some names in it
NESTING_MAX = 30  # of a template's syntax: what Python can compile, and more than anybody can read
ENTRIES_MAX = 100  # labels that a summary can name: a rule has a handful
_TEXT_CHARS_MAX = SUMMARY_BYTES_MAX + 1  # of one value: more cannot be shown, and one more shows that it was cut
_TEMPLATES_KEPT = 256  # compiled ones; there are as many as rules, and a rule's is used again and again
_NAMES_KEPT = 20_000  # of as many templates as a rule set has rules: they are asked for again once all rules are read
_DIGITS_MAX = 9  # that `round` keeps
_ELLIPSIS = "…"
_TAG = re.compile(r"\{%[-+]?\s*(\w+)")
_TAGS = ("if", "elif", "else", "endif")

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const),
    *(nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test, nodes.Keyword),
    *(nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg),
)


def render_summary(template: str, values: Mapping[str, object]) -> str:
    """Return the text of `template`, at most SUMMARY_BYTES_MAX bytes of UTF-8; it never raises.

    `values` are those of `summary_values`. Without a template, or with one that fails, the text names the rule
    (`values["rule"]`) and its state.
    """
    if not template.strip():
        return _plain(values)
    try:
        text = render_template(template, values)
    except Exception:  # noqa: BLE001  # whatever it is: an alert must go out
        return _plain(values)
    return text.strip() or _plain(values)


def render_template(template: str, values: Mapping[str, object]) -> str:
    """Return the text of `template`, at most SUMMARY_BYTES_MAX bytes, where it may be empty; it may raise anything."""
    return _cut(_compile(template).generate(values))


def check_template(template: str) -> str | None:
    """Return all that is wrong with `template` in one line with what to write, None when it can be rendered."""
    try:
        _paths_in(template)
    except (TemplateError, ValueError) as error:
        return str(error)
    except RecursionError:
        return _TOO_DEEP
    return None


def unknown_names(template: str, known: Mapping[str, object]) -> list[str]:
    """Return the dotted names in `template`, which can be rendered, that `known` does not hold: they stay empty.

    `known` are those of `summary_values`, of a rule's own fields and labels.
    """
    return list(dict.fromkeys(".".join(path) for path in _paths_in(template) if not _is_known(path, known)))


def names_in(template: str) -> list[str]:
    """Return the dotted names in `template`, which can be rendered, such as `value` and `resource.env`."""
    return list(dict.fromkeys(".".join(path) for path in _paths_in(template)))


def written_name(path: Sequence[str]) -> str:
    """Return a name and the names of entries after it as a template has them, such as `related['work-pool'].name`."""
    first, *steps = path
    return first + "".join(f".{step}" if step.isidentifier() else f"[{step!r}]" for step in steps)


def shown_by(template: str, name: str) -> list[tuple[str, ...]]:
    """Return, for each place that shows the plain `name`, the filters it goes through; () for as it is.

    What is only compared is not shown. `template` can be rendered.
    """
    shown = (piece for output in _parsed(template).find_all(nodes.Output) for piece in output.nodes)
    return [filters for piece in shown for of, filters in _chains(piece) if of == name]


def summarize(transition: Transition) -> str:
    """Return the rendered summary of `transition`."""
    return render_summary(transition.summary, summary_values(transition))


def summary_values(transition: Transition) -> dict[str, object]:
    """Return the names a summary may use: the group key's fields, the labels and the transition's numbers.

    A dotted field such as `resource.env` is nested. The numbers win over a key or label of the same name.
    """
    key, labels = _short_mapping(transition.key), _short_mapping(transition.labels)
    values: dict[str, object] = {}
    for name, text in key.items():
        _put(values, name.split("."), text)
    return values | {
        "rule": _short(transition.rule),
        "tenant": _short(transition.tenant),
        "key": key,
        "labels": labels,
        "severity": _short(transition.severity),
        "state": transition.to_state,
        "reason": _short(transition.reason),
        "value": transition.value,
        "threshold": transition.threshold,
        "samples": transition.samples,
        "late_samples": transition.late_samples,
        "window_ms": transition.window_ms,
        "runs": [_short(example.run) for example in transition.examples[:EXAMPLES_MAX] if example.run],
    }


def rule_values(for_each: Iterable[str], labels: Mapping[str, str]) -> dict[str, object]:
    """Return the names that a rule's summary may use, as `summary_values` has them; their values are of no firing."""
    key = dict.fromkeys((*for_each, "event_id"), "")
    return summary_values(
        Transition(
            transition_id="",
            incident_id="",
            seq=0,
            tenant="",
            rule="",
            rule_kind="",
            rules_version=0,
            key=key,
            from_state="inactive",
            to_state="firing",
            at_ms=0,
            opened_at_ms=0,
            reason="",
            labels=dict(labels),
        )
    )


_TOO_DEEP = f"a summary may be nested {NESTING_MAX} deep: write it flatter"


class _Missing(Undefined):
    """A name that is not there: empty text, smaller and larger than nothing."""


def _never(*_: object) -> bool:
    return False


# Set here and not in the class, whose base says that these operators never return.
for _name in ("lt", "le", "gt", "ge"):
    setattr(_Missing, f"__{_name}__", _never)


class _Environment(Environment):
    """A language in which `a.b` and `a['b']` are entries of a mapping, and never attributes of an object."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return the entry, missing where there is none."""
        if isinstance(obj, Mapping) and isinstance(argument, str):
            entries = cast("Mapping[str, object]", obj)
            if argument in entries:
                return entries[argument]
        if isinstance(obj, list) and isinstance(argument, int):
            items = cast("list[object]", obj)
            if -len(items) <= argument < len(items):
                return items[argument]
        return self.undefined(name=str(argument))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return the entry, missing where there is none."""
        return self.getitem(obj, attribute)


@lru_cache(maxsize=_TEMPLATES_KEPT)
def _compile(template: str) -> Template:
    _parsed(template)
    return _ENVIRONMENT.from_string(template)


@lru_cache(maxsize=_TEMPLATES_KEPT)
def _parsed(template: str) -> nodes.Template:
    """Return the syntax of a template that can be rendered; raise TemplateError with all that is wrong with it."""
    if len(template) > TEMPLATE_CHARS_MAX:
        raise TemplateError(f"longer than {TEMPLATE_CHARS_MAX} characters")
    try:
        found = _ENVIRONMENT.parse(template)
        mistakes = dict.fromkeys(_mistakes(found, depth=0))
    except TemplateSyntaxError as error:
        raise TemplateError(_syntax_mistake(template, str(error))) from None
    if mistakes:
        raise TemplateError("; ".join(mistakes))
    return found


@lru_cache(maxsize=_NAMES_KEPT)
def _paths_in(template: str) -> tuple[tuple[str, ...], ...]:
    return tuple(_paths(_parsed(template)))


def _syntax_mistake(template: str, said: str) -> str:
    """Say in our words what a block does wrong: Jinja tells of blocks that a summary does not have."""
    for tag in _TAG.findall(template):
        if tag not in _TAGS:
            return _not_available(tag)
    if "needs to be closed is 'if'" in said:
        return "`if` is not closed: end it with {% endif %}"
    return f"{said} (write {{{{ name }}}}, such as {{{{ value|percent }}}})"


def _mistakes(node: nodes.Node, depth: int) -> Iterator[str]:
    """Tell what may not stand in a summary; what is inside of it is not told too."""
    if depth > NESTING_MAX:
        yield _TOO_DEEP
        return
    match node:
        case nodes.Filter() if node.name not in _FILTERS:
            yield f"no filter is called `{node.name}`: there are {', '.join(_FILTERS)}"
        case nodes.Filter():
            yield from _filter_mistakes(node)
        case nodes.Test() if node.name not in _TESTS:
            yield f"no test is called `{node.name}`: there are {', '.join(_TESTS)}"
        case nodes.Const(value=float() as number) if not isfinite(number):
            yield "a number is too large: write one below 1e308"
        case nodes.Name(name="self"):
            yield _not_available("self")
        case nodes.Neg() if not isinstance(node.node, nodes.Const):
            yield _not_available("-")
            return
        case _ if not isinstance(node, _ALLOWED):
            yield _not_available(getattr(node, "operator", type(node).__name__.lower()))
            return
        case _:
            pass
    for child in node.iter_child_nodes():
        yield from _mistakes(child, depth + 1)


def _paths(node: nodes.Node) -> Iterator[tuple[str, ...]]:
    """Yield each name with the names of entries after it, such as ("labels", "team"), once as a whole."""
    path: list[str] = []
    at: nodes.Node = node
    while True:
        match at:
            case nodes.Getattr(attr=str() as step) | nodes.Getitem(arg=nodes.Const(value=str() as step)):
                path.append(step)
                at = at.node
            case nodes.Name():
                yield (at.name, *reversed(path))
                return
            case _:
                break
    for child in node.iter_child_nodes():
        yield from _paths(child)


def _chains(node: nodes.Node) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each name that a piece of output may show, with the filters around it, the innermost first."""
    match node:
        case nodes.Name():
            yield node.name, ()
        case nodes.Filter(node=nodes.Node() as inner):
            yield from ((name, (*filters, str(node.name))) for name, filters in _chains(inner))
        case nodes.CondExpr():
            for branch in (node.expr1, node.expr2):
                yield from _chains(branch) if branch is not None else ()
        case _:
            return


def _is_known(path: Iterable[str], known: Mapping[str, object]) -> bool:
    for step in path:
        if step not in known:
            return False
        inner = known[step]
        if not isinstance(inner, dict):
            return True
        known = cast("dict[str, object]", inner)
    return True


def _filter_mistakes(node: nodes.Filter) -> Iterator[str]:
    if node.dyn_args or node.dyn_kwargs:
        yield _not_available("*")
        return
    named = {str(keyword.key): keyword.value for keyword in node.kwargs}
    try:
        signature(_FILTERS[str(node.name)]).bind(node.node, *node.args, **named)
    except TypeError as error:
        yield f"`{node.name}`: {error}"


def _not_available(what: str) -> str:
    return f"`{what}` is not available in a summary: it has names, filters, comparisons and `if`"


def _cut(pieces: Iterable[str]) -> str:
    """Take pieces until the cap; control characters and line breaks become spaces, half characters go."""
    taken = bytearray()
    for piece in pieces:
        text = "".join(char if char.isprintable() else " " for char in _short(piece))
        taken += text.encode(errors="replace")
        if len(taken) > SUMMARY_BYTES_MAX:
            kept = taken[: SUMMARY_BYTES_MAX - len(_ELLIPSIS.encode())]
            return kept.decode(errors="ignore") + _ELLIPSIS
    return taken.decode()


def _plain(values: Mapping[str, object]) -> str:
    return _cut([f"{values.get('rule', 'alert')} {values.get('state', '')}".strip()])


def _short(text: str) -> str:
    return text[:_TEXT_CHARS_MAX]


def _short_mapping(mapping: Mapping[str, str]) -> dict[str, str]:
    return {_short(name): _short(text) for name, text in islice(mapping.items(), ENTRIES_MAX)}


def _put(values: dict[str, object], path: list[str], text: str) -> None:
    for step in path[:-1]:
        inner = values.setdefault(step, {})
        if not isinstance(inner, dict):
            return  # `a` and `a.b` are both keys: the plain one stays
        values = cast("dict[str, object]", inner)
    values.setdefault(path[-1], text)


# ── filters: each takes whatever stands before it, and gives a number or a text that is no longer than one value ──


def _text(value: object) -> str:
    """Show a value: a missing one as nothing, a list as `a, b`, a mapping as `name=text name=text`."""
    match value:
        case None:
            return ""
        case list():
            return _join(cast("list[object]", value))
        case dict():
            entries = cast("dict[str, object]", value)
            return _short(" ".join(f"{name}={_text(inner)}" for name, inner in entries.items()))
        case _:
            return _short(str(value))


def percent(value: object) -> str:
    """Show a share of 1 in percent: 0.6 as `60%`, 0.1234 as `12.3%`."""
    return f"{round(value * 100, 1):g}%" if isinstance(value, int | float) else ""


def duration(ms: object) -> str:
    """Show ms as a duration, in whole seconds from a minute on: 90500 as `1m30s`."""
    if not isinstance(ms, int | float) or ms < 0:
        return ""
    whole = int(ms)
    return _short(format_duration(whole - whole % 1000 if whole >= 60_000 else whole))


def seconds(seconds: object) -> str:
    """Show seconds as a duration: 90.5 as `1m30s`."""
    return duration(seconds * 1000) if isinstance(seconds, int | float) else ""


def _round(value: object, digits: object = 0) -> str:
    if not isinstance(value, int | float) or not isinstance(digits, int):
        return ""
    return f"{round(value, min(digits, _DIGITS_MAX)):g}" if digits > 0 else str(round(value))


def _default(value: object, instead: object = "") -> object:
    return instead if value is None or value == "" or isinstance(value, _Missing) else value


def _join(value: object, between: object = ", ") -> str:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return _short(_text(between).join(_text(item) for item in items))


def _length(value: object) -> int:
    return len(cast("str", value)) if isinstance(value, str | list | dict) else 0


def _first(value: object) -> object:
    items: object = list(cast("dict[str, object]", value)) if isinstance(value, dict) else value
    return next(iter(cast("list[object]", items)), "") if isinstance(items, str | list) else ""


def _upper(value: object) -> str:
    return _short(_text(value).upper())


def _lower(value: object) -> str:
    return _short(_text(value).lower())


def _abs(value: object) -> object:
    return abs(value) if isinstance(value, int | float) else ""


_FILTERS: Mapping[str, Callable[..., object]] = {
    "percent": percent,
    "duration": duration,
    "seconds": seconds,
    "round": _round,
    "default": _default,
    "join": _join,
    "length": _length,
    "first": _first,
    "upper": _upper,
    "lower": _lower,
    "abs": _abs,
}
_TESTS = ("defined", "undefined", "none")


def _environment() -> _Environment:
    made = _Environment(undefined=_Missing, finalize=_text, autoescape=False)
    made.globals.clear()
    made.filters.clear()
    made.filters.update(cast("Any", _FILTERS))
    return made


_ENVIRONMENT = _environment()
