"""The publisher against real servers: nothing raised into the work, nothing lost that the buffer holds."""

import asyncio
import gzip
import json
import logging
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest
from tests.integration.gateway_server import Running, running_gateway

from flowgauge.producers import Publisher
from flowgauge.producers.run_scope import State
from flowgauge.schemas.event import Event
from flowgauge.schemas.times import micros
from flowgauge.transport.wall_clock import now_ms

pytestmark = pytest.mark.integration

MINIMAL = {"event": "etl.done", "resource": {"id": "etl.1"}}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Running, None]:
    async with running_gateway(tmp_path) as running:
        yield running


Reply = tuple[int, dict[str, str], bytes]


class Scripted:
    """A server that gives the answers it was told and notes what came; the last answer stands for ever."""

    def __init__(self, *answers: Reply) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.url = ""

    def ids(self, request: int) -> list[str]:
        """Return the ids of the events in the body of a request."""
        return [json.loads(line)["id"] for line in self.bodies[request].splitlines()]


@contextmanager
def scripted(*answers: Reply) -> Generator[Scripted, None, None]:
    script = Scripted(*answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the name http.server asks for
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            status, headers, content = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name http.server gives it
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def accepted(count: int, *errors: dict[str, object]) -> Reply:
    answer = {"accepted": count, "rejected": len(errors), "errors": errors}
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


def counts(publisher: Publisher) -> tuple[int, int, int]:
    return publisher.sent, publisher.refused, publisher.dropped


async def flushed(publisher: Publisher) -> None:
    assert await asyncio.to_thread(publisher.flush, 15_000)


async def test_an_event_arrives_with_an_id_and_the_time_it_was_said(gateway: Running) -> None:
    before_ms = now_ms()
    with Publisher(gateway.url) as publisher:
        assert publisher.emit(MINIMAL)
        await flushed(publisher)

        [event] = await gateway.events()
        assert counts(publisher) == (1, 0, 0)
    assert event.id.version == 7
    assert before_ms <= micros(event.occurred) // 1_000 <= now_ms()


async def test_an_id_and_a_time_that_were_given_are_kept_and_nulls_filled(gateway: Running) -> None:
    given = "01a207c7-d5fc-7558-9164-f669aabd48aa"
    with Publisher(gateway.url) as publisher:
        publisher.emit({**MINIMAL, "id": given, "occurred": datetime(2026, 11, 1, tzinfo=UTC).isoformat()})
        publisher.emit({**MINIMAL, "id": None, "occurred": None})
        await flushed(publisher)

    events = await gateway.events()
    assert str(events[0].id) == given
    assert events[0].occurred == datetime(2026, 11, 1, tzinfo=UTC)
    assert len(events) == 2


async def test_what_is_said_in_one_millisecond_keeps_its_order(gateway: Running) -> None:
    with Publisher(gateway.url) as publisher:
        for number in range(500):
            publisher.emit({**MINIMAL, "payload": {"number": number}})
        await flushed(publisher)

    events = sorted(await gateway.events(), key=lambda event: (event.occurred, event.id))
    assert [event.payload["number"] for event in events] == list(range(500))


async def test_threads_that_publish_at_once_lose_nothing(gateway: Running) -> None:
    publisher = Publisher(gateway.url)

    def work() -> None:
        for _ in range(1_000):
            publisher.emit(MINIMAL)

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))
    await flushed(publisher)

    assert len({event.id for event in await gateway.events()}) == 4_000
    assert counts(publisher) == (4_000, 0, 0)
    publisher.close()


async def test_a_run_says_that_it_runs_what_it_does_and_that_it_completed(gateway: Running) -> None:
    slot = datetime(2026, 11, 23, 2, tzinfo=UTC)
    with Publisher(gateway.url) as publisher:
        with publisher.run("nightly-etl", scheduled_for=slot, run="r-1", tags=["prod"]) as run:
            run.log("warning", "42 rows", "etl")
            with run.task("extract"):
                pass
        await flushed(publisher)

    events = await gateway.events()
    assert [(e.event, e.kind, e.state) for e in events] == [
        ("flow-run.running", "flow-run", "running"),
        ("log.write", "log", None),
        ("task-run.running", "task-run", "running"),
        ("task-run.completed", "task-run", "completed"),
        ("flow-run.completed", "flow-run", "completed"),
    ]
    assert {(e.flow, e.run) for e in events} == {("nightly-etl", "r-1")}
    assert [e.scheduled_for for e in events] == [slot, None, None, None, slot]
    assert events[0].resource == {"id": "flow-run.r-1", "name": "nightly-etl"}
    assert events[0].related == [
        {"id": "flow.nightly-etl", "role": "flow", "name": "nightly-etl"},
        {"id": "tag.prod", "role": "tag", "name": "prod"},
    ]
    assert events[1].payload == {"level": "WARNING", "logger": "etl", "message": "42 rows"}
    assert events[2].task == events[3].task
    assert events[2].resource == {"id": f"task-run.{events[2].task}", "name": "extract"}


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


