"""The notifier among those that make its life hard: who asks for a year, hangs up, storms; clocks and templates."""

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from tests.integration.notifying import BROKEN, HOUR_MS, NOW_MS, SECRET, notifying, receiving, tell, transition
from tests.integration.slack_server import slack

from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.sinks.webhooks.groups import MEMBERS_MAX
from flowgauge.sinks.webhooks.places import Places

pytestmark = pytest.mark.integration

A_YEAR = b"HTTP/1.1 429 Busy\r\nRetry-After: 31536000\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
A_FAR_DATE = A_YEAR.replace(b"31536000", b"Fri, 31 Dec 9999 23:59:59 GMT")
HANGS_UP = b""
STORM = 10_000


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_TEST_SECRET", SECRET)


@pytest.mark.parametrize("reply", [A_YEAR, A_FAR_DATE])
async def test_who_asks_for_a_year_is_tried_again_after_an_hour(tmp_path: Path, reply: bytes) -> None:
    async with receiving(reply) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")

        assert running.deliveries[-1].next_attempt_ms == NOW_MS + HOUR_MS
        running.clock.now_ms += HOUR_MS
        await running.has_recorded("delivered")
        assert len({message.id for message in receiver.messages}) == 1


async def test_who_hangs_up_after_the_request_was_taken_is_told_again_under_the_same_id(tmp_path: Path) -> None:
    async with receiving(HANGS_UP) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")
        running.clock.now_ms += 10_000
        await running.has_recorded("delivered")

        assert len(receiver.messages) == 2
        assert len({(message.id, message.body) for message in receiver.messages}) == 1
        assert [each.reason for each in running.deliveries if each.outcome == "failed"] == ["answer is not whole HTTP"]


@pytest.mark.timeout(120)
async def test_ten_thousand_incidents_in_a_minute_are_a_few_messages_and_each_is_told(tmp_path: Path) -> None:
    async with slack() as server, notifying(tmp_path) as running:
        book = parse_channels("storm", f"channels: [{{name: ops, slack: {{url: '{server.root}/hook'}}}}]")
        running.places = Places(book)
        for start in range(0, STORM, 1_000):
            await tell(running.log, *(transition("firing", 0, key=f"k{n}") for n in range(start, start + 1_000)))
        await running.until(lambda: running.health.undelivered == STORM)
        for count in (2 * MEMBERS_MAX, 4 * MEMBERS_MAX, STORM):  # each of the two partitions has its groups
            running.clock.now_ms += 15_000
            await running.has_recorded("delivered", count)

        assert len(server.messages) == 6
        outcomes = Counter((each.delivery_id, each.outcome) for each in running.deliveries)
        assert outcomes == Counter({(each, told): 1 for each, _ in outcomes for told in ("started", "delivered")})
        await running.until(lambda: running.health.undelivered == 0)


async def test_a_clock_that_steps_back_makes_nothing_wait_longer_and_records_stay_in_order(tmp_path: Path) -> None:
    async with receiving(BROKEN) as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, transition("firing", 0))
        await running.has_recorded("failed")
        running.clock.now_ms -= 24 * HOUR_MS
        await tell(running.log, transition("firing", 0, key="during"))
        await running.has_recorded("delivered")
        running.clock.now_ms += 10_000
        await running.has_recorded("delivered", 2)

        first = [each for each in running.deliveries if each.delivery_id == running.deliveries[0].delivery_id]
        assert [each.outcome for each in first] == ["started", "failed", "started", "delivered"]
        assert [each.at_ms for each in first] == sorted({each.at_ms for each in first})


@pytest.mark.parametrize("summary", ["{{ flow", "{% for x in y %}", "{{ value|round(flow) }}", "{{ flow|nothing }}"])
async def test_a_summary_that_cannot_be_rendered_is_told_in_plain_words(tmp_path: Path, summary: str) -> None:
    async with receiving() as receiver, notifying(tmp_path, receiver.channel()) as running:
        await tell(running.log, msgspec.structs.replace(transition("firing", 0), summary=summary))
        await running.has_recorded("delivered")

        said = json.loads(receiver.messages[0].body)["data"]["summary"]
        assert "failing" in said
        assert "{" not in said
