"""Answers that are remembered: never another tenant's, never another question's, never too old."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.console.web.remembered import Remembered
from flowgauge.schemas.errors import Transient


class Asked:
    """Counts what is asked, and answers with whose and what it was, and the how-manieth."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, tenant: str, question: object, size: int = 0) -> Callable[[], Awaitable[list[object]]]:
        async def ask() -> list[object]:
            self.count += 1
            await asyncio.sleep(0)
            return [tenant, question, "x" * size]

        return ask


async def test_ten_people_ask_once_while_it_is_fresh_and_again_when_it_is_not() -> None:
    now, asked = [1_000], Asked()
    remembered = Remembered(500, lambda: now[0])

    answers = await asyncio.gather(*(remembered.answer("a", "q", asked.of("a", "q")) for _ in range(10)))
    await remembered.answer("a", "q", asked.of("a", "q"))
    assert (asked.count, answers) == (1, [["a", "q", ""]] * 10)

    now[0] = 1_500
    await remembered.answer("a", "q", asked.of("a", "q"))
    assert asked.count == 2


async def test_an_error_is_told_to_all_who_wait_and_is_not_kept() -> None:
    remembered, asked = Remembered(500, lambda: 0), Asked()

    async def fail() -> list[object]:
        await asyncio.sleep(0)
        raise Transient("away")

    found = await asyncio.gather(*(remembered.answer("a", "q", fail) for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in found] == ["away"] * 3
    assert await remembered.answer("a", "q", asked.of("a", "q")) == ["a", "q", ""]


async def test_who_goes_away_takes_nobodys_answer_along() -> None:
    remembered, asked = Remembered(500, lambda: 0), Asked()
    first, second = (asyncio.ensure_future(remembered.answer("a", "q", asked.of("a", "q"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == ["a", "q", ""]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_at_the_bound_the_tenant_with_most_forgets_its_oldest() -> None:
    asked = Asked()
    remembered = Remembered(500, lambda: 0, bytes_max=1_000)
    await remembered.answer("small", 0, asked.of("small", 0))
    for question in range(20):
        await remembered.answer("large", question, asked.of("large", question, size=100))
    asked_before = asked.count

    await remembered.answer("small", 0, asked.of("small", 0))
    await remembered.answer("large", 19, asked.of("large", 19, size=100))
    assert asked.count == asked_before
    await remembered.answer("large", 0, asked.of("large", 0, size=100))
    assert asked.count == asked_before + 1


@given(
    asks=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 300), st.integers(0, 400)), max_size=60
    ),
    fresh_ms=st.sampled_from([0, 500]),
)
async def test_an_answer_is_always_of_its_tenant_and_question_and_fresh(
    asks: list[tuple[str, int, int, int]], fresh_ms: int
) -> None:
    now = [10_000]
    remembered = Remembered(fresh_ms, lambda: now[0], entries_max=4, bytes_max=1_000)
    for tenant, question, size, later_ms in asks:
        now[0] += later_ms

        async def ask(tenant: str = tenant, question: int = question, size: int = size) -> list[object]:
            return [tenant, question, now[0], "x" * size]

        *said, at_ms, _ = await remembered.answer(tenant, question, ask)

        assert said == [tenant, question]
        assert isinstance(at_ms, int)
        assert now[0] - at_ms < max(fresh_ms, 1)
        assert remembered.entries <= 4
        assert remembered.size <= 1_000


@pytest.mark.parametrize(("fresh_ms", "at_ms", "moment"), [(500, 999, 500), (500, 1_499, 1_000), (0, 1_499, 1_499)])
def test_a_moment_lasts_as_long_as_an_answer_and_is_never_ahead(fresh_ms: int, at_ms: int, moment: int) -> None:
    assert Remembered(fresh_ms, lambda: at_ms).moment() == moment
