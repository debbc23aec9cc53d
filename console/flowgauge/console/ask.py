"""How a command reaches an answer: the server over HTTP, or the data folder itself when no server owns it.

ClickHouse is one process a folder. So the server is asked first; only when none answers is the folder opened, under
its lock, and asked through the very routes the server has: both give the same answer.
"""

import contextlib
import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import httpx2
import msgspec

from flowgauge.schemas.errors import BadInput, DataFolderLocked, FlowgaugeError, ServerAway
from flowgauge.schemas.event import DEFAULT_TENANT

if TYPE_CHECKING:
    from flowgauge.sinks.clickhouse.store import ClickHouseStore
    from flowgauge.transport.log import Log

RULES = "/v1/rules"
INCIDENTS = "/v1/incidents"
SILENCES = "/v1/silences"
PREVIEW = "/v1/silences/preview"
ACTIONS = "/v1/actions"
DELIVERIES = "/v1/deliveries"
OF_THE_LOG = (RULES, INCIDENTS, SILENCES, ACTIONS)  # what is answered with more than ClickHouse has
TIMEOUT_S = 30.0  # a question may take ClickHouse 10 s, and wait for another before it
CONNECT_S = 3.0  # a server that lives accepts at once; without an answer by then the data folder is asked


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask."""

    url: str
    token: str | None
    data: Path


class Answer:
    """A JSON answer, as text for programs and as columns and rows for people.

    `folder` is the data folder that was read, None where a server answered.
    """

    def __init__(self, text: str, folder: Path | None = None) -> None:
        self.text = text
        self.folder = folder

    @cached_property
    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return cast("dict[str, Any]", msgspec.json.decode(self.text))

    def columns(self) -> list[str]:
        """Return the names of the columns of a list of rows."""
        return cast("list[str]", self.body["columns"])

    def rows(self) -> list[Sequence[object]]:
        """Return the rows as lists of values, in the order of the columns."""
        rows = cast("list[Mapping[str, object]]", self.body["rows"])
        return [[row[column] for column in self.columns()] for row in rows]


def tenant_in(parameters: Mapping[str, str]) -> str:
    """Return whose data is asked for where no token says it."""
    return parameters.get("tenant") or DEFAULT_TENANT


async def ask(place: Place, path: str, parameters: Mapping[str, str], *, of_server: bool = False) -> Answer:
    """Return the answer to GET `path`, `of_server` alone or of whoever has the data.

    Raises BadInput for a wrong question and ServerAway when nobody can answer.
    """
    response = await _exchange(place, "GET", path, parameters=parameters)
    if response is not None:
        return _read(response, place.url, has_token=bool(place.token))
    if of_server:
        raise _without(place)
    return await _ask_folder(place, path, parameters)


async def post(place: Place, path: str, body: bytes, parameters: Mapping[str, str] | None = None) -> Answer:
    """Return the answer to POST `path` of a running server; raise ServerAway when there is none."""
    response = await _exchange(place, "POST", path, parameters=parameters, body=body)
    if response is None:
        raise _away(place)
    return _read(response, place.url, has_token=bool(place.token))


async def delete(place: Place, path: str, name: str, parameters: Mapping[str, str]) -> Answer:
    """Return the answer to DELETE of what is called `name` under `path`; raise ServerAway when no server runs."""
    response = await _exchange(place, "DELETE", f"{path}/{quote(name, safe='')}", parameters=parameters)
    if response is None:
        raise _away(place)
    return _read(response, place.url, has_token=bool(place.token))


async def _exchange(
    place: Place, method: str, path: str, *, parameters: Mapping[str, str] | None = None, body: bytes | None = None
) -> httpx2.Response | None:
    """Return the server's response, None when no server can be reached."""
    headers = {"content-type": "application/json"} if body is not None else {}
    if place.token:
        headers["authorization"] = f"Bearer {place.token}"
    timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_S)
    async with httpx2.AsyncClient(base_url=place.url, timeout=timeout, trust_env=False) as client:
        try:
            return await client.request(method, path, params=parameters, content=body, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            return None
        except httpx2.TimeoutException:
            raise ServerAway(
                f"{place.url} did not answer within {TIMEOUT_S:g} s: its log and {place.url}/readyz tell what keeps it "
                "busy; a question is answered sooner where it is of less: a shorter time (since), fewer rows (limit)"
            ) from None
        except (httpx2.HTTPError, UnicodeError) as error:  # a host such as a..b is no name to ask for
            raise ServerAway(f"{place.url} did not answer: {type(error).__name__}") from None


async def ask_pages(place: Place, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[Answer]:
    """Yield the answers to GET `path` until one says that no page is `next`; a data folder stays open meanwhile."""
    with contextlib.ExitStack() as held:
        store: ClickHouseStore | None = None
        after: Mapping[str, str] | None = {}
        while after is not None:
            asked = {**parameters, **after}
            response = None if store else await _exchange(place, "GET", path, parameters=asked)
            if response is not None:
                answer = _read(response, place.url, has_token=bool(place.token))
            else:
                if after and store is None:
                    raise _away(place)  # it answered the page before
                store = store or held.enter_context(_opened_folder(place, parameters))
                answer = Answer((await _ask_routes(store, place.data, path, asked)).text, place.data)
            yield answer
            after = None if answer.body["next"] is None else {"after": str(answer.body["next"])}


async def _ask_folder(place: Place, path: str, parameters: Mapping[str, str]) -> Answer:
    with _opened_folder(place, parameters) as store:
        return Answer((await _ask_routes(store, place.data, path, parameters)).text, place.data)


@contextlib.contextmanager
def _opened_folder(place: Place, parameters: Mapping[str, str]) -> Generator["ClickHouseStore"]:
    """Open the ClickHouse of the data folder, under its lock; raise ServerAway where that cannot be."""
    from flowgauge.sinks.clickhouse.store import ClickHouseStore  # noqa: PLC0415  # only where no server runs
    from flowgauge.transport.data_folder import lock_data_folder  # noqa: PLC0415

    if not (place.data / "clickhouse").is_dir():
        raise _away(place)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock_data_folder(place.data))
        except DataFolderLocked as locked:
            raise ServerAway(f"no flowgauge server answers at {place.url}, and {locked}") from None
        if place.token and not parameters.get("tenant"):
            raise ServerAway(
                f"no flowgauge server answers at {place.url}, and without one nobody can tell whose this token is: "
                f"start it, or say with --tenant whose data to read in {place.data} "
                f"(without FLOWGAUGE_TOKEN and --token it is tenant {DEFAULT_TENANT})"
            )
        store = ClickHouseStore.open(place.data / "clickhouse")
        held.callback(store.close)
        yield store


async def _ask_routes(store: "ClickHouseStore", data: Path, path: str, parameters: Mapping[str, str]) -> Answer:
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.exceptions import HTTPException  # noqa: PLC0415

    from flowgauge.console.price_file import WatchedPrices  # noqa: PLC0415
    from flowgauge.console.web.answers import Answers  # noqa: PLC0415
    from flowgauge.console.web.api import api_routes  # noqa: PLC0415
    from flowgauge.console.web.json_answer import refused_path  # noqa: PLC0415
    from flowgauge.processors.ruleset import RuleSet  # noqa: PLC0415
    from flowgauge.processors.ruletopic import RuleBook  # noqa: PLC0415
    from flowgauge.producers.tokens import TokenTable  # noqa: PLC0415
    from flowgauge.schemas.settings import load_settings  # noqa: PLC0415
    from flowgauge.sinks.clickhouse.event_history import history_clock_ms  # noqa: PLC0415
    from flowgauge.sinks.clickhouse.prices import PriceList  # noqa: PLC0415
    from flowgauge.transport.control_book import ControlBook  # noqa: PLC0415
    from flowgauge.transport.health import Health  # noqa: PLC0415
    from flowgauge.transport.local_file import FILE_NAME  # noqa: PLC0415

    def prices(tenant: str) -> PriceList:
        watched = WatchedPrices(load_settings(None, os.environ, {}).prices, Health())
        watched.open()
        return watched.of(tenant)

    health = Health(clock_ms=await history_clock_ms(store) or 0)  # nobody detects since then
    ruleset, controls = RuleSet(), None
    async with contextlib.AsyncExitStack() as held:
        if path.startswith(OF_THE_LOG) and (data / FILE_NAME).exists():
            log = await held.enter_async_context(_log_in(data))
            book, controls = RuleBook(log), ControlBook(log, health)
            await book.refresh()
            await controls.refresh()
            ruleset = book.current
        answers = Answers(store, health, TokenTable(), rules=lambda: ruleset, prices=prices, controls=controls)
        app = Starlette(routes=api_routes(answers), exception_handlers={HTTPException: refused_path})
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=TIMEOUT_S) as client:
            return _read(await client.get(path, params=dict(parameters)), "the data folder")


