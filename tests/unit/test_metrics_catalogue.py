"""Every measurement stands in docs/metrics.md with its type, labels and meaning, and nothing else does.

FLOWGAUGE_UPDATE_GOLDEN=1 writes the table anew, to be read in review.
"""

import os
import re
from pathlib import Path
from typing import Any, cast

from prometheus_client import REGISTRY

from flowgauge.console.metrics import ALL, health_registry
from flowgauge.processors import metrics as processors_metrics
from flowgauge.producers import metrics as producers_metrics
from flowgauge.sinks import metrics as sinks_metrics
from flowgauge.transport import metrics as transport_metrics
from flowgauge.transport.health import Health

CATALOGUE = Path(__file__).parents[2] / "docs" / "metrics.md"
FOLDERS = {  # the files that register what is measured, so each is named
    "processors": processors_metrics,
    "producers": producers_metrics,
    "sinks": sinks_metrics,
    "transport": transport_metrics,
}
HEAD = "| measurement | type | labels | meaning |\n|---|---|---|---|\n"
UNITS = (
    "_total",
    "_seconds",
    "_milliseconds",
    "_records",
    "_messages",
    "_endpoints",
    "_sockets",
    "_keys",
    "_problems",
    "_loading",
    "_partitions",
)

Row = tuple[str, tuple[str, ...], str]  # type, labels, meaning


def measured() -> dict[str, Row]:
    """Return every measurement of ours by its name, in order."""
    found: dict[str, Row] = {}
    for registry in (REGISTRY, health_registry(Health(), lambda: 0, ALL)):
        for collector in list(cast("Any", registry)._collector_to_names):  # the one place that knows label names
            labels = tuple(getattr(collector, "_labelnames", ()))
            for family in collector.collect():
                if family.name.startswith("flowgauge_"):
                    name = f"{family.name}_total" if family.type == "counter" else family.name
                    found[name] = (family.type, labels, family.documentation.removesuffix("."))
    return dict(sorted(found.items()))


def documented() -> dict[str, Row]:
    """Return the rows of the catalogue."""
    rows = re.findall(
        r"^\| `(flowgauge_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows}


def write_catalogue() -> None:
    """Write the table of the catalogue, which ends the document."""
    text = CATALOGUE.read_text(encoding="utf-8")
    head = text[: text.index(HEAD) + len(HEAD)]
    rows = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels) or '–'} | {meaning} |\n"
        for name, (kind, labels, meaning) in measured().items()
    ]
    CATALOGUE.write_text(head + "".join(rows), encoding="utf-8")


def test_the_catalogue_names_every_measurement_as_it_is() -> None:
    if os.environ.get("FLOWGAUGE_UPDATE_GOLDEN") == "1":
        write_catalogue()
    assert documented() == measured()


def test_the_catalogue_is_in_order_and_names_each_once() -> None:
    names = re.findall(r"^\| `(flowgauge_\w+)` \|", CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE)

    assert names == sorted(set(names))


def test_every_name_says_its_folder_and_its_unit() -> None:
    folders = "|".join([*FOLDERS, "console"])

    assert [n for n in measured() if not re.match(rf"flowgauge_({folders})_", n) or not n.endswith(UNITS)] == []
