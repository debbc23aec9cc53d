"""The figures of docs/scaling.md are those of its calculator, and what the calculator says hangs together."""

import pytest
from benchmarks.packing import packed_bytes
from benchmarks.scaling import DOCUMENT, RATES, Plan, processes, step_messages_max, walls, written


def test_the_tables_of_the_document_are_what_the_calculator_says() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")

    assert document == written(document), "run python -m benchmarks.scaling --write"


def test_a_document_without_a_place_for_a_table_is_told() -> None:
    with pytest.raises(ValueError, match="no place for the table units"):
        written("# Scaling\n")


@pytest.mark.parametrize("rate", RATES)
def test_what_follows_from_the_rate_alone_is_proportional_to_it(rate: int) -> None:
    one, plan = Plan(1_000), Plan(rate)

    for figure in ("gateway_cores", "sink_cores", "clickhouse_cores", "packed_bytes", "samples", "kafka_disk_bytes"):
        assert getattr(plan, figure) == pytest.approx(getattr(one, figure) * rate / 1_000)


def test_a_role_has_two_processes_at_least_and_each_is_half_busy_at_most() -> None:
    assert [processes(cores) for cores in (0.0, 0.9, 1.0, 1.1)] == [2, 2, 2, 3]


def test_messages_grow_with_the_events_partitions_and_no_number_of_detectors_lessens_them() -> None:
    plan = Plan(1_000_000)

    assert plan.messages_per_samples_partition > step_messages_max()
    assert plan.messages == plan.messages_per_samples_partition * plan.samples_partitions


def test_the_hottest_detector_has_less_with_more_partitions_but_never_less_than_what_stays_together() -> None:
    plan = Plan(100_000)
    shares = [plan.hottest_samples(count) / plan.samples for count in (1, 4, 16, 1_000_000)]

    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert shares[2] == pytest.approx(3.4 / 16)
    assert shares[3] == pytest.approx(0.16, rel=1e-3)


def test_the_lowest_wall_comes_first() -> None:
    rates = [rate for _, rate in walls()]

    assert rates == sorted(rates)
    assert rates[0] > 0


def test_what_repeats_is_packed_and_a_value_over_the_batch_is_one_by_itself() -> None:
    values = [b'{"event": "flow-run.completed"}' * 10] * 100

    assert packed_bytes(values, 16_384) < sum(map(len, values)) / 5
    assert packed_bytes([b"x" * 20_000], 16_384) > 0
