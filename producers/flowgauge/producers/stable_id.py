"""Ids that are made of what identifies an event where it comes from. Pure.

Whoever tells an event again, another process or the same one after a crash, tells it under the same id, and no answer
changes. Each source of ids has a namespace of its own: random, but fixed.
"""

import uuid

import msgspec

_encode = msgspec.json.Encoder().encode


def stable_id(namespace: uuid.UUID, *parts: str | int | None) -> str:
    """Return the id of what `parts` identify within `namespace`: the same for the same parts, and for no others."""
    return str(uuid.uuid5(namespace, _encode(parts).decode()))
