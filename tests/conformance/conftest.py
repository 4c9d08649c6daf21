"""The implementations of the ports, each in turn."""

from collections.abc import AsyncGenerator

import pytest

from conformance.stores import Stage, memory_stage, postgres_stage


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.servers)])
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    """Each store in turn, empty, with 16 partitions."""
    if request.param == "memory":
        yield memory_stage()
        return
    made, store = await postgres_stage(request.getfixturevalue("migrated_database_url"))
    yield made
    await store.close()
