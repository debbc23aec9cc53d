"""Every measurement that flowgauge has, as the metrics.py of each folder says: name → its labels.

The names are those that Prometheus stores: a histogram is its _bucket, _sum and _count.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.compose.composed import ROOT

FOLDERS = ("transport", "producers", "processors", "sinks", "console")
KINDS = {"Counter", "Gauge", "Histogram"}
HEALTH = "flowgauge_console_"  # the console's file tells names without it, in triples of name, help and value


def catalogue() -> Mapping[str, frozenset[str]]:
    """Return all measurements with their labels."""
    found: dict[str, frozenset[str]] = {}
    for folder in FOLDERS:
        file = ROOT / folder / "flowgauge" / folder / "metrics.py"
        if file.exists():
            found |= dict(_told(file, is_console=folder == "console"))
    return found


def _told(file: Path, *, is_console: bool) -> Iterator[tuple[str, frozenset[str]]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
            name, labels = _texts(node.args[0])[0], frozenset(_texts(node.args[2]) if len(node.args) > 2 else ())
            if node.func.id == "Histogram":
                yield f"{name}_bucket", labels | {"le"}
                yield from ((f"{name}_{part}", labels) for part in ("sum", "count"))
            else:
                yield name, labels
        elif is_console and isinstance(node, ast.Tuple) and len(node.elts) == 3:
            yield from ((HEALTH + name, frozenset[str]()) for name in _texts(node.elts[0]))


def _texts(node: ast.expr) -> list[str]:
    """Return the texts that stand in an expression."""
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
