"""Clients with a fake orchestrator, or a fake REST service, and nothing else to be found."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from amends_participants.client import Amends
from cli.fake_service import FakeService, fake_service
from client.fake_orchestrator import FakeOrchestrator, over_rabbitmq


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No service is known but what the test names."""
    monkeypatch.chdir(tmp_path)
    for name in ("API_URL", "API_KEY", "BROKER_URL", "PREFIX"):
        monkeypatch.delenv(f"AMENDS_{name}", raising=False)


@pytest.fixture
async def orchestrator(broker_url: str, wire_prefix: str) -> AsyncIterator[FakeOrchestrator]:
    """A fake orchestrator on RabbitMQ."""
    async with over_rabbitmq(broker_url, wire_prefix) as fake:
        yield fake


@pytest.fixture
async def amends(
    orchestrator: FakeOrchestrator, broker_url: str, wire_prefix: str
) -> AsyncIterator[Amends]:
    """A client over that broker."""
    async with Amends(broker_url, prefix=wire_prefix) as client:
        yield client


@pytest.fixture
def service() -> Iterator[FakeService]:
    """A fake REST service."""
    with fake_service() as fake:
        yield fake


@pytest.fixture
async def rest(service: FakeService) -> AsyncIterator[Amends]:
    """A client over that service."""
    async with Amends(service.url, api_key="key-1") as client:
        yield client
