"""The figures of a steady run, from looks and statements that are known."""

import pytest
from benchmarks.steady_figures import Insert, Looks, StoredAt, cost_of, inserts_in, spread

SECONDS = [float(second) for second in range(0, 601, 10)]


def test_a_share_of_cpu_is_of_the_time_once_warm() -> None:
    cpu = [{"sink": 5.0 if second < 30 else 5.0 + (second - 30) * 0.25} for second in SECONDS]
    looks = Looks(SECONDS, [{"sink": 50_000_000}] * len(SECONDS), cpu)

    assert cost_of(looks, "sink")["cpu_percent"] == 25.0


def test_memory_is_flat_when_it_only_grew_before_it_settled() -> None:
    resident = [{"sink": int(min(second, 120) * 1e6)} for second in SECONDS]
    looks = Looks(SECONDS, resident, [{"sink": 0.0}] * len(SECONDS))

    cost = cost_of(looks, "sink")

    assert (cost["settled_s"], cost["rss_mb_settled"], cost["rss_mb_end"]) == (120, 120.0, 120.0)
    assert cost["rss_mb_per_minute"] == 0.0


def test_memory_that_grows_has_a_slope() -> None:
    resident = [{"sink": int(second * 1e6)} for second in SECONDS]

    assert cost_of(Looks(SECONDS, resident, [{"sink": 0.0}] * len(SECONDS)), "sink")["rss_mb_per_minute"] == 60.0


def test_an_event_is_a_row_when_the_insert_of_its_offset_has_ended() -> None:
    stored = StoredAt([Insert(0, 10, 20, 900), Insert(1, 0, 10, 700), Insert(0, 0, 10, 500)])

    assert [stored.at_ms(0, 9), stored.at_ms(0, 10), stored.at_ms(1, 0)] == [500, 900, 700]
    with pytest.raises(IndexError):
        stored.at_ms(0, 20)


def test_inserts_are_those_of_events_that_were_done() -> None:
    def statement(into: str, topic: str, done_ms: int) -> dict[str, object]:
        token = {"insert_deduplication_token": f"a-log-{topic}-3-100-200"}
        return {
            "statement": f"INSERT INTO flowgauge.{into} FORMAT JSONEachRow",
            "parameters": token,
            "done_ms": done_ms,
        }

    seen: list[dict[str, object]] = [
        statement("events", "flowgauge.events", 5),
        statement("events", "flowgauge.events", 0),
        statement("transitions", "flowgauge.transitions", 6),
        {"statement": "SELECT 1", "parameters": {}, "done_ms": 7},
    ]

    assert inserts_in(seen) == [Insert(3, 100, 200, 5)]


def test_a_spread_of_less_than_two_says_only_how_many() -> None:
    assert spread([]) == {"count": 0}
    assert spread(range(1, 102)) == {"count": 101, "p50_ms": 51, "p99_ms": 100, "max_ms": 101}
