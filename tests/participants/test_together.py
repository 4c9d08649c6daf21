"""Actions that arrive together share a transaction, and nobody can tell but by its number."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from participants.bank import bank
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World

SHARED = "SELECT count(*) - count(DISTINCT xmin::text) FROM done"
"""Effects beyond the first of their transaction."""


@pytest.fixture
async def served(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> AsyncGenerator[Caller]:
    """One instance of the bank."""
    async with running(bank(world), settings_for(broker_url, world.url, wire_prefix)):
        yield caller


def charges(count: int, how: str = "") -> list[Step]:
    """As many steps of one dollar each."""
    return [
        Step("bank.charge", {"account": f"a{n % 20 + 1}", "usd": 1, "how": how})
        for n in range(count)
    ]


async def answers(caller: Caller, steps: list[Step]) -> list[tuple[str, object]]:
    """What all are told, asked at the same moment."""
    return [told(r) for r in await asyncio.gather(*(caller.ask(s.action()) for s in steps))]


async def test_a_crowd_shares_transactions(served: Caller, world: World) -> None:
    """Two hundred actions at once: each has its effect once, many in one transaction."""
    steps = charges(200)
    assert await answers(served, steps) == [("succeeded", {"id": step.key}) for step in steps]
    assert await world.total() == 1800
    assert await world.scalar("SELECT count(DISTINCT key) FROM done") == 200
    shared = await world.scalar(SHARED)
    assert isinstance(shared, int)
    assert shared > 50


async def test_a_failure_takes_nobody_along(served: Caller, world: World) -> None:
    """Ten of a hundred cannot be paid: the ninety have their effects, the ten have none."""
    steps = charges(100)
    for step in steps[::10]:
        step.input["usd"] = 1000
    told_all = await answers(served, steps)
    assert [outcome for outcome, _ in told_all] == (["failed"] + ["succeeded"] * 9) * 10
    assert await world.total() == 2000 - 90
    assert {tuple(await world.done(step.key)) for step in steps[::10]} == {()}


async def test_slow_handlers_do_not_wait_for_each_other(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """Handlers of a second are run side by side, in transactions of their own, after a first."""
    settings = settings_for(broker_url, world.url, wire_prefix, concurrency=16)
    async with running(bank(world), settings):
        steps = charges(10, "slow")
        begun = asyncio.get_running_loop().time()
        assert {outcome for outcome, _ in await answers(caller, steps)} == {"succeeded"}
        assert asyncio.get_running_loop().time() - begun < 8


async def test_a_group_of_one_is_no_group(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """AMENDS_GROUP_MAX=1 gives every action a transaction of its own."""
    settings = settings_for(broker_url, world.url, wire_prefix, group_max=1)
    async with running(bank(world), settings):
        assert {outcome for outcome, _ in await answers(caller, charges(60))} == {"succeeded"}
    assert await world.scalar(SHARED) == 0


async def test_what_was_answered_before_is_answered_again(served: Caller, world: World) -> None:
    """Old and new keys in one crowd: the old get their stored answers, nothing is done twice."""
    steps = charges(80)
    first = await answers(served, steps[:40])
    again = [told(r) for r in await asyncio.gather(*(served.ask(s.action(2)) for s in steps))]
    assert again[:40] == first
    assert await world.scalar("SELECT count(*) FROM done") == 80
