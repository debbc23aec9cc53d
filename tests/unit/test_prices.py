"""Prices and teams as people write them: what they mean, and what is said of mistakes."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.price_file import WatchedPrices
from flowgauge.console.watched_file import not_applied
from flowgauge.schemas.errors import InvalidRules
from flowgauge.sinks.clickhouse.prices import ENTRIES_MAX, PriceList, glob_expression, parse_prices
from flowgauge.transport.health import Health

PRICES = """
currency: EUR
prices:
  - work_pool: gpu
    per_hour: 3.20
  - {tenant: acme, tag: spot, per_hour: 1, currency: usd}
  - per_hour: 0.00000012
teams:
  - {team: science, flow: "train-*"}
"""


def test_a_tenant_has_its_own_entries_and_those_of_all_in_the_order_of_the_file() -> None:
    book = parse_prices("prices.yaml", PRICES)

    assert book.of("acme") == PriceList(
        price_flows=("", "", ""),
        price_tags=("", "spot", ""),
        price_work_pools=("gpu", "", ""),
        prices_per_hour=("3.2", "1.0", "0.00000012"),
        price_currencies=("EUR", "USD", "EUR"),
        team_flows=(r"(?s)^train\-.*$",),
        team_tags=("",),
        team_work_pools=("",),
        teams=("science",),
    )
    assert book.of("other").prices_per_hour == ("3.2", "0.00000012")


def test_an_empty_file_has_no_prices() -> None:
    assert parse_prices("prices.yaml", "# none yet\n").of("acme") == PriceList()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prices: [{per_hour: 1}]", "p.yaml:1:10: prices[0]: a price without a currency (write `currency: EUR` at the"),
        (
            "currency: EUR\nprices:\n  - tag: a",
            "p.yaml:3:5: prices[0].per_hour: this field is required (add `per_hour:",
        ),
        (
            "currency: EUR\nprices:\n  - {per_hour: -1}",
            "p.yaml:3:6: prices[0].per_hour: expected a number greater than",
        ),
        ("currency: EUR\nprices:\n  - {per_hour: '1'}", "p.yaml:3:6: prices[0].per_hour: expected a number"),
        ("currency: EUR\nprices:\n  - {per_hour: .nan}", "p.yaml:3:16: prices[0].per_hour: .nan is no number"),
        ("currency: EUR\nprices:\n  - {per_hours: 1}", "p.yaml:3:6: prices[0].per_hours: unknown field (did you mean"),
        ("currency: E\u20ac\n", "p.yaml:1:1: currency: expected a currency of 1 to 16 letters, such as EUR"),
        ("price: []", "p.yaml:1:1: price: unknown field (did you mean `prices`?)"),
        ("- 1", "p.yaml:1:1: expected fields, one `name: value` a line"),
        ("teams: [{flow: a}]", "p.yaml:1:9: teams[0].team: this field is required (add `team:`)"),
        (
            "currency: EUR\nprices:\n  - per_hour: 1\n  - {tag: a, per_hour: 2}",
            "p.yaml:4:5: prices[1]: an entry before it fits every run already (put that one last)",
        ),
        (
            "teams:\n" + "  - {team: a, flow: b}\n" * (ENTRIES_MAX + 1),
            "p.yaml:1:1: teams: 101 entries apply to tenant *, at most 100 are looked at",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place_with_a_remedy(text: str, says: str) -> None:
    with pytest.raises(InvalidRules) as refused:
        parse_prices("p.yaml", text)

    assert any(str(problem).startswith(says) for problem in refused.value.problems), str(refused.value)


def test_what_fits_all_runs_of_one_tenant_ends_only_its_list() -> None:
    text = "currency: EUR\nprices:\n  - {tenant: a, per_hour: 1}\n  - {tenant: b, per_hour: 2}\n  - {per_hour: 3}\n"

    assert parse_prices("p.yaml", text).of("b").prices_per_hour == ("2.0", "3.0")


@pytest.mark.filterwarnings("ignore:Possible set difference:FutureWarning")  # of `re`, about what fnmatch made of [?--]
@given(
    glob=st.text(alphabet="ab-*?.[]!^\\", max_size=8),
    text=st.text(alphabet="ab-.[]!^\\\n", max_size=8),
)
def test_a_glob_means_what_it_means_in_rules(glob: str, text: str) -> None:
    try:
        expression = re.compile(
            glob_expression(glob).removesuffix("$")
        )  # ClickHouse's `$` is the end of the text alone
    except re.error:
        with pytest.raises(InvalidRules, match="its brackets hold no range"):
            parse_prices("p.yaml", f"teams: [{{team: a, flow: {json.dumps(glob)}}}]")
        return

    assert (expression.fullmatch(text) is not None) == fnmatchcase(text, glob)


def test_a_changed_file_is_read_again_and_a_broken_one_leaves_the_prices_before(tmp_path: Path) -> None:
    file, health = tmp_path / "prices.yaml", Health()
    file.write_text("currency: EUR\nprices: [{per_hour: 1}]")
    watched = WatchedPrices(file, health)
    watched.open()
    before = watched.of("acme").prices_per_hour

    file.write_text("currency: EUR\nprices: [{per_hour: cheap}]")
    watched.look()
    broken = watched.of("acme").prices_per_hour
    told, told_operator = health.problems["prices"], health.operator_problems["prices"]
    replaced = tmp_path / "new"
    replaced.write_text("currency: EUR\nprices: [{per_hour: 25}]")
    replaced.replace(file)
    watched.look()

    assert (before, broken, watched.of("acme").prices_per_hour) == (("1.0",), ("1.0",), ("25.0",))
    assert told == not_applied("prices")
    assert told_operator.startswith(f"{file}:2:11: prices[0].per_hour: expected a number")
    assert told_operator.endswith("; the prices before it go on")
    assert health.problems == health.operator_problems == {}


def test_a_file_that_goes_is_told_and_one_that_is_not_there_refuses_the_start(tmp_path: Path) -> None:
    file, health = tmp_path / "prices.yaml", Health()
    file.write_text("currency: EUR\nprices: [{per_hour: 1}]")
    watched = WatchedPrices(file, health)
    watched.open()

    file.unlink()
    watched.look()

    assert watched.of("acme").prices_per_hour == ("1.0",)
    assert "No such file" in health.operator_problems["prices"]
    with pytest.raises(InvalidRules, match=r"prices\.yaml: No such file or directory"):
        WatchedPrices(file, Health()).open()


def test_a_name_that_begins_as_a_word_of_pydantic_is_an_unknown_field() -> None:
    """Found by fuzzing: it was taken for the name of a union's member, and nothing was left to tell of."""
    with pytest.raises(InvalidRules, match=r"prices\.yaml:1:1: \(colour: unknown field"):
        parse_prices("prices.yaml", "(colour: x\n")