ENDS: list[tuple[BaseException, str, dict[str, object]]] = [
    (ValueError("no rows"), "failed", {"exception": {"type": "ValueError", "message": "no rows"}}),
    (Unprintable(), "failed", {"exception": {"type": "Unprintable", "message": "<Unprintable>"}}),
    (SystemExit(3), "failed", {"exception": {"type": "SystemExit", "message": "3"}}),
    (SystemExit(0), "completed", {}),
    (KeyboardInterrupt(), "cancelled", {"exception": {"type": "KeyboardInterrupt", "message": ""}}),
    (asyncio.CancelledError(), "cancelled", {"exception": {"type": "CancelledError", "message": ""}}),
]


@pytest.mark.parametrize(("exception", "state", "payload"), ENDS, ids=range(len(ENDS)))
async def test_an_exception_ends_the_run_and_goes_on(
    gateway: Running, exception: BaseException, state: str, payload: dict[str, object]
) -> None:
    with Publisher(gateway.url) as publisher:
        with pytest.raises(type(exception)) as raised, publisher.run("etl"):
            raise exception
        await flushed(publisher)

    events = await gateway.events()
    assert raised.value is exception
    assert [(e.state, e.payload) for e in events] == [("running", {}), (state, payload)]


async def test_a_naive_scheduled_time_counts_as_utc(gateway: Running) -> None:
    with Publisher(gateway.url) as publisher:
        with publisher.run("etl", scheduled_for=datetime(2026, 11, 23, 2)):  # noqa: DTZ001  # what is tested
            pass
        await flushed(publisher)

    assert {e.scheduled_for for e in await gateway.events()} == {datetime(2026, 11, 23, 2, tzinfo=UTC)}


@pytest.mark.parametrize("text", ["2026-12-01T04:00:00", "2026-12-01T04:00:00Z", "2026-12-01T06:00:00+02:00"])
async def test_a_scheduled_time_may_be_text_which_counts_as_utc_without_a_zone(gateway: Running, text: str) -> None:
    with Publisher(gateway.url) as publisher:
        with publisher.run("etl", scheduled_for=text):
            pass
        await flushed(publisher)

    assert [e.scheduled_for for e in await gateway.events()] == [datetime(2026, 12, 1, 4, tzinfo=UTC)] * 2


NO_TIMES = ["yesterday", 1_795_917_600, "1969-12-31T00:00:00Z", datetime(2200, 1, 1, tzinfo=UTC), object()]


