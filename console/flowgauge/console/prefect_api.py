"""Automations as a Prefect server tells them: a page at a time, as little trusted as a file.

Prefect's API: POST {api}/automations/filter with `limit` and `offset`; of Prefect Cloud the address names the
workspace, and a key goes along (https://docs.prefect.io/v3/api-ref).
"""

import httpx2
import msgspec

from flowgauge.processors.prefect_automations import AUTOMATIONS_MAX
from flowgauge.schemas.errors import BadEnvironment

PAGE = 200  # what a page of Prefect's holds at most
PAGE_BYTES_MAX = 16 * 1_048_576
ANSWER_S_MAX = 15.0
KEY = "PREFECT_API_KEY"  # as Prefect's own client has it


def automations_at(api: str, key: str | None) -> list[object]:
    """Return the automations of the API at `api`, such as http://127.0.0.1:4200/api; at most one too many.

    Raises BadEnvironment with the remedy where it does not answer, refuses the key, or tells something else.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    found: list[object] = []
    with httpx2.Client(headers=headers, timeout=ANSWER_S_MAX, trust_env=False) as client:
        while len(found) <= AUTOMATIONS_MAX:
            page = _page(client, api, len(found))
            found += page
            if len(page) < PAGE:
                break
    return found


def _page(client: httpx2.Client, api: str, offset: int) -> list[object]:
    url = f"{api.rstrip('/')}/automations/filter"
    try:
        with client.stream("POST", url, json={"limit": PAGE, "offset": offset}) as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > PAGE_BYTES_MAX:
                    raise BadEnvironment(f"{url}: a page of more than {PAGE_BYTES_MAX:,} bytes is not read")
            status = response.status_code
    except httpx2.HTTPError as error:
        raise BadEnvironment(f"{url}: no answer: {error} (is this the address of the API, with /api?)") from None
    if status in {401, 403}:
        raise BadEnvironment(f"{url}: refused with {status} (set {KEY} to a key that may read automations)")
    if status != 200:  # HTTP's OK
        raise BadEnvironment(f"{url}: answered {status} (is this the address of the API, with /api?)")
    try:
        return msgspec.json.decode(bytes(body), type=list[object])
    except msgspec.DecodeError:
        raise BadEnvironment(f"{url}: the answer is no list (is this the address of the API, with /api?)") from None
