"""What a door needs of a WebSocket: its messages in batches, and its answers held until they may leave.

    receive ──► messages ──► made durable ──► receive again: only now do pongs, and the echo of a close, leave
                         └──► close: what was held never leaves

So whoever pings after some messages has their receipt in the pong. The web server's side implements it
(console/web_socket.py); a door finds it under SOCKET in the `extensions` of the ASGI scope.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

SOCKET: Final = "flowgauge.socket"
MESSAGE_BYTES_MAX: Final = 2 * 1_048_576  # above the largest event of any sender; a longer message ends the connection

FRAGMENT_BYTES: Final = 64  # what a fragment counts besides its payload: without any it still costs time

Why = Literal["client", "protocol", "shutdown"]


class Ended(Exception):
    """No more messages come: the peer closed, broke the protocol, or this process ends and the socket wants closing."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why: Final = why


class Socket(Protocol):
    """One connection. Nothing but `receive` waits."""

    @property
    def unread(self) -> int:
        """How many bytes of a message have come that has not come whole, and FRAGMENT_BYTES for each fragment."""
        ...

    @property
    def came(self) -> int:
        """How many bytes `receive` has read so far, of all frames."""
        ...

    def accept(self, subprotocol: str | None) -> None:
        """Let the peer in."""
        ...

    def refuse(self, status: int, said: str) -> None:
        """Answer the upgrade over HTTP instead of letting the peer in."""
        ...

    async def receive(self) -> Sequence[bytes]:
        """Let the held answers leave, then return what has come since, text and binary alike; may be empty.

        About 256 kB or one message at a time: more is not read before the next call. Raises Ended.
        """
        ...

    def say(self, text: str) -> None:
        """Send one text message; held like the rest."""
        ...

    def close(self, code: int, said: str) -> None:
        """End the connection. What is held never leaves, so that the peer sends again what it has no receipt for."""
        ...
