"""What is told of a connection that came to nothing: the most exact reason of our own client, and no secret."""

import asyncio
import logging
import ssl
import traceback
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from aiokafka import errors as kafka_errors

from flowgauge.schemas.errors import BadEnvironment
from flowgauge.transport.kafka_client import start
from flowgauge.transport.kafka_security import ClosedAtOnce, NoToken, TokenProvider

BOOTSTRAP = 'Unable connect to "%s:%s": %s'  # as aiokafka says it
NODE = "Unable connect to node with id %s: %s"
FETCH = "Failed fetch messages from %s: %s"
CLOSED = kafka_errors.KafkaConnectionError("Connection at broker:9092 closed")
UNTRUSTED = ssl.SSLCertVerificationError("not trusted")
SECRET = "hunter2"

library = logging.getLogger("aiokafka")
Line = tuple[str, Sequence[object]]


class Client:
    """Stands for one of aiokafka's: logs `lines` while it connects, in vain."""

    def __init__(self, *lines: Line, meanwhile: Callable[[], Any] = lambda: None) -> None:
        self._lines = lines
        self._meanwhile = meanwhile

    async def start(self) -> None:
        for text, arguments in self._lines:
            library.error(text, *arguments)
        self._meanwhile()
        await asyncio.sleep(0)  # others have their turn
        raise kafka_errors.KafkaConnectionError("Unable to bootstrap")


async def refused(client: Client) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # the test looks at what it is
        await start(cast("Any", client))
    return raised.value


@pytest.mark.parametrize("line", [(BOOTSTRAP, ("broker", 9092, CLOSED)), (NODE, (1, CLOSED))])
async def test_a_broker_that_closes_our_connection_at_once_is_told_as_that(line: Line) -> None:
    assert isinstance(await refused(Client(line)), ClosedAtOnce)


async def test_a_connection_that_broke_later_is_no_refusal() -> None:
    error = await refused(Client((FETCH, (1, CLOSED))))

    assert isinstance(error, kafka_errors.KafkaConnectionError)


async def test_what_another_client_is_refused_for_is_not_ours() -> None:
    turn = asyncio.Event()

    async def another() -> None:
        await turn.wait()
        library.error(BOOTSTRAP, "elsewhere", 9092, CLOSED)
        library.error(NODE, 1, UNTRUSTED)

    other = asyncio.create_task(another())
    await asyncio.sleep(0)  # it waits

    error = await refused(Client(meanwhile=turn.set))

    await other
    assert isinstance(error, kafka_errors.KafkaConnectionError)


async def test_that_a_connection_was_closed_replaces_no_more_exact_reason() -> None:
    exact: Line = (BOOTSTRAP, ("one", 9092, UNTRUSTED))
    closed: Line = (BOOTSTRAP, ("two", 9092, CLOSED))

    assert [await refused(Client(exact, closed)), await refused(Client(closed, exact))] == [UNTRUSTED, UNTRUSTED]


def raising(error: Exception) -> Callable[[], str]:
    def read() -> str:
        raise error

    return read


class HttpError(OSError):
    """As that of an HTTP client, whose text holds the whole URL."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BadEnvironment("kafka.token: the file is empty"), "kafka.token: the file is empty"),
        (FileNotFoundError(2, "No such file or directory", f"/run/{SECRET}"), "FileNotFoundError"),
        (HttpError(f"GET https://id/token?client_secret={SECRET}"), "HttpError"),
        (ValueError(SECRET), "ValueError"),
    ],
)
async def test_why_there_is_no_token_is_told_without_what_a_hook_says(error: Exception, said: str) -> None:
    with pytest.raises(NoToken) as raised:
        await TokenProvider(raising(error)).token()

    assert str(raised.value) == f"NoToken: {said}"
    assert SECRET not in "".join(traceback.format_exception(raised.value))
