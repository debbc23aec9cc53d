"""Having deliveries sent again that were given up: looked up, written to the log, told."""

from uuid import uuid4

from flowgauge.console.web.answers import Answers
from flowgauge.console.web.deliveries import NotDead, ReplayAll, ReplayOne, ReplayTold, replayed_all, replayed_one
from flowgauge.console.web.parameters import moment_ms
from flowgauge.schemas.control import Replayed
from flowgauge.schemas.errors import BadInput
from flowgauge.transport.control_book import ControlBook


async def replay_one(answers: Answers, tenant: str, delivery_id: str, asked: ReplayOne) -> ReplayTold | None:
    """Have one delivery sent again, durably asked for; None when this tenant has none of that id.

    Raises NotDead for what was not given up, as far as ClickHouse knows, Transient when the log cannot take it now.
    """
    found = await answers.delivery_named(tenant, delivery_id)
    if found is None:
        return None
    if found.outcome != "dead":
        raise NotDead(found)
    at_ms = max(answers.now_ms(), found.at_ms + 1)  # the notifier sends again what died before somebody asked
    said = Replayed(control_id=uuid4().hex, tenant=tenant, at_ms=at_ms, by=asked.by, delivery_id=found.delivery_id)
    await _book(answers).append(said)
    return replayed_one(tenant, found)


async def replay_all(answers: Answers, tenant: str, asked: ReplayAll) -> ReplayTold:
    """Have all sent again that was given up since, durably asked for, and return how many ClickHouse knows of.

    Raises BadInput for a time that cannot be read, Transient when the log cannot take it now.
    """
    now_ms = answers.now_ms()
    since_ms = moment_ms("since", asked.since, now_ms)
    dead = await answers.dead_deliveries(tenant, asked.channel, since_ms)
    said = Replayed(
        control_id=uuid4().hex,
        tenant=tenant,
        at_ms=max(now_ms, dead.newest_ms + 1),
        by=asked.by,
        channel=asked.channel,
        since_ms=since_ms,
    )
    await _book(answers).append(said)
    return replayed_all(tenant, asked.channel, since_ms, dead.count)


def _book(answers: Answers) -> ControlBook:
    if answers.controls is None:
        raise BadInput("nothing is sent again from here: ask `flowgauge up` or `flowgauge console`")
    return answers.controls
