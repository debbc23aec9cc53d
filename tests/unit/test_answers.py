"""What the parameters of a question mean, and what is said of those that mean nothing."""

import pytest

from flowgauge.console.cli import metrics as command
from flowgauge.console.web.parameters import metric_query, moment_ms, switch_of
from flowgauge.schemas.errors import BadInput
from flowgauge.schemas.times import parse_duration_ms
from flowgauge.sinks.clickhouse.cost_metrics import COST_METRICS
from flowgauge.sinks.clickhouse.metric import BY, LEVELS, PER
from flowgauge.sinks.clickhouse.metrics import CHOICES, METRICS, parameters_of, since_of, takes_prices

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("90m", NOW - 5_400_000),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15", NOW - 8 * 3_600_000),
        ("1800000000000", NOW),
        ("20000d", NOW - 20_000 * 86_400_000),
    ],
)
def test_a_time_is_a_duration_ago_or_a_time(text: str, at_ms: int) -> None:
    assert moment_ms("since", text, NOW) == at_ms


@pytest.mark.parametrize("text", ["99999999d", "999999999999999", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_time_that_lies_outside_of_what_clickhouse_counts_is_refused(text: str) -> None:
    with pytest.raises(
        BadInput, match=f"^since: expected a time from 1970 until 2100, such as 7d or 400d, got '{text}'$"
    ):
        moment_ms("since", text, NOW)


@pytest.mark.parametrize("text", ["yesterday", "9" * 5_000 + "d", "2027-13-15", "5", "2026", "1700000000"])
def test_what_is_no_time_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(BadInput, match=f"^until: expected how long ago, such as 90m .*, got '{text[:40]}'$"):
        moment_ms("until", text, NOW)


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("failure-rate", {"text": "refused"}, "text: the question failure-rate does not look at that; it knows flow,"),
        ("top", {"bucket": "1d"}, "bucket: the question top does not look at that; it knows by, deployment, flow, "),
        ("durations", {"grace": "1m", "by": "failing"}, "by, grace: the question durations does not look at that; "),
        ("durations", {"run": "r1", "level": "ERROR"}, "level, run: the question durations does not look at that; it"),
        (
            "runs",
            {"level": "ERROR"},
            "level: .*; it knows deployment, flow, limit, run, since, tag, tenant, until, work_pool$",
        ),
        ("failure-rate", {"tz": "Europe/Berlin"}, "tz: .*; its times are UTC; it knows"),
        ("overview", {"flow": "etl"}, "flow: .*; it knows since, tenant, until$"),
    ],
)
def test_a_parameter_that_the_question_would_pass_over_is_refused(
    name: str, parameters: dict[str, str], says: str
) -> None:
    with pytest.raises(BadInput, match=f"^{says}"):
        metric_query(name, "t", parameters, NOW)


@pytest.mark.parametrize("name", ["since", "until", "tenant", *CHOICES])
def test_what_is_written_and_says_nothing_is_refused(name: str) -> None:
    """A filter that is empty by mistake would show everything as if it were one flow's."""
    asking = next(each for each in METRICS if name in {"since", "until", "tenant", *parameters_of(each)})

    with pytest.raises(
        BadInput, match=rf"^{name}: expected a value, got an empty one: fill it in, or leave {name} out$"
    ):
        metric_query(asking, "t", {name: ""}, NOW)


def test_a_question_takes_what_it_looks_at() -> None:
    asked = metric_query("logs", "t", {"text": "refused", "level": "ERROR", "run": "r1", "flow": "a"}, NOW)

    assert (asked.text, asked.level, asked.run, asked.flow, asked.tz) == ("refused", "ERROR", "r1", "a", "UTC")
    assert metric_query("heatmap", "t", {"tz": "Europe/Berlin"}, NOW).tz == "Europe/Berlin"


def test_a_question_about_groups_takes_what_they_are_and_how_long_buckets_and_grace_last() -> None:
    narrowed = {"deployment": "prod", "work_pool": "k8s", "tag": "gpu"}
    asked = metric_query("adherence", "t", {**narrowed, "per": "tag", "bucket": "1d", "grace": "1m30s"}, NOW)

    assert (asked.deployment, asked.work_pool, asked.tag) == ("prod", "k8s", "gpu")
    assert (asked.per, asked.bucket_ms, asked.grace_ms) == ("tag", 86_400_000, 90_000)


def test_a_bucket_that_says_no_length_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^bucket: expected how long, such as 15m, 1h or 1d, got 'daily'$"):
        metric_query("states", "t", {"bucket": "daily"}, NOW)


def test_a_bucket_of_no_length_is_asked_for_and_so_can_be_refused() -> None:
    assert metric_query("states", "t", {"bucket": "0s"}, NOW).bucket_ms == 0
    assert metric_query("states", "t", {}, NOW).bucket_ms is None


def test_the_command_knows_the_choices_of_the_questions() -> None:
    assert (tuple(command.PER.choices), tuple(command.BY.choices)) == (PER, BY)
    assert tuple(command.LEVEL.choices) == tuple(LEVELS)


@pytest.mark.parametrize(("text", "is_on"), [("", False), ("0", False), ("false", False), ("1", True), ("true", True)])
def test_a_switch_is_on_or_off(text: str, is_on: bool) -> None:  # a case
    assert switch_of("open", text) is is_on


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^open: expected true or false, got 'yes'$"):
        switch_of("open", "yes")


@pytest.mark.parametrize("name", METRICS)
def test_the_command_looks_as_far_back_as_the_question_does(name: str) -> None:
    assert command.SINCE.get(name, command.SINCE_DEFAULT) == since_of(name)
    assert metric_query(name, "t", {}, NOW).since_ms == NOW - parse_duration_ms(since_of(name))


def test_the_logs_take_a_cursor_and_context_and_a_run_all_its_time() -> None:
    asked = metric_query("logs", "t", {"context": "3", "before": "17-x"}, NOW)

    assert (asked.context, asked.before) == (3, "17-x")
    assert metric_query("timeline", "t", {"run": "r"}, NOW).since_ms == 0
    assert metric_query("timeline", "t", {"run": "r", "since": "1d"}, NOW).since_ms == NOW - 86_400_000
    with pytest.raises(BadInput, match=r"^context: expected a whole number, got '-1'$"):
        metric_query("logs", "t", {"context": "-1"}, NOW)
    with pytest.raises(BadInput, match=r"^context: the question timeline does not look at that"):
        metric_query("timeline", "t", {"run": "r", "context": "1"}, NOW)


def test_questions_about_money_and_no_others_look_at_the_price_list() -> None:
    assert {name for name in METRICS if takes_prices(name)} == {metric.name for metric in COST_METRICS}
