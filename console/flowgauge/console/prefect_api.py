"""Automations as a Prefect server tells them, a page at a time."""

from flowgauge.processors.prefect_automations import AUTOMATIONS_MAX
from flowgauge.producers.prefect.api import Credentials, PrefectApi

PAGE = 200  # what a page of Prefect's holds at most
PAGE_BYTES_MAX = 16 * 1_048_576


def automations_at(api: str, credentials: Credentials) -> list[object]:
    """Return the automations of the API at `api`, such as http://127.0.0.1:4200/api; at most one too many.

    Raises BadEnvironment with the remedy where it does not answer, refuses the key, or tells something else.
    """
    found: list[object] = []
    with PrefectApi(api, credentials, wait_s=0, bytes_max=PAGE_BYTES_MAX) as prefect:
        while len(found) <= AUTOMATIONS_MAX:
            page = prefect.post("/automations/filter", {"limit": PAGE, "offset": len(found)}, list[object])
            found += page
            if len(page) < PAGE:
                break
    return found
