"""A role that freezes itself once, at a named place of a transaction: it wakes as a former owner.

    python -m tests.integration.frozen_role PLACE ROLE [FLAGS…]

The places are aiokafka's own methods, so that nothing of ours is another than in production.
"""

import os
import signal
import sys
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer.sender import Sender

from flowgauge.console.main import main

# What a step does, in its order.
PLACES: dict[str, tuple[object, str]] = {
    "before it begins": (AIOKafkaProducer, "begin_transaction"),
    "before its offset": (AIOKafkaProducer, "send_offsets_to_transaction"),
    "before its records": (AIOKafkaProducer, "send_batch"),
    "before they are sent": (Sender, "_send_produce_req"),
    "before it is committed": (AIOKafkaProducer, "commit_transaction"),
    "while it is committed": (Sender, "_do_txn_commit"),
    "between steps": (AIOKafkaConsumer, "getmany"),
}


def freeze_once(owner: object, name: str) -> None:
    """Stop this process, as SIGSTOP from outside would, when `name` is called the first time in a transaction."""
    original = getattr(owner, name)
    left = [1]

    async def planted(self: Any, *arguments: Any, **named: Any) -> Any:
        if left and is_aimed(self):
            left.clear()
            os.kill(os.getpid(), signal.SIGSTOP)
        return await original(self, *arguments, **named)

    setattr(owner, name, planted)


def is_aimed(client: object) -> bool:
    """Tell whether a client is one that steps use: a transactional producer, or a member of a group."""
    if isinstance(client, AIOKafkaConsumer):
        return cast("Any", client)._group_id is not None
    return cast("Any", client)._txn_manager.transactional_id is not None


if __name__ == "__main__":
    _, place, *arguments = sys.argv
    freeze_once(*PLACES[place])
    sys.argv = ["flowgauge", *arguments]
    main()