@contextlib.asynccontextmanager
async def _log_in(data: Path) -> AsyncGenerator["Log"]:
    """Open the log of a data folder whose lock is ours."""
    from flowgauge.transport.local import open_local_log  # noqa: PLC0415

    log = await open_local_log(data, partitions={})
    try:
        yield log
    finally:
        await log.close()


def _read(response: httpx2.Response, who: str, *, has_token: bool = False) -> Answer:
    try:
        body = msgspec.json.decode(response.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ServerAway(
            f"{who} answered HTTP {response.status_code} and no JSON: is flowgauge there? (set FLOWGAUGE_URL)"
        ) from None
    if response.is_success:
        return Answer(response.text)
    said = str(body.get("error", "")) or f"{who} answered HTTP {response.status_code}"
    if response.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
        raise FlowgaugeError(said)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        fault = "does not know this token" if has_token else "asks for a tenant's token"
        raise BadInput(f"{who} {fault}: set FLOWGAUGE_TOKEN, or give --token")
    if response.is_client_error and response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
        raise BadInput(said)
    raise ServerAway(said)


def _without(place: Place) -> ServerAway:
    return ServerAway(
        f"no flowgauge server answers at {place.url}, and this needs one: "
        "start it with `flowgauge up`, or say where it is with --url (FLOWGAUGE_URL)"
    )


def _away(place: Place) -> ServerAway:
    what = "no server has run yet in" if place.data.is_dir() else "there is no folder"
    return ServerAway(
        f"no flowgauge server answers at {place.url} and {what} {place.data}: "
        "start one with `flowgauge up`, or say where it is with --url or --data (FLOWGAUGE_URL, FLOWGAUGE_DATA)"
    )
