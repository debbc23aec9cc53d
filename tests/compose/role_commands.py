"""What compose/ takes for granted of the commands of the roles, until they are in the code.

As soon as `flowgauge gateway` exists, the code alone is asked; what stands here is compared with it and can then go.
"""

from importlib import import_module
from typing import Final

import pytest

from flowgauge.console.main import COMMANDS

PORTS: Final = {
    "gateway": 4280,
    "console": 4290,
    "pulse": 4291,
    "match": 4292,
    "detect": 4293,
    "sink": 4294,
    "notify": 4295,
}
AWAITED_METRICS: Final = {
    "flowgauge_transport_lag_records": {"topic", "group"},
    "flowgauge_transport_lag_seconds": {"topic", "group"},
    "flowgauge_transport_rebalances_total": {"group"},
    "flowgauge_transport_transaction_seconds_bucket": {"group", "le"},
    "flowgauge_transport_restore_seconds_bucket": {"group", "le"},
    "flowgauge_processors_clock_milliseconds": {"partition"},
}
MISSING: Final = "the commands of the roles are not here yet: `flowgauge gateway` does not exist"


def roles_are_here() -> bool:
    """Tell whether the code has the commands of the roles."""
    return "gateway" in COMMANDS


needs_roles = pytest.mark.skipif(not roles_are_here(), reason=MISSING)


def port_in_code(role: str) -> int:
    """Return the port of a role as its own file says."""
    module = import_module(f"flowgauge.console.roles.{role}")
    ports = [each.port for each in vars(module).values() if getattr(each, "name", None) == role]
    assert len(ports) == 1, f"{module.__name__} has {len(ports)} roles called {role}"
    port: int = ports[0]
    return port
