"""The rules in force as `GET /v1/rules` answers them: whose they are, what is open, and nothing that is not theirs."""

from collections.abc import Mapping
from typing import Any

import httpx2
from tests.clickhouse.test_clickhouse_incidents import put, transition

from flowgauge.console.running_rules import RunningRules
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.app import web_app
from flowgauge.console.web.rules_answer import PAGE_RULES
from flowgauge.processors.rule_plan import plan
from flowgauge.processors.ruleset import RuleSet, rules_from_sources
from flowgauge.producers.tokens import TokenTable
from flowgauge.sinks.clickhouse.incidents import open_by_rule
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.transport.health import Health

RATE = {"failure_rate": {"above": "20%", "within": "10m"}}
SHARED: Mapping[str, Any] = {
    "name": "orders failing",
    "for_each": ["flow"],
    "when": RATE,
    "actions": [{"run": "s3cret"}],
}
OWN = {**SHARED, "tenant": "running-a", "when": {"failure_rate": {"above": 0.5, "within": "10m"}}}
OTHERS = {**SHARED, "name": "only of b", "tenant": "running-b"}
TOKENS = TokenTable({"a": "running-a", "b": "running-b", "o": "running-o"})


async def asked(store: ClickHouseStore, ruleset: RuleSet, token: str, **parameters: str) -> dict[str, Any]:
    answers = Answers(store, Health(), TOKENS, rules=lambda: ruleset, operator="running-o")
    transport = httpx2.ASGITransport(app=web_app(answers, (), None, only_loopback=True))
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
        response = await http.get("/v1/rules", params=parameters)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def seen(body: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    return [(row["rule"], row["tenant"], row["applies"]) for row in body["rows"]]


def opened(body: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    return {(each["rule"], each["tenant"]): each["open"] for each in body["open_incidents"]}


async def test_a_tenant_sees_its_own_and_shared_rules_with_its_incidents_and_the_operator_all(
    embedded: ClickHouseStore,
) -> None:
    ruleset = rules_from_sources([SHARED, OWN, OTHERS], 7)
    for tenant, count in (("running-a", 2), ("running-b", 1)):
        told = [transition(f"{tenant}-{number}", 0, "firing", tenant=tenant) for number in range(count)]
        over = [transition(f"{tenant}-over", seq, to, tenant=tenant) for seq, to in enumerate(("firing", "resolved"))]
        await put(embedded, "transitions", [*told, *over])

    of_a = await asked(embedded, ruleset, "a")
    of_b = await asked(embedded, ruleset, "b")
    whole = await asked(embedded, ruleset, "o")
    as_b = await asked(embedded, ruleset, "o", tenant="running-b")

    assert (of_a["version"], of_a["tenant"], of_a["whole"], of_a["next"]) == (7, "running-a", False, None)
    assert seen(of_a) == [
        ("orders failing", "*", False),
        ("orders failing", "running-a", True),
    ]
    assert opened(of_a) == {("orders failing", "running-a"): 2}
    assert seen(of_b) == [
        ("orders failing", "*", True),
        ("only of b", "running-b", True),
    ]
    assert opened(of_b) == {("orders failing", "running-b"): 1}
    assert as_b == of_b
    assert whole["whole"]
    assert opened(whole).items() >= {("orders failing", "running-a"): 2, ("orders failing", "running-b"): 1}.items()


async def test_a_rule_tells_every_default_and_what_people_wrote_and_of_actions_to_the_operator_alone(
    embedded: ClickHouseStore,
) -> None:
    ruleset = rules_from_sources([SHARED], 1)

    (row,) = (await asked(embedded, ruleset, "b"))["rows"]
    (whole,) = (await asked(embedded, ruleset, "o"))["rows"]

    assert row["kind"] == "failure_rate"
    assert row["severity"] == "warning"
    assert row["meaning"] == ruleset.rules[0].uid
    shown = ("when.failure_rate.min_samples", "allowed_lateness", "(judged)")
    assert [row["fields"][name] for name in shown] == ["5", "10s", "every 5s"]
    assert row["written"] == {name: value for name, value in SHARED.items() if name != "actions"}
    assert "s3cret" not in str(row)
    assert whole["written"] == SHARED


async def test_more_rules_than_a_page_holds_come_page_by_page(embedded: ClickHouseStore) -> None:
    sources = [{**SHARED, "name": f"rule {number}"} for number in range(PAGE_RULES + 2)]
    ruleset = rules_from_sources(sources, 1)

    first = await asked(embedded, ruleset, "o")
    second = await asked(embedded, ruleset, "o", after=first["next"])

    names = [row["rule"] for row in (*first["rows"], *second["rows"])]
    assert (len(first["rows"]), second["next"]) == (PAGE_RULES, None)
    assert (first["open_incidents"], second["open_incidents"]) == ([], None)  # asked once
    assert names == [source["name"] for source in sources]


async def test_rules_are_as_they_are_for_whom_their_actions_are_hidden_from(embedded: ClickHouseStore) -> None:
    ruleset = rules_from_sources([SHARED, OWN, OTHERS], 1)
    written = [row["written"] for row in (await asked(embedded, ruleset, "b"))["rows"]]
    running = RunningRules(
        rules_from_sources(written, 1), "running-b", is_whole=False, open_incidents=None, folder=None
    )

    found = plan(running.ruleset, running.of_the_same(ruleset), running.open_incidents)

    assert [(each.what, each.rule) for each in found] == [("unchanged", "orders failing"), ("unchanged", "only of b")]


async def test_more_open_rules_than_are_counted_are_unknown_and_not_none(embedded: ClickHouseStore) -> None:
    await put(embedded, "transitions", [transition("one", 0, "firing", tenant="running-many")])

    assert await open_by_rule(embedded, "running-many", pairs_max=2) == {("orders failing", "running-many"): 1}
    assert await open_by_rule(embedded, "running-many", pairs_max=1) is None
