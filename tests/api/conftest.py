"""A world behind the application, and clients that speak to it without a socket."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from api.fakes import World, app_of, client_of


@pytest.fixture
def world() -> World:
    """An empty service without keys."""
    return World()


@pytest.fixture
async def client(world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """A client on the same machine."""
    async with client_of(app_of(world)) as made:
        yield made
