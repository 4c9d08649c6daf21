"""The promises under concurrency: several instances, duplicates and undos at the same moment."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest

from participants.bank import bank
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World

CLASSES = ["bank.charge", "bank.wire", "bank.post", "bank.shout"]


@pytest.fixture
async def served(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> AsyncGenerator[Caller]:
    """Two instances of the bank."""
    async with AsyncExitStack() as stack:
        for _ in range(2):
            settings = settings_for(broker_url, world.url, wire_prefix)
            await stack.enter_async_context(running(bank(world), settings))
        yield caller


async def settled_undo(caller: Caller, step: Step) -> tuple[str, object]:
    """Compensate as the orchestrator does: while told to wait, with higher attempts."""
    for attempt in range(1, 40):
        reply = await caller.ask(step.compensation(attempt))
        if not reply.retryable:
            return told(reply)
        await asyncio.sleep(0.1)
    raise AssertionError("the undo never ended")


@pytest.mark.parametrize("command", CLASSES)
async def test_many_duplicates_at_once(served: Caller, world: World, command: str) -> None:
    """Twenty deliveries of one action, of two attempts, at two instances: one effect."""
    step = Step(command, {"account": "a1", "usd": 30})
    await served.send(*[step.action(1 + n % 2) for n in range(20)])
    assert told(await served.ask(step.action(3))) == ("succeeded", {"id": step.key})
    assert (await world.balance(), await world.done(step.key)) == (70, ["acted"])


@pytest.mark.parametrize("command", CLASSES)
async def test_action_and_undo_race(served: Caller, world: World, command: str) -> None:
    """Actions and compensations of forty steps in random order: every world ends as it began."""
    chance = random.Random(command)
    steps = [Step(command, {"account": f"a{n % 20 + 1}", "usd": 1}) for n in range(40)]
    sent = [c for s in steps for c in (s.action(), s.action(), s.compensation(), s.compensation())]
    chance.shuffle(sent)
    await served.send(*sent)
    results = await asyncio.gather(*(settled_undo(served, step) for step in steps))
    assert set(map(str, results)) == {"('succeeded', {})"}
    late = [await served.ask(step.action(9)) for step in steps[:5]]
    assert {r.outcome.value for r in late} <= {"fenced", "succeeded", "failed"}
    assert await world.total() == 2000
    effects = {tuple(await world.done(step.key)) for step in steps}
    assert effects <= {(), ("acted", "undone")}


async def test_probes_race_with_actions(served: Caller, world: World) -> None:
    """Who is told `absent` never sees an effect of the attempts closed; `present` is true."""
    steps = [Step("bank.charge", {"account": f"a{n % 20 + 1}", "usd": 1}) for n in range(30)]
    sent = [c for s in steps for c in (s.probe(), s.action())]
    random.Random(7).shuffle(sent)
    await served.send(*sent)
    for step in steps:
        (probed, *_) = await served.heard(step.probe())
        await served.heard(step.action())
        there = await world.done(step.key) == ["acted"]
        if told(probed)[0] == "succeeded":
            assert (probed.json()["effect"] == "present") is there


async def test_a_slow_action_is_not_run_twice_nor_undone_midway(
    served: Caller, world: World
) -> None:
    """While it runs: a retry joins it, a compensation is told to wait and closes the key."""
    for command in ("bank.charge", "bank.wire"):
        step = Step(command, {"account": "a1", "usd": 30, "how": "slow"})
        await served.send(step.action())
        await asyncio.sleep(0.4)
        undo = await served.ask(step.compensation())
        assert (told(undo), undo.retryable) == (("failed", "amends:running"), True)
        probed = await served.ask(step.probe())
        assert told(probed) == ("unknown", "amends:running")
        assert told(await served.ask(step.action(2))) == ("succeeded", {"id": step.key})
        assert await world.done(step.key) == ["acted"]
        assert await settled_undo(served, step) == ("succeeded", {})
        assert await world.done(step.key) == ["acted", "undone"]


async def test_many_different_commands(served: Caller, world: World) -> None:
    """Two hundred steps of all classes, then all undone: nothing is lost, nothing done twice."""
    steps = [Step(CLASSES[n % 4], {"account": f"a{n % 20 + 1}", "usd": 1}) for n in range(200)]
    replies = await asyncio.gather(*(served.ask(step.action()) for step in steps))
    assert {told(r)[0] for r in replies} == {"succeeded"}
    assert await world.total() == 1800
    undone = await asyncio.gather(*(served.ask(step.compensation()) for step in steps))
    assert {told(r)[0] for r in undone} == {"succeeded"}
    assert await world.total() == 2000
