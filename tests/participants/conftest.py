"""A stand-in for the orchestrator, and a database with something to act upon."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from amends_contracts.messages import Command
from amends_participants import Participant, create_tables
from participants.bank import bank
from participants.caller import Caller, told
from participants.running import Crowd, running, settings_for
from participants.world import World


@pytest.fixture
async def caller(broker_url: str, wire_prefix: str) -> AsyncGenerator[Caller]:
    """Sends commands as the orchestrator does, and reads the replies."""
    made = Caller(broker_url, wire_prefix)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def world(database_url: str) -> AsyncGenerator[World]:
    """The participant's database: accounts with a balance, and what was done to them."""
    made = World(database_url)
    async with made.engine.begin() as conn:
        await create_tables(conn)
        await made.create(conn)
    yield made
    await made.engine.dispose()


@pytest.fixture
async def served(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> AsyncGenerator[Caller]:
    """One instance of the bank."""
    async with running(bank(world), settings_for(broker_url, world.url, wire_prefix)):
        yield caller


@pytest.fixture
def crowd(caller: Caller, world: World, broker_url: str, wire_prefix: str) -> Crowd:
    """Sends commands while nobody serves, so that all are there when somebody does."""

    async def ask(
        *commands: Command, times: int = 1, app: Participant | None = None
    ) -> list[list[tuple[str, object]]]:
        settings = settings_for(broker_url, world.url, wire_prefix)
        async with running(app or bank(world), settings):
            seen = {c.message_id: len(caller.replies[f"{c.message_id}:reply"]) for c in commands}
        await caller.send(*(command for command in commands for _ in range(times)))
        async with running(app or bank(world), settings):
            heard = [caller.heard(c, seen[c.message_id] + times) for c in commands]
            replies = await asyncio.gather(*heard)
        return [[told(reply) for reply in each] for each in replies]

    return ask
