"""What a notifier is told of an incident's surroundings: in time, or nothing, and never an error."""

import asyncio
import threading
import uuid
from collections.abc import Callable

import pytest
from tests.clickhouse.reading import Counted
from tests.clickhouse.test_clickhouse_incident_context import Failing, failed
from tests.clickhouse.test_clickhouse_incidents import T0_MS, put, transition

from flowgauge.console.incident_context import AWAY_MS, ContextTeller, LateStore, links_of
from flowgauge.schemas.errors import BadEnvironment
from flowgauge.schemas.incident_context import RunLink, context_lines
from flowgauge.schemas.settings import parse_settings
from flowgauge.schemas.transition import Transition, decode_transition
from flowgauge.sinks.clickhouse.store import ClickHouseStore

SETTINGS = parse_settings('run_url = "https://prefect.example/{run}"', "flowgauge.toml", {}, {})
LINKS = links_of(SETTINGS, "https://gauge.example")


@pytest.fixture
def fired() -> Transition:
    return decode_transition(transition("fired", 0, "firing", tenant=f"teller-{uuid.uuid4().hex[:6]}"))


class Clock:
    def __init__(self) -> None:
        self.now_ms = T0_MS

    def __call__(self) -> int:
        return self.now_ms


def teller(
    store: Callable[[], ClickHouseStore], *, clock: Callable[[], int] = lambda: T0_MS, deadline_s: float = 5.0
) -> ContextTeller:
    return ContextTeller(store, LINKS, deadline_s=deadline_s, now_ms=clock)


async def test_the_context_of_a_transition_is_told_with_links(store: ClickHouseStore, fired: Transition) -> None:
    await put(store, "events", [failed(fired.tenant, 60_000, "refused", run="run-1")])
    others = transition("other", 0, "firing", tenant=fired.tenant)
    await put(store, "transitions", [others])

    found = await teller(lambda: store).context_of(fired)

    assert found is not None
    link, page = "https://prefect.example/run-1", "https://gauge.example/runs/run-1"
    assert found.runs == [RunLink(run="run-1", flow="orders", state="failed", link=link, page=page)]
    assert [each.error for each in found.errors] == ["refused"]
    assert [each.link for each in found.related] == ["https://gauge.example/incidents/other"]
    assert found.untold == []
    assert await teller(lambda: store).details(fired) == tuple(context_lines(found))


async def test_an_incident_of_which_nothing_more_is_known_has_an_empty_context(
    store: ClickHouseStore, fired: Transition
) -> None:
    found = await teller(lambda: store).context_of(fired)

    assert found is not None
    assert (found.errors, found.related, found.untold) == ([], [], [])


async def test_clickhouse_that_is_away_is_left_alone_for_a_while(store: ClickHouseStore, fired: Transition) -> None:
    clock, asked = Clock(), [Counted(Failing(store, "SELECT"))]
    told = teller(lambda: asked[0], clock=clock)

    first, again = await told.context_of(fired), await told.context_of(fired)
    asked_once = asked[0].asked
    asked[0] = Counted(store)
    clock.now_ms += AWAY_MS

    assert (first, again, asked_once) == (None, None, 4)
    assert await told.context_of(fired) is not None


async def test_a_store_that_cannot_be_opened_or_breaks_tells_nothing_and_raises_nothing(fired: Transition) -> None:
    def away() -> ClickHouseStore:
        raise BadEnvironment("ClickHouse does not answer")

    def broken() -> ClickHouseStore:
        raise RuntimeError("a bug")

    assert await teller(away).context_of(fired) is None
    assert await teller(broken).context_of(fired) is None
    assert await teller(away).details(fired) == ()


async def test_a_store_that_hangs_is_given_up_at_the_deadline(store: ClickHouseStore, fired: Transition) -> None:
    ends = threading.Event()

    def hanging() -> ClickHouseStore:
        ends.wait()
        return store

    opening = await teller(hanging, deadline_s=0.01).context_of(fired)
    ends.set()
    asking = await teller(lambda: Failing(store, "SELECT", hangs=True), deadline_s=0.01).context_of(fired)

    assert (opening, asking) == (None, None)


async def test_those_that_wait_too_long_for_their_turn_do_not_make_clickhouse_away(
    store: ClickHouseStore, fired: Transition
) -> None:
    told = teller(lambda: store)
    await told.turns.acquire()
    await told.turns.acquire()
    told.deadline_s = 0.01
    waited = await told.context_of(fired)
    told.turns.release()
    told.deadline_s = 5.0

    assert waited is None
    assert await told.context_of(fired) is not None


async def test_ending_a_message_ends_its_question(store: ClickHouseStore, fired: Transition) -> None:
    asking = asyncio.ensure_future(teller(lambda: Failing(store, "SELECT", hangs=True)).context_of(fired))
    await asyncio.sleep(0)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking


def test_a_server_that_does_not_answer_is_no_store() -> None:
    settings = parse_settings('clickhouse.url = "http://127.0.0.1:9"', "flowgauge.toml", {}, {})
    late = LateStore(settings)

    with pytest.raises(BadEnvironment):
        late()
    late.close()