@pytest.mark.parametrize("wrong", NO_TIMES, ids=range(len(NO_TIMES)))
async def test_what_is_no_time_and_what_is_no_state_are_left_out_and_said_once_and_the_run_is_kept(
    gateway: Running, wrong: object, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(gateway.url) as publisher:
        for _ in range(2):
            with publisher.run("etl", scheduled_for=cast("str", wrong)) as run:
                run.ends(cast("State", wrong))
        await flushed(publisher)

        assert counts(publisher) == (4, 0, 0)
    assert [(e.state, e.scheduled_for) for e in await gateway.events()] == [("running", None), ("completed", None)] * 2
    assert [message.partition("=")[0].partition("(")[0] for message in caplog.messages] == ["scheduled_for", "run.ends"]


async def test_one_tag_may_be_given_as_text(gateway: Running) -> None:
    with Publisher(gateway.url) as publisher:
        with publisher.run("etl", tags="prod"):
            pass
        await flushed(publisher)

    related = [[thing["id"] for thing in event.related] for event in await gateway.events()]
    assert related == [["flow.etl", "tag.prod"]] * 2


UNCOUNTED: list[dict[str, object]] = [
    {"cost": "lots", "currency": "EUR"},
    {"cost": float("nan"), "currency": "EUR"},
    {"cost": -1, "currency": "EUR"},
    {"cost": 1},
    {"rows": "many"},
    {"bytes": -1},
    {"cpu_utilization": 60},
]


@pytest.mark.parametrize("used", UNCOUNTED, ids=str)
async def test_a_use_that_nobody_can_count_is_said_once(
    gateway: Running, used: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(gateway.url) as publisher:
        with publisher.run("etl") as run:
            run.used(cost="0.31", currency="EUR", bytes=1, rows=0, cpu_utilization=0.6, gpu_utilization=1)
            assert caplog.messages == []
            cast("Callable[..., bool]", run.used)(**used)
            cast("Callable[..., bool]", run.used)(**used)
        await flushed(publisher)

        assert counts(publisher) == (5, 0, 0)
    assert [message.partition("=")[0] for message in caplog.messages] == [f"run.used({next(iter(used))}"]


@pytest.mark.parametrize(
    "bad",
    [
        {**MINIMAL, "payload": object()},
        {**MINIMAL, "payload": {"text": "x" * 2_000_000}},
        {**MINIMAL, "event": "\ud800"},
        {**MINIMAL, "payload": {(1, 2): 3, "a": object()}},
        None,
        7,
    ],
    ids=["no JSON", "too large", "surrogate", "odd key", "none", "number"],
)
async def test_what_cannot_be_published_is_refused_and_said_once_and_never_raised(
    gateway: Running, bad: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(gateway.url) as publisher, caplog.at_level(logging.WARNING, "flowgauge.publisher"):
        assert [publisher.emit(bad), publisher.emit(bad), publisher.emit(MINIMAL)] == [False, False, True]
        await flushed(publisher)

        assert counts(publisher) == (1, 2, 0)
    assert len(caplog.messages) == 1


async def test_what_the_server_refuses_is_counted_and_said_once(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(gateway.url) as publisher, caplog.at_level(logging.WARNING, "flowgauge.publisher"):
        for _ in range(3):
            publisher.emit({"event": "no resource"})
        publisher.emit(MINIMAL)
        await flushed(publisher)

        assert counts(publisher) == (1, 3, 0)
    assert caplog.messages == [
        (
            "flowgauge refuses an event: wrong field: `resource` is missing: expected what it happened to, such as "
            '{"id": "s3://lake/orders"} (said once)'
        )
    ]


async def test_events_wait_in_the_buffer_until_the_server_comes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    publisher = Publisher(f"http://127.0.0.1:{port}", events_max=10)
    took = [publisher.emit({**MINIMAL, "payload": {"number": n}}) for n in range(15)]
    assert not await asyncio.to_thread(publisher.flush, 50)

    async with running_gateway(tmp_path, port=port) as gateway:
        await flushed(publisher)
        events: list[Event] = await gateway.events()

    assert took == [True] * 10 + [False] * 5
    assert [event.payload["number"] for event in events] == list(range(10))
    assert counts(publisher) == (10, 0, 5)
    publisher.close()


def test_after_a_busy_answer_the_same_events_go_out_again_under_the_same_ids() -> None:
    busy: list[Reply] = [(503, {"Retry-After": "0"}, b""), (429, {}, b""), (500, {}, b"broken"), (200, {}, b"<html>")]
    with scripted(*busy, accepted(2)) as server, Publisher(server.url) as publisher:
        publisher.emit(MINIMAL)
        publisher.emit(MINIMAL)

        assert publisher.flush(15_000)
        assert counts(publisher) == (2, 0, 0)
    assert [server.ids(request) for request in range(5)] == [server.ids(0)] * 5


def test_a_limit_and_how_long_to_wait_are_said_in_the_servers_words(caplog: pytest.LogCaptureFixture) -> None:
    over = b'{"error": "events_per_second of tenant acme is 2000: send the same events again in 60 s"}'
    with scripted((429, {"Retry-After": "60"}, over)) as server:
        publisher = Publisher(server.url, close_timeout_ms=300)
        publisher.emit(MINIMAL)
        publisher.close()

    told = "flowgauge answers 429: events_per_second of tenant acme is 2000: send the same events again in 60 s"
    warned, lost = (record.getMessage() for record in caplog.records)
    assert warned == f"{told}; events wait (said once)"
    assert lost.endswith(f"1 are not known to have arrived within 300 ms of closing ({told})")


def test_a_batch_that_is_too_large_goes_out_in_halves() -> None:
    too_large: Reply = (413, {}, b"")
    answers = (too_large, too_large, accepted(1), accepted(2), accepted(1))
    with scripted(*answers) as server, Publisher(server.url) as publisher:
        for _ in range(4):
            publisher.emit(MINIMAL)

        assert publisher.flush(15_000)
        assert counts(publisher) == (4, 0, 0)
    assert [len(server.ids(request)) for request in range(len(server.bodies))] == [4, 2, 1, 2, 1]


@pytest.mark.parametrize("status", [200, 413])
def test_after_an_event_that_was_too_large_batches_grow_again(status: int) -> None:
    """Once, they stayed as small as the one that passed for the life of the process."""
    too_large: Reply = (413, {}, b"")
    with scripted(*[too_large] * 3, accepted(1) if status == 200 else too_large, accepted(1)) as server:
        publisher = Publisher(server.url, linger_ms=60_000)
        for _ in range(15):
            publisher.emit(MINIMAL)
        publisher.close(15_000)

    assert [len(server.ids(request)) for request in range(len(server.bodies))] == [15, 7, 3, 1, 2, 4, 8]


@pytest.mark.parametrize(("status", "remedy"), [(301, "address"), (401, "token"), (403, "token"), (404, "address")])
def test_a_wrong_address_or_token_is_said_once_with_the_remedy_and_costs_no_event_once_it_is_mended(
    status: int, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: Reply = (status, {}, b"no")
    with scripted(wrong, wrong, accepted(1)) as server, Publisher(server.url) as publisher:
        publisher.emit(MINIMAL)

        assert publisher.flush(15_000)
        assert counts(publisher) == (1, 0, 0)
    assert [server.ids(request) for request in range(3)] == [server.ids(0)] * 3
    assert [f"flowgauge answers {status}: is the {remedy} right" in message for message in caplog.messages] == [True]


def test_a_worker_with_a_wrong_token_ends_at_once_and_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    with scripted((401, {}, b"no")) as server:
        publisher = Publisher(server.url)
        publisher.emit(MINIMAL)
        publisher.emit(MINIMAL)

        publisher.close(timeout_ms=3_600_000)

    assert counts(publisher) == (0, 0, 2)
    assert caplog.messages[-1] == (
        "2 events are missing: 0 found the buffer full, 2 are not known to have arrived within 3600000 ms of closing"
        " (flowgauge answers 401: is the token right (FLOWGAUGE_TOKEN)?)"
    )


def test_dropped_events_are_said_once_a_minute_and_counted_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with scripted((503, {"Retry-After": "60"}, b"")) as server:
        publisher = Publisher(server.url, events_max=2, linger_ms=60_000)
        took = [publisher.emit(MINIMAL) for _ in range(100)]

        publisher.close(timeout_ms=300)

    dropped, lost = [message for message in caplog.messages if "answers 503" not in message.partition("(")[0]]
    assert took == [True] * 2 + [False] * 98
    assert dropped == (
        "events are dropped, 1 so far: the buffer is full (events come faster than they are sent)"
        " (said once a minute at most)"
    )
    assert lost.startswith(
        "100 events are missing: 98 found the buffer full, 2 are not known to have arrived within 300 ms of closing ("
    )


async def test_what_is_lost_is_seen_by_a_worker_that_configures_no_logging(gateway: Running) -> None:
    printed = await run_script(
        gateway,
        """
        from flowgauge.producers import Publisher
        publisher = Publisher("http://127.0.0.1:1", close_timeout_ms=50)
        publisher.emit({"event": "x", "resource": {"id": "y"}})
        """,
    )

    assert (
        "1 events are missing: 0 found the buffer full, 1 are not known to have arrived within 50 ms of closing ("
    ) in printed


async def test_what_is_lost_is_seen_by_a_worker_whose_only_handler_is_ours(gateway: Running) -> None:
    printed = await run_script(
        gateway,
        """
        import logging
        from flowgauge.producers import FlowgaugeHandler, Publisher
        logging.getLogger().addHandler(FlowgaugeHandler(logging.ERROR))
        publisher = Publisher("http://127.0.0.1:1", close_timeout_ms=50)
        publisher.emit({"event": "x", "resource": {"id": "y"}})
        """,
    )

    assert printed.count("1 events are missing: 0 found the buffer full") == 1


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_batch_that_is_refused_as_a_whole_is_counted_and_forgotten(status: int) -> None:
    with scripted((status, {}, b'{"error":"no"}'), accepted(1)) as server, Publisher(server.url) as publisher:
        publisher.emit(MINIMAL)
        assert publisher.flush(15_000)
        publisher.emit(MINIMAL)
        assert publisher.flush(15_000)

        assert counts(publisher) == (1, 1, 0)


@pytest.mark.parametrize("status", [400, 415, 422])
def test_what_no_gateway_refused_is_sent_again(status: int) -> None:
    with scripted((status, {}, b"a proxy's page"), accepted(1)) as server, Publisher(server.url) as publisher:
        publisher.emit(MINIMAL)
        assert publisher.flush(15_000)

        assert counts(publisher) == (1, 0, 0)


def test_a_wrong_address_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWGAUGE_URL", "no address at all")
    publisher = Publisher()

    took = publisher.emit(MINIMAL)
    publisher.close(timeout_ms=200)

    assert (took, counts(publisher)) == (True, (0, 0, 1))


async def test_url_and_token_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_gateway(tmp_path, tokens={"one": "acme"}) as gateway:
        monkeypatch.setenv("FLOWGAUGE_URL", gateway.url)
        monkeypatch.setenv("FLOWGAUGE_TOKEN", "one")
        with Publisher() as publisher:
            publisher.emit(MINIMAL)
            await flushed(publisher)

        assert [event.tenant for event in await gateway.events()] == ["acme"]


def test_closing_gives_up_at_its_deadline_and_counts_what_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        publisher = Publisher(f"http://127.0.0.1:{silent.getsockname()[1]}")
        publisher.emit(MINIMAL)

        publisher.close(timeout_ms=100)

    assert not publisher.emit(MINIMAL)
    assert counts(publisher) == (0, 0, 2)


async def run_script(gateway: Running, script: str) -> str:
    """Run a worker's script to its end and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(script),
        env={"FLOWGAUGE_URL": gateway.url, "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def test_a_worker_that_ends_sends_what_it_said(gateway: Running) -> None:
    await run_script(
        gateway,
        """
        from flowgauge.producers import Publisher
        publisher = Publisher(linger_ms=60_000)
        for _ in range(10):
            publisher.emit({"event": "x", "resource": {"id": "y"}})
        """,
    )

    assert len(await gateway.events()) == 10


async def test_after_a_fork_parent_and_child_each_send_their_own_once(gateway: Running) -> None:
    await run_script(
        gateway,
        """
        import multiprocessing
        from flowgauge.producers import Publisher

        publisher = Publisher(linger_ms=300)

        def say(who):
            for number in range(5):
                publisher.emit({"event": who, "resource": {"id": "y"}})

        if __name__ == "__main__":
            say("parent before")
            children = [multiprocessing.get_context("fork").Process(target=say, args=("child",)) for _ in range(3)]
            for child in children:
                child.start()
            say("parent after")
            for child in children:
                child.join()
        """,
    )

    said = [event.event for event in await gateway.events()]
    assert {who: said.count(who) for who in said} == {"parent before": 5, "child": 15, "parent after": 5}
    assert len({event.id for event in await gateway.events()}) == 25


async def test_a_signal_handler_may_publish_while_its_thread_does(gateway: Running) -> None:
    printed = await run_script(
        gateway,
        """
        import signal
        from flowgauge.producers import Publisher
        publisher = Publisher()
        event = {"event": "x", "resource": {"id": "y"}}
        took = []
        signal.signal(signal.SIGALRM, lambda *_: took.append(publisher.emit(event)))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while len(took) < 10_000:
            took.append(publisher.emit(event))
        signal.setitimer(signal.ITIMER_REAL, 0)
        publisher.close()
        print(all(took), len(took) - publisher.sent)
        """,
    )

    assert printed == "True 0\n"


async def test_importing_the_publisher_is_light(gateway: Running) -> None:
    printed = await run_script(
        gateway,
        """
        import sys
        from flowgauge.producers.publisher import Publisher
        Publisher()
        heavy = ["pydantic", "starlette", "uvicorn", "sqlite3", "structlog", "prometheus_client", "httpx2", "asyncio"]
        print([name for name in heavy if name in sys.modules])
        """,
    )

    assert printed == "[]\n"


async def test_requests_leave_no_line_in_the_workers_log(gateway: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Publisher(gateway.url) as publisher:
        publisher.emit(MINIMAL)
        await flushed(publisher)

    assert [record for record in caplog.records if record.name.startswith("http")] == []
