"""The one port: bound early, so that a taken one is told before anything else is opened."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from flowgauge.console.bounded_http import BOUNDS, HEAD_BYTES_MAX, ConnectionBounds, bounded_http
from flowgauge.console.web_socket import WebSocket
from flowgauge.schemas.errors import BadEnvironment

BACKLOG = 1_024  # connections that wait while the parts open
GRACE_S = 3  # requests at work when the end comes
KEEP_ALIVE_S = 30


class Server(uvicorn.Server):
    """Leaves the signals to whoever ends the parts in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise BadEnvironment with the remedy when there is none to have."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except UnicodeError:  # such as a..b, which no resolver takes
        raise BadEnvironment(f"{host!r} is no host's name; choose another with --host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadEnvironment(f"port {port} of {host} is taken; choose another with --port") from None
        option = "--port" if isinstance(error, PermissionError) else "--host"
        reason = error.strerror or error
        raise BadEnvironment(f"port {port} of {host} cannot be used: {reason}; choose another with {option}") from None


def server_of(app: ASGIApp, bounds: ConnectionBounds = BOUNDS) -> Server:
    """Return a server of `app` that logs nothing by itself."""
    return Server(
        uvicorn.Config(
            app,
            http=bounded_http(bounds),
            ws=WebSocket,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
    )


async def serve(app: ASGIApp, listening: socket.socket, stop: asyncio.Event, bounds: ConnectionBounds) -> None:
    """Answer requests until `stop`, then end those at work within GRACE_S."""
    server = server_of(app, bounds)

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    async with asyncio.TaskGroup() as group:
        ending = group.create_task(end())
        await server.serve(sockets=[listening])
        ending.cancel()


def address_of(listening: socket.socket) -> str:
    """Return the URL at which people reach the socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
