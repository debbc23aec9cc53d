"""Identities that are functions of the log, so that a replay makes the same ones.

`H` is the first 128 bits of SHA-256 over the msgpack of the tuple, in hex. A group key enters as the list of its
values in the order of the rule's `for_each` (for an immediate `event` rule the event id is the last value).
"""

import hashlib
import zlib
from collections.abc import Sequence

import msgspec

_pack = msgspec.msgpack.Encoder().encode


def digest(*parts: object) -> str:
    """Return H(parts)."""
    return hashlib.sha256(_pack(parts)).hexdigest()[:32]


def incident_id(tenant: str, rule: str, key: Sequence[str], opened_at_ms: int) -> str:
    """Return the id of the incident that `rule` opened for `key` at `opened_at_ms`."""
    return digest(tenant, rule, list(key), opened_at_ms)


def transition_id(incident: str, seq: int, to: str) -> str:
    """Return the id of the incident's transition number `seq` (from 0) into state `to`."""
    return digest(incident, seq, to)


def delivery_id(transition: str, channel: str) -> str:
    """Return the id under which `channel` is told of `transition`: the `webhook-id`, the dedup key."""
    return digest(transition, channel)


def samples_partition(tenant: str, rule: str, key: Sequence[str], partitions: int) -> int:
    """Return the samples partition that owns (rule, key). Fixed for a generation of the samples topic."""
    return zlib.crc32(_pack((tenant, rule, list(key)))) % partitions


def events_partition(key: str, partitions: int) -> int:
    """Return the events partition of a record key, the same in every process."""
    return zlib.crc32(key.encode()) % partitions
