"""Captures as event lines: append times, logs that find their flow, and lines that are none."""

import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.main import main
from flowgauge.producers.event_file import LINE_BYTES_MAX
from flowgauge.producers.prefect import Counts, FlowCache, Problem, RunSeen, convert_file
from flowgauge.producers.prefect.capture import LOGS_WAITING_MAX, convert
from flowgauge.producers.prefect.convert import PROBLEMS_SHOWN_MAX

DATA = Path(__file__).parent.parent / "data"
RUN = "9f9c36ba-45ee-4c1d-9f7d-76cd74db903a"
MINUTE = "2026-11-22T20:59:"


def event_line(received: str, **fields: Any) -> bytes:
    flow = {
        "prefect.resource.id": "prefect.flow.1",
        "prefect.resource.role": "flow",
        "prefect.resource.name": "etl",
    }
    data = {
        "id": "01a2050e-8f59-731e-a2eb-aa0b5c2033f1",
        "occurred": f"{MINUTE}00Z",
        "received": f"{MINUTE}{received}Z",
        "event": "prefect.flow-run.Running",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{RUN}"},
        "related": [flow],
        **fields,
    }
    return json.dumps({"topic": "events", "data": data}).encode()


def log_line(timestamp: str, message: str = "hello") -> bytes:
    data = {
        "id": None,
        "timestamp": f"{MINUTE}{timestamp}Z",
        "name": "x",
        "level": 20,
        "message": message,
        "flow_run_id": RUN,
    }
    return json.dumps({"topic": "logs", "data": data}).encode()


def appended(lines: list[bytes]) -> list[str]:
    """Return kind and seconds of the append time of each converted line."""
    made = [json.loads(line) for line in convert(lines) if isinstance(line, bytes)]
    return [f"{each['kind']} {each['_append'].removeprefix(MINUTE)}" for each in made]


def test_an_event_is_appended_when_prefect_received_it() -> None:
    assert appended([event_line("01.5")]) == ["flow-run 01.500000Z"]


def test_a_log_is_appended_at_its_own_time_between_the_events_around_it() -> None:
    lines = [event_line("10"), log_line("08"), log_line("12"), log_line("59"), event_line("20"), log_line("21")]

    assert appended(lines) == [
        "flow-run 10.000000Z",
        "log 10.000000Z",
        "log 12.000000Z",
        "log 20.000000Z",
        "flow-run 20.000000Z",
        "log 21.000000Z",
    ]


seconds = st.integers(0, 59).map(lambda n: f"{n:02}")


@given(st.lists(st.tuples(st.booleans(), seconds), max_size=30))
def test_however_clocks_disagree_order_is_kept_and_append_times_never_decrease(
    published: list[tuple[bool, str]],
) -> None:
    lines = [event_line(at) if is_event else log_line(at) for is_event, at in published]

    made = [told.split() for told in appended(lines)]

    assert [kind for kind, _ in made] == ["flow-run" if is_event else "log" for is_event, _ in published]
    assert [at for _, at in made] == sorted(at for _, at in made)
    last_received = max((at for is_event, at in published if is_event), default="")
    ends_with_event = bool(published) and published[-1][0]
    assert not ends_with_event or made[-1][1] == f"{last_received}.000000Z"


def test_append_times_never_decrease_even_if_the_servers_clock_does() -> None:
    assert appended([event_line("10"), event_line("05"), log_line("07")]) == [
        "flow-run 10.000000Z",
        "flow-run 10.000000Z",
        "log 10.000000Z",
    ]


def test_logs_that_wait_for_an_event_are_bounded_and_none_is_lost() -> None:
    counts = Counts()

    first = next(convert((log_line("01", str(n)) for n in range(10**9)), counts))

    assert isinstance(first, bytes)
    assert counts.logs == LOGS_WAITING_MAX


def test_a_log_finds_the_flow_of_a_run_seen_before() -> None:
    counts = Counts()

    lines = convert([log_line("01"), event_line("02"), log_line("03")], counts)
    made = [json.loads(line) for line in lines if isinstance(line, bytes)]

    assert [each.get("flow") for each in made] == [None, "etl", "etl"]
    assert counts == Counts(lines=3, events=1, logs=2, logs_without_flow=1, bad=0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "expected a JSON object, got b'{': Input data was truncated"),
        (b"[]", 'expected {"topic": "events" or "logs", "data": {…}}'),
        (b'{"topic":"events"}', 'expected {"topic": "events" or "logs", "data": {…}}'),
        (b'{"topic":"actions","data":{}}', "topic: expected events or logs, got 'actions'"),
        (b'{"topic":"events","data":[]}', "expected one event as a JSON object, got []"),
        (event_line("x"), "received: expected the time at which Prefect's server got the event"),
        (b'{"topic":"logs","data":{"level":20}}', "message: expected a string, got None"),
        (b"\xff\xfe", "expected a JSON object, got b'\\xff\\xfe'"),
        (b"[" * 5000, "expected a JSON object, got"),
    ],
)
def test_a_bad_line_is_told_by_number_and_its_neighbours_are_converted(line: bytes, reason: str) -> None:
    counts = Counts()

    first, problem, last = convert([event_line("01"), line, event_line("02")], counts)

    assert isinstance(first, bytes)
    assert isinstance(last, bytes)
    assert isinstance(problem, Problem)
    assert str(problem).startswith(f"line 2: {reason}")
    assert (counts.bad, counts.events) == (1, 2)


