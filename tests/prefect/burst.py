"""Emits as many events as told with Prefect's own client, as fast as it does. Prints their ids once all are sent.

Run by tests/integration/prefect_server.py in the environment that .ci/peer prefect prepares, as flows.py is.
"""

import json
import sys
from importlib import import_module
from typing import Any

events: Any = import_module("prefect.events")
worker: Any = import_module("prefect.events.worker")

if __name__ == "__main__":
    told = [
        str(events.emit_event("burst.step", resource={"prefect.resource.id": f"burst.{number}"}).id)
        for number in range(int(sys.argv[1]))
    ]
    worker.EventsWorker.instance().drain()
    print(json.dumps(told))
