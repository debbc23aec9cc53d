"""What Prefect keeps of an interval, page by page: events, logs, flow runs, each as its JSON.

    since ├──── page ────┤
                         ├──── page ────┤       the next page begins at the last time of the one before, so that rows
                                        ├─ …    that come meanwhile move nothing; what lies on a border comes twice

Times are µs since 1970, and intervals are [since, until). Each page is one request; who reads tells by ids what it has.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from flowgauge.producers.prefect.api import PrefectApi
from flowgauge.producers.prefect.mapping import rfc3339, utc_time
from flowgauge.schemas.times import EPOCH, micros

EVENTS_PAGE = 50  # the most that Prefect gives
ROWS_PAGE = 200  # likewise, of logs and runs

Json = dict[str, Any]

decode_object = msgspec.json.Decoder(Json).decode


def fields_of(row: bytes | msgspec.Raw) -> Json:
    """Return a row's fields; none of what is no object."""
    try:
        return decode_object(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


class _Kind(NamedTuple):
    """Rows that are filtered and ordered by a time: the first of `times` that a row has."""

    path: str
    filter: str
    times: tuple[str, ...]
    sort: str


_LOGS: Final = _Kind("/logs/filter", "logs", ("timestamp",), "TIMESTAMP_ASC")
_FLOW_RUNS: Final = _Kind("/flow_runs/filter", "flow_runs", ("start_time", "expected_start_time"), "START_TIME_ASC")


class EventPage(msgspec.Struct):
    """A page of `POST /events/filter`; `total` counts the whole interval."""

    events: list[msgspec.Raw]
    total: int
    next_page: str | None = None


def events_total(api: PrefectApi, since_us: int, until_us: int) -> int:
    """Return how many events Prefect keeps of the interval."""
    return _events_page(api, since_us, until_us, 0).total


def events_between(api: PrefectApi, since_us: int, until_us: int) -> Iterator[bytes]:
    """Yield the events of the interval in the order of their times."""
    while since_us < until_us:
        page = _events_page(api, since_us, until_us, EVENTS_PAGE)
        yield from map(bytes, page.events)
        if len(page.events) >= page.total or not page.events:
            return
        last_us = _time_of(page.events[-1], ("occurred",), since_us)
        if last_us <= since_us:  # more at one time than a page holds
            yield from _rest(api, page)
            return
        since_us = last_us


def logs_between(api: PrefectApi, since_us: int, until_us: int) -> Iterator[bytes]:
    """Yield the logs of the interval in the order of their times."""
    return _rows(api, _LOGS, since_us, until_us)


def flow_runs_between(api: PrefectApi, since_us: int, until_us: int) -> Iterator[bytes]:
    """Yield the flow runs that started in the interval, or were to start then and did not, in the order of that."""
    return _rows(api, _FLOW_RUNS, since_us, until_us)


def moment_us(time: object, otherwise: int) -> int:
    """Return a time of Prefect's in µs since 1970; `otherwise` for what is none."""
    moment = utc_time(time)
    return otherwise if moment is None else micros(moment)


def time_at(us: int) -> str:
    """Return µs since 1970 as Prefect writes a time."""
    return rfc3339(EPOCH + timedelta(microseconds=us))


def _events_page(api: PrefectApi, since_us: int, until_us: int, limit: int) -> EventPage:
    occurred = {"since": time_at(since_us), "until": time_at(until_us - 1)}  # Prefect takes both ends
    body = {"filter": {"occurred": occurred, "order": "ASC"}, "limit": limit}
    return api.post("/events/filter", body, EventPage)


def _rest(api: PrefectApi, page: EventPage) -> Iterator[bytes]:
    """Yield what comes after a page as Prefect itself counts pages."""
    while page.next_page and page.events:
        # The address in it is as Prefect sees itself: behind a proxy that is not where we ask.
        token = unquote(page.next_page.partition("page-token=")[2].partition("&")[0])
        page = api.get("/events/filter/next", EventPage, **{"page-token": token})
        yield from map(bytes, page.events)


def _rows(api: PrefectApi, kind: _Kind, since_us: int, until_us: int) -> Iterator[bytes]:
    offset = 0
    while since_us < until_us:
        interval = {"after_": time_at(since_us), "before_": time_at(until_us - 1)}
        wanted = {kind.filter: {kind.times[0]: interval}, "sort": kind.sort, "limit": ROWS_PAGE, "offset": offset}
        rows = api.post(kind.path, wanted, list[msgspec.Raw])
        yield from map(bytes, rows)
        if len(rows) < ROWS_PAGE:
            return
        last_us = _time_of(rows[-1], kind.times, since_us)
        offset = 0 if last_us > since_us else offset + len(rows)  # more at one time than a page holds
        since_us = max(since_us, last_us)


def _time_of(row: msgspec.Raw, times: Sequence[str], otherwise: int) -> int:
    fields = fields_of(row)
    return moment_us(next((fields[name] for name in times if fields.get(name)), None), otherwise)
