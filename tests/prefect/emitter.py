"""Emits events as users of Prefect do, by `python emitter.py COUNT`. Prints `confirmed N` at each checkpoint.

Run by tests/integration/test_prefect_clients.py in the environment that .ci/peer prefect prepares, where types are not
checked: so Prefect is imported as Any. The environment says where to. Event N has the id N: a run of its own that ends,
the odd ones failed.
"""

import sys
import uuid
from importlib import import_module
from typing import Any

client: Any = import_module("prefect.events.clients").PrefectEventsClient
emit_event: Any = import_module("prefect.events").emit_event

FLOW = {"prefect.resource.id": "prefect.flow.f", "prefect.resource.role": "flow", "prefect.resource.name": "orders"}
checkpoint = client._checkpoint  # Prefect says nowhere else what it believes confirmed


async def noted(self: Any) -> None:
    """Do a checkpoint, and tell when it was one: the client forgets what was sent, in order, up to it."""
    sent = list(self._unconfirmed_events)
    await checkpoint(self)
    if len(self._unconfirmed_events) < len(sent):
        print("confirmed", sent[-1].id.int + 1, flush=True)


def emit(number: int) -> None:
    """Emit an event as Prefect's server tells the end of a run."""
    state = "FAILED" if number % 2 else "COMPLETED"
    labels = {"prefect.resource.id": f"prefect.flow-run.{uuid.UUID(int=number)}", "prefect.state-type": state}
    emit_event(f"prefect.flow-run.{state.title()}", labels, related=[FLOW], id=uuid.UUID(int=number))


if __name__ == "__main__":
    client._checkpoint = noted  # as above
    for each in range(int(sys.argv[1])):
        emit(each)
