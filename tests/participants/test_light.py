"""The wire contract without the SDK: a plain participant of the light profile."""

import random
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from amends_contracts.messages import ActionOutcome, digest_of, to_body
from participants.caller import Caller, Step, told
from participants.light import Light
from participants.world import World


@pytest.fixture
async def served(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> AsyncGenerator[Caller]:
    """The plain bank."""
    light = Light(broker_url, world.url, wire_prefix)
    await light.start()
    yield caller
    await light.stop()


def step_of(usd: int = 30) -> Step:
    """A step that charges account a1."""
    return Step("bank.charge", {"account": "a1", "usd": usd})


async def test_duplicates_retries_and_undo(served: Caller, world: World) -> None:
    """One effect, one undo, stored replies, the echo of each delivery."""
    step = step_of()
    for attempt in (1, 1, 2):
        reply = await served.ask(step.action(attempt))
        assert (told(reply), reply.attempt, reply.token) == (
            ("succeeded", {"id": step.key}),
            attempt,
            "token of action",
        )
    for attempt in (1, 2):
        assert told(await served.ask(step.compensation(attempt))) == ("succeeded", {})
    assert (await world.balance(), await world.done(step.key)) == (100, ["acted", "undone"])


async def test_disorder_and_doubt(served: Caller, world: World) -> None:
    """Undo first, late action, retryable failure, reused key, forgotten effect."""
    step = step_of()
    undo = step.compensation()
    await served.send(undo, undo)
    await served.heard(undo, 2)
    assert told(await served.ask(step.action())) == ("fenced", "fenced")
    poor = step_of(500)
    reply = await served.ask(poor.action())
    assert (told(reply), reply.retryable) == (("failed", "no-cover"), True)
    other = to_body({"account": "a2", "usd": 1})
    reused = replace(poor.action(2), body=other, digest=digest_of(other))
    assert told(await served.ask(reused)) == ("unknown", "amends:key-reused")
    forgotten = step_of().compensation(known=ActionOutcome.SUCCEEDED)
    assert told(await served.ask(forgotten)) == ("unknown", "amends:forgotten")
    assert told(await served.ask(step.probe())) == ("failed", "amends:unsupported")
    assert await world.total() == 2000


async def test_races(served: Caller, world: World) -> None:
    """Actions and undos of thirty steps in random order: every world ends as it began."""
    steps = [Step("bank.charge", {"account": f"a{n % 20 + 1}", "usd": 1}) for n in range(30)]
    sent = [c for s in steps for c in (s.action(), s.action(), s.compensation(), s.compensation())]
    random.Random(3).shuffle(sent)
    await served.send(*sent)
    for step in steps:
        await served.heard(step.compensation(), 2)
        await served.heard(step.action(), 2)
    assert await world.total() == 2000
    assert {tuple(await world.done(s.key)) for s in steps} <= {(), ("acted", "undone")}
