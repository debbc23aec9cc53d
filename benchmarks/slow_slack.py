"""An incoming webhook that takes a message a second, as Slack does: `python -m benchmarks.slow_slack`.

Prints its URL, serves until its standard input ends, then prints what came, as JSON: messages that were taken, requests
that came too soon (429 with Retry-After), incidents that the messages told of, and when the first came.
"""

import asyncio
import re
import sys
import time

import msgspec

from benchmarks.sockets import address_of, listening
from flowgauge.transport.wall_clock import now_ms

EVERY_S = 1.0
_COUNT = re.compile(r"([\d,]+) incidents?")
_decode = msgspec.json.Decoder(dict[str, object]).decode


class _SlowSlack:
    def __init__(self) -> None:
        self.messages = self.busy = self.incidents = self.first_ms = 0
        self._next_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
            writer.write(self._answer(body))
            await writer.drain()
        finally:
            writer.close()

    def _answer(self, body: bytes) -> bytes:
        moment = time.monotonic()
        if moment < self._next_s:
            self.busy += 1
            return b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
        self._next_s = moment + EVERY_S
        self.messages += 1
        self.first_ms = self.first_ms or now_ms()
        found = _COUNT.search(str(_decode(body)["text"]))
        self.incidents += int(found[1].replace(",", "")) if found else 1
        return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def main() -> None:
    """Serve until standard input ends."""
    slack = _SlowSlack()
    with listening() as socket:
        server = await asyncio.start_server(slack.serve, sock=socket)
        print(f"{address_of(socket)}/hook", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()
    names = ("messages", "busy", "incidents", "first_ms")
    print(msgspec.json.encode({name: getattr(slack, name) for name in names}).decode())


if __name__ == "__main__":
    asyncio.run(main())
