"""More work than places: waiting is done under intents, not under unacknowledged deliveries."""

import asyncio

from participants.bank import bank
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World


async def test_long_waiting_is_taken_over_from_the_broker(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """One place, four slow commands: each is acknowledged while it waits, and done once."""
    settings = settings_for(broker_url, world.url, wire_prefix, concurrency=1, long_wait_s=0.2)
    steps = [Step("bank.wire", {"account": "a1", "usd": 1, "how": "slow"}) for _ in range(4)]
    async with running(bank(world), settings):
        await caller.send(*[s.action() for s in steps])
        await asyncio.sleep(0.7)
        waiting = "SELECT count(*) FROM amends_intent WHERE NOT started"
        assert await world.scalar(waiting) in {1, 2, 3}
        for step in steps:
            assert told((await caller.heard(step.action()))[0]) == ("succeeded", {"id": step.key})
        quick = Step("bank.wire", {"account": "a1", "usd": 1})
        assert told(await caller.ask(quick.action()))[0] == "succeeded"
    assert [await world.done(s.key) for s in steps] == [["acted"]] * 4
    assert await world.scalar("SELECT count(*) FROM amends_intent") == 0
    assert await world.scalar("SELECT count(*) FROM amends_reply") == 0


async def test_a_compensation_closes_what_has_not_begun(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """An action that waits for its place never begins once its compensation has come."""
    settings = settings_for(broker_url, world.url, wire_prefix, concurrency=2, long_wait_s=0.1)
    slow = Step("bank.wire", {"account": "a1", "usd": 1, "how": "slow"})
    late = Step("bank.wire", {"account": "a2", "usd": 1})
    async with running(bank(world), settings):
        await caller.send(slow.action())
        await asyncio.sleep(0.3)
        await caller.send(late.action())
        await asyncio.sleep(0.4)
        assert told(await caller.ask(late.compensation())) == ("failed", "amends:running")
        assert told((await caller.heard(late.action()))[0]) == ("failed", "amends:closed")
        assert told(await caller.ask(late.compensation(2))) == ("succeeded", {})
    assert (await world.done(late.key), await world.done(slow.key)) == ([], ["acted"])


async def test_undo_has_places_of_its_own(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """New work in every place it may take does not keep an undo waiting."""
    settings = settings_for(broker_url, world.url, wire_prefix, concurrency=4)
    done = Step("bank.wire", {"account": "a1", "usd": 1})
    slow = [Step("bank.wire", {"account": "a1", "usd": 1, "how": "slow"}) for _ in range(12)]
    async with running(bank(world), settings):
        await caller.ask(done.action())
        await caller.send(*[s.action() for s in slow])
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        assert told(await caller.ask(done.compensation())) == ("succeeded", {})
        assert asyncio.get_running_loop().time() - started < 0.7
        for step in slow:
            await caller.heard(step.action())
