"""An orchestrator and participants in one process, over a real Postgres, spoken to by REST."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pydantic import SecretStr

from amends_contracts.plan import Plan
from amends_orchestrator.cli import embedded, service
from amends_orchestrator.settings import Settings
from amends_orchestrator.transport.memory import MemoryBroker, MemoryTransport
from amends_participants import Participant

DEADLINE_S = 60


class Whole:
    """What a client of it may ask."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def run(self, definition: str, given: Any, key: str = "k") -> dict[str, Any]:
        """The saga that is started with this, when it has ended or is stuck."""
        body = {"definition": definition, "key": key, "input": given}
        started = await self.http.post("/v1/sagas", json=body)
        assert started.status_code in (200, 201), started.text
        async with asyncio.timeout(DEADLINE_S):
            while True:
                path = f"/v1/sagas/{started.json()['saga_id']}"
                shown = (await self.http.get(path, params={"wait": 5})).json()
                if shown["status"] in ("completed", "compensated", "stuck"):
                    return shown

    async def journal(self, saga_id: str) -> list[dict[str, Any]]:
        """Its facts."""
        return (await self.http.get(f"/v1/sagas/{saga_id}/journal")).json()["items"]


@asynccontextmanager
async def whole(
    database_url: str, plans: Sequence[Plan[Any]], participants: Sequence[Participant]
) -> AsyncGenerator[Whole]:
    """All of it, ended after the test."""
    settings = Settings(
        broker_url=SecretStr("amqp://in-process"),
        database_url=SecretStr(database_url),
        token_secrets=(SecretStr("s" * 32),),
    )
    broker = MemoryBroker()
    transport = MemoryTransport(broker, settings.topology, partitions=settings.partitions)
    async with service.assembled(settings, transport) as parts:
        await embedded._register(plans, parts.definitions)  # pyright: ignore[reportPrivateUsage]
        engine = asyncio.create_task(parts.orchestrator.run())
        while not parts.orchestrator.is_ready():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with embedded._running(participants, broker, settings):  # pyright: ignore[reportPrivateUsage]
            served = httpx.ASGITransport(parts.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=served, base_url="http://localhost") as http:
                yield Whole(http)
        await parts.orchestrator.stop()
        await engine
