"""Turns: nobody asks more than its share at a time, and everybody's turn comes."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.web.turns import TooManyQuestions, Turns
from flowgauge.schemas.setting_parts import QuestionSettings

BOUNDS = QuestionSettings(running=3, tenant_running=2, tenant_waiting=4, wait="10s")


async def settle() -> None:
    """Let everybody go on who can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Asking:
    """Questions that end when they are told to; who asks now, and in which order they began."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.now: Counter[str] = Counter()
        self.began: list[str] = []
        self.ends = asyncio.Semaphore(0)

    async def ask(self, tenant: str) -> None:
        async with self.turns.turn(tenant):
            self.now[tenant] += 1
            self.began.append(tenant)
            await self.ends.acquire()
            self.now[tenant] -= 1


async def test_a_tenant_that_asks_much_leaves_turns_to_others() -> None:
    asking = Asking(Turns(BOUNDS))
    async with asyncio.TaskGroup() as tasks:
        for tenant in ("heavy", "heavy", "heavy", "heavy", "light"):
            tasks.create_task(asking.ask(tenant))
        await settle()

        assert dict(asking.now) == {"heavy": 2, "light": 1}
        for _ in range(5):
            asking.ends.release()


async def test_turns_go_round_the_tenants_that_wait() -> None:
    asking = Asking(Turns(QuestionSettings(running=1, tenant_running=1, tenant_waiting=4)))
    async with asyncio.TaskGroup() as tasks:
        for tenant in ("a", "a", "a", "b", "b", "c"):
            tasks.create_task(asking.ask(tenant))
        await settle()
        for _ in range(6):
            asking.ends.release()

    assert asking.began == ["a", "a", "b", "c", "a", "b"]


async def test_a_line_that_is_full_refuses_with_the_bound_and_only_its_tenant() -> None:
    asking = Asking(Turns(QuestionSettings(running=1, tenant_running=1, tenant_waiting=1)))
    async with asyncio.TaskGroup() as tasks:
        for tenant in ("a", "a", "b"):
            tasks.create_task(asking.ask(tenant))
        await settle()

        with pytest.raises(
            TooManyQuestions, match=r"^of tenant a 1 question may be asked at a time, and 1 wait: ask again in a mom"
        ):
            await asking.ask("a")
        for _ in range(3):
            asking.ends.release()

    assert asking.began == ["a", "a", "b"]


async def test_who_waits_too_long_is_told_so_and_its_place_is_free() -> None:
    turns = Turns(QuestionSettings(running=1, tenant_running=1, tenant_waiting=1, wait="1ms"))
    async with turns.turn("a"):
        for _ in range(3):  # were a place lost, the line would be full
            with pytest.raises(TooManyQuestions, match=r"^no turn came in 1ms: other questions take long"):
                await turns.turn("a").__aenter__()

    async with turns.turn("a"):
        pass


@given(seed=st.integers(0, 10_000))
async def test_whoever_goes_away_when_bounds_hold_and_no_turn_is_lost(seed: int) -> None:
    chance, turns = random.Random(seed), Turns(BOUNDS)
    asking = Asking(turns)
    tasks: list[asyncio.Task[None]] = []
    for _ in range(60):
        match chance.choice(["ask", "ask", "end", "cancel", "settle"]):
            case "ask":
                tasks.append(asyncio.ensure_future(asking.ask(chance.choice("abc"))))
            case "end":
                asking.ends.release()
            case "cancel" if tasks:
                chance.choice(tasks).cancel()
            case _:
                await settle()
        running = turns.running
        assert running.total() <= BOUNDS.running
        assert all(count <= BOUNDS.tenant_running for count in running.values())
    for _ in tasks:
        asking.ends.release()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (dict(turns.running), turns.waiting) == ({}, 0)