def test_a_plain_and_a_gzipped_capture_give_the_same_lines(tmp_path: Path) -> None:
    text = b"\n".join([event_line("01"), b"", log_line("02"), b"oops"])
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text))
    made: list[bytes] = []
    for name in ("plain", "packed"):
        out, problems = io.BytesIO(), io.StringIO()

        counts = convert_file(tmp_path / name, out, problems)

        assert counts == Counts(lines=3, events=1, logs=1, logs_without_flow=0, bad=1)
        assert problems.getvalue().startswith(f"{tmp_path / name}: line 4: expected a JSON object, got b'oops'")
        made.append(out.getvalue())
    assert made[0] == made[1]


def test_a_broken_gzip_stream_is_told_and_what_came_before_is_converted(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(event_line(f"{n:02}") + b"\n" for n in range(60)))
    (tmp_path / "cut.gz").write_bytes(packed[:-9])
    out, problems = io.BytesIO(), io.StringIO()

    counts = convert_file(tmp_path / "cut.gz", out, problems)

    assert counts.bad == 1
    assert "the gzip stream is broken" in problems.getvalue()
    assert counts.events == out.getvalue().count(b"\n")


def test_a_line_of_any_length_is_refused_without_being_kept(tmp_path: Path) -> None:
    long = b'"' + b"x" * (2 * LINE_BYTES_MAX) + b'"'
    (tmp_path / "long").write_bytes(long + b"\n" + event_line("01"))
    out, problems = io.BytesIO(), io.StringIO()

    counts = convert_file(tmp_path / "long", out, problems)

    assert (counts.bad, counts.events) == (1, 1)
    assert "line 1: longer than 4194304 bytes" in problems.getvalue()


def test_a_file_of_other_lines_is_bad_input_and_never_a_flood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "x"}\n' * 500)

    with pytest.raises(SystemExit) as ended:
        main(["prefect", "convert", str(tmp_path / "events.jsonl")])

    said = capsys.readouterr().err.replace(f"{tmp_path}/", "").splitlines()
    assert ended.value.code == 2
    assert len(said) == PROBLEMS_SHOWN_MAX + 2
    assert said[-2:] == [
        "events.jsonl: 490 more lines cannot be converted",
        "flowgauge: events.jsonl: nothing in it is of a capture of a Prefect server",
    ]


def test_event_lines_are_told_to_be_events_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"event": "x", "occurred": "2026-11-23T09:51:06Z"}\n')

    with pytest.raises(SystemExit) as ended:
        main(["prefect", "convert", str(file)])

    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{file}: line 1: an event line already",
        f"flowgauge: {file}: these are event lines already: give them to replay, publish or up --load as they are",
    ]


def test_the_extracts_convert_without_a_problem_and_tell_their_story() -> None:
    states: Counter[tuple[str, str]] = Counter()
    for name in ("prefect-outage-extract", "prefect-late-extract"):
        out, problems = io.BytesIO(), io.StringIO()
        counts = convert_file(DATA / f"{name}.jsonl.gz", out, problems)
        assert (counts.bad, counts.logs_without_flow, problems.getvalue()) == (0, 0, "")

        made = [json.loads(line) for line in out.getvalue().splitlines()]
        times = [each["_append"] for each in made]
        assert times == sorted(times)
        states.update((name, f"{e['flow']} {e['state']}") for e in made if e["kind"] == "flow-run" and "state" in e)

    assert states["prefect-outage-extract", "orders-sync failed"] == 28
    assert states["prefect-outage-extract", "crashy-report crashed"] == 6
    assert sum(n for (name, state), n in states.items() if name.startswith("prefect-late") and "late" in state) == 81


def test_the_run_used_least_lately_is_forgotten_and_counted() -> None:
    cache = FlowCache(runs_max=2)
    cache.learn("a", RunSeen("fa"))
    cache.learn("b", RunSeen("fb"))
    cache.find("a")

    cache.learn("c", RunSeen("fc"))

    assert [cache.find(run) for run in ("a", "b", "c")] == [RunSeen("fa"), None, RunSeen("fc")]
    assert (len(cache), cache.evicted, cache.missed) == (2, 1, 1)


def test_a_run_name_once_known_is_not_lost_to_an_event_without_it() -> None:
    cache = FlowCache()
    cache.learn("a", RunSeen("flow", "finicky-chowchow"))

    cache.learn("a", RunSeen("flow"))

    assert cache.find("a") == RunSeen("flow", "finicky-chowchow")
