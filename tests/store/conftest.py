"""An open store on a database of its own."""

from collections.abc import AsyncGenerator

import pytest

from amends_orchestrator.store import PostgresStore


@pytest.fixture
async def store(migrated_database_url: str) -> AsyncGenerator[PostgresStore]:
    """The store, closed after the test."""
    opened = await PostgresStore.open(migrated_database_url)
    yield opened
    await opened.close()
