"""What a participant promises, over real RabbitMQ and Postgres, one command after another."""

from collections.abc import AsyncGenerator

import pytest

from participants.bank import bank
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World


@pytest.fixture
async def served(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> AsyncGenerator[Caller]:
    """A bank that serves the caller."""
    async with running(bank(world), settings_for(broker_url, world.url, wire_prefix)):
        yield caller


async def test_action_and_compensation(served: Caller, world: World) -> None:
    """An action takes effect and its compensation undoes it, each answered with its echo."""
    step = Step("bank.charge", {"account": "a1", "usd": 30})
    reply = await served.ask(step.action())
    assert told(reply) == ("succeeded", {"id": step.key})
    assert (reply.token, reply.attempt, reply.key) == ("token of action", 1, step.key)
    assert await world.balance() == 70
    reply = await served.ask(step.compensation(output={"id": step.key}))
    assert told(reply) == ("succeeded", {})
    assert await world.balance() == 100
    assert await world.done(step.key) == ["acted", "undone"]
