"""A stand-in for the orchestrator, and a database with something to act upon."""

from collections.abc import AsyncGenerator

import pytest

from amends_participants import create_tables
from participants.caller import Caller
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
