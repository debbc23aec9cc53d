"""The summary: a rule's one-line template, rendered with the numbers of one transition.

    "{{ flow }}: {{ value|percent }} of {{ samples }} runs failed"  →  "orders-eu: 60 % of 5 runs failed"

Templates are written by people and rendered where alerts must go out, so none may fail or run away. Three walls,
each enough for most mischief: only the syntax in `_ALLOWED` is accepted (no calls, assignments, macros, includes);
the sandbox checks the size of `*`, `**` and `%` before they happen; the text is streamed and cut at its cap. A name
that is missing is empty; a template that fails gives the plain text with the rule's name. The result is plain text:
whoever puts it into HTML escapes it.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

from jinja2 import ChainableUndefined, Template, TemplateError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flowgauge.schemas.times import format_duration
from flowgauge.schemas.transition import Transition

SUMMARY_BYTES_MAX = 2_000  # rendered, UTF-8: a chat message, and a tenth of what a webhook may carry
TEMPLATE_CHARS_MAX = 2_000  # one line of text with some names in it
LOOP_DEPTH_MAX = 2  # runs and their labels; deeper loops multiply
_RESULT_SIZE_MAX = 2_000  # characters or items that `*` may make
_NUMBER_BITS_MAX = 256  # of whole numbers that `*` and `**` may make: counts, bytes and money are far below
_TEMPLATES_KEPT = 256  # compiled ones; there are as many as rules, and a rule's is used again and again
_DIGITS_MAX = 9  # that `round` keeps
_ELLIPSIS = "…"

_Value = TypeVar("_Value")

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const),
    *(nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test, nodes.Keyword),
    *(nodes.If, nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Neg, nodes.Pos),
    *(nodes.Concat, nodes.Tuple, nodes.List),
)


def render_summary(template: str, values: Mapping[str, object]) -> str:
    """Return the text of `template`, at most SUMMARY_BYTES_MAX bytes of UTF-8; it never raises.

    Without a template, or with one that fails, the text names the rule (`values["rule"]`) and its state.
    """
    if not template.strip():
        return _plain(values)
    try:
        pieces = _compile(template).generate(values)
        text = _cut(pieces)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return _plain(values)
    return text.strip() or _plain(values)


def check_template(template: str) -> str | None:
    """Return what is wrong with `template` in one line, None when it can be rendered."""
    try:
        _compile(template)
    except (TemplateError, RecursionError, ValueError) as error:
        return str(error) or type(error).__name__
    return None


def summarize(transition: Transition) -> str:
    """Return the rendered summary of `transition`."""
    return render_summary(transition.summary, summary_values(transition))


def summary_values(transition: Transition) -> dict[str, object]:
    """Return the names a summary may use: the group key's fields, the labels and the transition's numbers.

    A dotted field such as `resource.env` is nested. The numbers win over a key or label of the same name.
    """
    values: dict[str, object] = {}
    for name, text in transition.key.items():
        _put(values, name.split("."), text)
    return values | {
        "rule": transition.rule,
        "tenant": transition.tenant,
        "key": transition.key,
        "labels": transition.labels,
        "severity": transition.severity,
        "state": transition.to_state,
        "reason": transition.reason,
        "value": transition.value,
        "threshold": transition.threshold,
        "samples": transition.samples,
        "late_samples": transition.late_samples,
        "window_ms": transition.window_ms,
        "runs": [example.run for example in transition.examples if example.run],
    }


class _Missing(ChainableUndefined):
    """A name that is not there: empty text, no number, smaller and larger than nothing."""


def _stay_missing(self: _Missing, *_: object) -> _Missing:
    return self


def _never(*_: object) -> bool:
    return False


# Set here and not in the class, whose base says that these operators never return.
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(_Missing, f"__{_name}__", _stay_missing)
    setattr(_Missing, f"__r{_name}__", _stay_missing)
for _name in ("neg", "pos"):
    setattr(_Missing, f"__{_name}__", _stay_missing)
for _name in ("lt", "le", "gt", "ge"):
    setattr(_Missing, f"__{_name}__", _never)


class _TooLargeError(TemplateError):
    """An operator would make something beyond its cap."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would be too large before it is made."""
        if _is_too_large(operator, left, right):
            raise _TooLargeError(f"the result of `{operator}` is too large")
        return super().call_binop(context, operator, left, right)


