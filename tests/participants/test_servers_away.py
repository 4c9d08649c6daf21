"""A participant whose broker or database goes away: it waits, and nothing is lost or done twice."""

import asyncio

import pytest

from amends_orchestrator.local.servers import Broker, Server
from amends_participants import create_tables
from participants.bank import bank
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World

SYNCED_S = 6
"""RabbitMQ 3.10 forgets the replicas of a quorum queue declared within seconds before a SIGKILL:
it is listed and never answers."""


@pytest.mark.slow
async def test_a_broker_that_is_killed_and_restarted(own_rabbitmq: Broker, world: World) -> None:
    """Commands in the queues, one at work and a reply in doubt all end well."""
    before = Caller(own_rabbitmq.url, "away")
    await before.open()
    settings = settings_for(own_rabbitmq.url, world.url, "away")
    async with running(bank(world), settings):
        steps = [
            Step("bank.charge", {"account": f"a{n + 1}", "usd": 1, "how": "slow"})
            for n in range(20)
        ]
        wired = Step("bank.wire", {"account": "a1", "usd": 1, "how": "slow"})
        await asyncio.sleep(SYNCED_S)
        await before.send(*[s.action() for s in steps], wired.action())
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_rabbitmq.kill)
        await asyncio.to_thread(own_rabbitmq.restart)
        await before.close()
        after = Caller(own_rabbitmq.url, "away")
        await after.open()
        for step in [*steps, wired]:
            (reply, *_) = await after.heard(step.action())
            assert told(reply) == ("succeeded", {"id": step.key})
            assert await world.done(step.key) == ["acted"]
        assert told(await after.ask(wired.compensation())) == ("succeeded", {})
        await after.close()


@pytest.mark.slow
async def test_a_database_that_is_killed_and_restarted(
    own_postgres: Server, broker_url: str, wire_prefix: str
) -> None:
    """What was at work is done again from its row; commits in doubt are looked up."""
    world = World(own_postgres.url)
    async with world.engine.begin() as conn:
        await create_tables(conn)
        await world.create(conn)
    caller = Caller(broker_url, wire_prefix)
    await caller.open()
    async with running(bank(world), settings_for(broker_url, world.url, wire_prefix)):
        steps = [Step("bank.charge", {"account": f"a{n % 20 + 1}", "usd": 1}) for n in range(200)]
        await caller.send(*[s.action() for s in steps])
        await asyncio.to_thread(own_postgres.kill)
        await asyncio.to_thread(own_postgres.restart)
        replies = [(await caller.heard(step.action()))[0] for step in steps]
        retried = [
            (await caller.ask(step.action(2))) if reply.retryable else reply
            for step, reply in zip(steps, replies, strict=True)
        ]
    assert {told(r)[0] for r in retried} == {"succeeded"}
    await world.engine.dispose()
    assert await world.total() == 2000 - 200
    await world.engine.dispose()
    await caller.close()
