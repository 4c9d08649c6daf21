"""What holds in groups whatever is in them: contexts of their own, and a pace."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from amends_participants.runtime.pace import Pace
from amends_participants.runtime.taken import within

SAID: ContextVar[str] = ContextVar("SAID", default="nothing")


async def _say(word: str) -> str:
    before = SAID.get()
    SAID.set(word)
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return f"{before}, {SAID.get()}"


async def test_one_task_and_many_contexts() -> None:
    """What a handler sets is seen by itself, over every wait, and by nobody after it."""
    contexts = [copy_context() for _ in range(3)]
    said = [await within(context, _say(f"word {n}")) for n, context in enumerate(contexts)]
    assert said == ["nothing, word 0", "nothing, word 1", "nothing, word 2"]
    assert SAID.get() == "nothing"
    assert contexts[1][SAID] == "word 1"


async def test_what_a_handler_raises_is_raised() -> None:
    """And a time limit of its own ends its wait."""

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await within(copy_context(), give_up())


async def test_a_cancellation_reaches_the_handler() -> None:
    """It may clean up; then the whole ends."""
    seen: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append(SAID.get())

    async def group() -> None:
        context = copy_context()
        context.run(SAID.set, "mine")
        await within(context, wait())

    task = asyncio.create_task(group())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["mine"]


def test_the_pace_grows_with_a_crowd_and_ends_with_one_alone() -> None:
    """3, 6, 12, 15 ms while they come together; 3 again after a single one."""
    pace, between_s, paces = Pace(0.003, 0.015), 0.003, list[float]()
    for count in (1, 5, 64, 2, 2, 1):
        between_s = pace.after(count, between_s)
        paces.append(between_s)
    assert paces == [0.003, 0.006, 0.012, 0.015, 0.015, 0.003]