def _is_too_large(operator: str, left: object, right: object) -> bool:
    if operator == "%":
        return isinstance(left, str | bytes)  # text formatting can ask for any width
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        return bits > _NUMBER_BITS_MAX
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, str | bytes | list | tuple) and isinstance(times, int):
            return len(cast("str", repeated)) * times > _RESULT_SIZE_MAX
    return False


@lru_cache(maxsize=_TEMPLATES_KEPT)
def _compile(template: str) -> Template:
    if len(template) > TEMPLATE_CHARS_MAX:
        raise TemplateError(f"longer than {TEMPLATE_CHARS_MAX} characters")
    _refuse_syntax(_SANDBOX.parse(template), depth=0)
    return _SANDBOX.from_string(template)


def _refuse_syntax(node: nodes.Node, depth: int) -> None:
    if not isinstance(node, _ALLOWED):
        raise TemplateError(f"`{type(node).__name__.lower()}` is not available in a summary")
    if isinstance(node, nodes.For):
        depth += 1
        if depth > LOOP_DEPTH_MAX or node.recursive:
            raise TemplateError(f"loops may be {LOOP_DEPTH_MAX} deep and not recursive")
    for child in node.iter_child_nodes():
        _refuse_syntax(child, depth)


def _cut(pieces: Iterable[str]) -> str:
    """Take pieces until the cap; control characters and line breaks become spaces, half characters go."""
    taken = bytearray()
    for piece in pieces:
        taken += "".join(char if char.isprintable() else " " for char in piece).encode(errors="replace")
        if len(taken) > SUMMARY_BYTES_MAX:
            kept = taken[: SUMMARY_BYTES_MAX - len(_ELLIPSIS.encode())]
            return kept.decode(errors="ignore") + _ELLIPSIS
    return taken.decode()


def _plain(values: Mapping[str, object]) -> str:
    return _cut([f"{values.get('rule', 'alert')} {values.get('state', '')}".strip()])


def _put(values: dict[str, object], path: list[str], text: str) -> None:
    for step in path[:-1]:
        inner = values.setdefault(step, {})
        if not isinstance(inner, dict):
            return  # `a` and `a.b` are both keys: the plain one stays
        values = cast("dict[str, object]", inner)
    values.setdefault(path[-1], text)


def _percent(value: object) -> str:
    """Show a share of 1 in percent: 0.6 as `60%`, 0.1234 as `12.3%`."""
    return f"{round(value * 100, 1):g}%" if isinstance(value, int | float) else ""


def _duration(ms: object) -> str:
    """Show ms as a duration, in whole seconds from a minute on: 90500 as `1m30s`."""
    if not isinstance(ms, int | float) or ms < 0:
        return ""
    whole = int(ms)
    return format_duration(whole - whole % 1000 if whole >= 60_000 else whole)


def _round(value: object, digits: object = 0) -> object:
    if not isinstance(value, int | float) or not isinstance(digits, int):
        return ""
    return f"{round(value, max(0, min(digits, _DIGITS_MAX))):g}" if digits > 0 else str(round(value))


def _default(value: _Value, instead: _Value | str = "") -> _Value | str:
    return instead if value is None or value == "" or isinstance(value, _Missing) else value


def _join(values: object, between: object = ", ") -> str:
    texts = [str(_text(value)) for value in cast("Iterable[object]", values)]
    if sum(map(len, texts)) + len(texts) * len(str(between)) > _RESULT_SIZE_MAX:
        raise _TooLargeError("the result of `join` is too large")
    return str(between).join(texts)


def _text(value: object) -> object:
    return "" if value is None else value


def _upper(value: object) -> str:
    return str(value).upper()


def _lower(value: object) -> str:
    return str(value).lower()


def _first(values: object) -> object:
    return next(iter(cast("Iterable[object]", values)), "")


_FILTERS: Mapping[str, Callable[..., object]] = {
    "percent": _percent,
    "duration": _duration,
    "round": _round,
    "default": _default,
    "join": _join,
    "length": len,
    "upper": _upper,
    "lower": _lower,
    "first": _first,
    "abs": operator.abs,
}


def _environment() -> _Sandbox:
    sandbox = _Sandbox(undefined=_Missing, finalize=_text, autoescape=False)
    sandbox.globals.clear()
    sandbox.filters.clear()
    sandbox.filters.update(cast("Any", _FILTERS))
    return sandbox


_SANDBOX = _environment()
