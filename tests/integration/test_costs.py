"""What runs cost, from the publisher and a price list to the API and the command, on one running server."""

from decimal import Decimal
from pathlib import Path

import pytest
from tests.integration.commands_here import run_here
from tests.integration.up_process import end, run, running_up, wait_for

from flowgauge.producers import Publisher

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
PRICES = """
currency: EUR
prices:
  - {flow: "priced-*", per_hour: 3600}
teams:
  - {flow: "priced-*", team: platform}
"""


def publish(url: str) -> None:
    """Tell of a run that tells its cost twice, and of one that tells none."""
    with Publisher(url) as publisher:
        with publisher.run("trained", team="science") as told:
            told.used(cost=Decimal("0.10"), currency="EUR", bytes=1_000, rows=10, cpu_utilization=0.5)
            told.used(cost=0.2, currency="EUR", rows=5, gpu_utilization=0.25)
        with publisher.run("priced-1"):
            pass
        assert publisher.flush()


def test_money_is_told_by_the_publisher_or_priced_and_answered_by_api_and_command(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    env = {"FLOWGAUGE_PRICES": str(prices)}
    data = tmp_path / "data"
    with running_up(data, env=env) as up:
        publish(up.url)
        wait_for(lambda: len(up.rows("/v1/metrics/costs")) == 2, "both runs")

        by_team = {row["team"]: row for row in up.rows("/v1/metrics/costs", per="team")}
        (trained,) = up.rows("/v1/metrics/pipelines", flow="trained")
        raw = up.http.get("/v1/metrics/costs", params={"flow": "trained"}).text
        shown = run_here("metrics", "cost-runs", "--flow", "trained", "--url", up.url).stdout

        prices.write_text(PRICES.replace("3600", "cheap"))
        broken = wait_for(lambda: up.get("/v1/health")["problems"].get("prices"), "the mistake")
        after_mistake = {row["team"]: row["cost"] for row in up.rows("/v1/metrics/costs", per="team")}
        prices.write_text(PRICES.replace("3600", "36000"))
        wait_for(lambda: "prices" not in up.get("/v1/health")["problems"], "the new prices")
        (dearer,) = up.rows("/v1/metrics/costs", flow="priced-1")
        end(up.process)
    offline = run("metrics", "costs", "--per", "team", "--data", str(data), env=env, cwd=tmp_path)

    assert by_team.keys() == {"science", "platform"}
    assert {name: by_team["science"][name] for name in ("cost", "bytes", "rows", "waste")} == {
        "cost": 0.3,
        "bytes": 1_000,
        "rows": 15,
        "waste": 0,
    }
    assert '"cost":0.300000,' in raw
    assert (trained["cost_per_success"], trained["cpu_utilization"], trained["gpu_utilization"]) == (0.3, 0.5, 0.25)
    assert shown.endswith("\n1 of 1 runs make 80 % of the cost in EUR.\n")
    assert "  0.30  " in shown
    assert broken.startswith(f"{prices}:4:24: prices[0].per_hour: expected a number")
    assert after_mistake == {team: row["cost"] for team, row in by_team.items()}
    assert dearer["cost"] == pytest.approx(10 * by_team["platform"]["cost"], abs=1e-4)
    assert "science" in offline.stdout
    assert "platform" in offline.stdout
    assert "EUR" in offline.stdout


def test_a_start_with_a_wrong_price_list_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("currency: EUR\nprices: [{per_hour: 1}, {tag: spot, per_hour: 2}]\n")

    ended = run("up", "--data", "data", "--port", "0", env={"FLOWGAUGE_PRICES": "prices.yaml"}, cwd=tmp_path)

    said = "prices.yaml:2:25: prices[1]: an entry before it fits every run already (put that one last)"
    assert (ended.returncode, ended.stderr) == (2, f"{said}\n")
