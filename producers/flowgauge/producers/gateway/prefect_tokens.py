"""Where Prefect's clients carry a token, as the `Authorization` values that the token table reads. Pure.

PREFECT_API_AUTH_STRING=TOKEN, or NAME:TOKEN      Basic, and in the first message of a WebSocket
PREFECT_API_KEY=TOKEN, with Prefect Cloud's URL   bearer
custom headers                                    Bearer
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from flowgauge.producers.tokens import basic_text

AUTH_BYTES_MAX = 16_384  # far above any token


class _Auth(msgspec.Struct):
    type: Literal["auth"]
    token: str | None = None


_decode_auth = msgspec.json.Decoder(_Auth).decode


def readings_of(authorization: str | None) -> Sequence[str | None]:
    """Return what an `Authorization` header may mean to the token table."""
    text = None if authorization is None else basic_text(authorization)
    return [authorization] if text is None else _of_auth_string(text)


def readings_of_message(message: bytes, authorization: str | None) -> Sequence[str | None] | None:
    """Return the same of a WebSocket's first message, or of the header when it brings no token.

    None when it is no such message.
    """
    if len(message) > AUTH_BYTES_MAX:
        return None
    try:
        token = _decode_auth(message).token
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _of_auth_string(token) if token else readings_of(authorization)


def _of_auth_string(text: str) -> Sequence[str]:
    name, _, token = text.partition(":")
    return [f"Bearer {text}", f"Bearer {token}"] if token else [f"Bearer {name}"]
