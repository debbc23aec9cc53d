"""Which transactions are open, as the broker's coordinator says: ListTransactions of Kafka's protocol (KIP-664).

aiokafka 0.14 has no request for it, so it stands here. A transaction that a killed process left open stays Ongoing
until its successor begins or its timeout ends it, so asking right after a kill tells what the kill hit.
"""

from typing import Any, cast

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

API_KEY = 66
ONGOING = "Ongoing"


class _ListTransactionsResponse(Response):
    API_KEY = API_KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_state_filters", CompactArray(CompactString("utf-8"))),
        (
            "transaction_states",
            CompactArray(
                ("transactional_id", CompactString("utf-8")),
                ("producer_id", Int64),
                ("transaction_state", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ListTransactionsStruct(RequestStruct):
    API_KEY = API_KEY
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ListTransactionsResponse
    SCHEMA = Schema(
        ("state_filters", CompactArray(CompactString("utf-8"))),
        ("producer_id_filters", CompactArray(Int64)),
        ("tags", TaggedFields),
    )


class _ListTransactions(Request[_ListTransactionsStruct]):
    API_KEY = API_KEY

    def build(self, request_struct_class: type[_ListTransactionsStruct]) -> _ListTransactionsStruct:
        return request_struct_class([ONGOING], [], {})


class Transactions:
    """A connection to a broker that stands alone."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._client: Any = None  # aiokafka's clients are made within their loop

    async def start(self) -> None:
        """Connect."""
        self._client = cast("Any", AIOKafkaClient)(bootstrap_servers=self._bootstrap, client_id="torture")
        await self._client.bootstrap()

    async def stop(self) -> None:
        """Let go."""
        await self._client.close()

    async def open(self) -> set[str]:
        """Return the ids of the transactions that are open now."""
        node = self._client.get_random_node()
        answer = await self._client.send(node, _ListTransactions())
        return {name for name, _, state, *_ in answer.transaction_states if state == ONGOING}
