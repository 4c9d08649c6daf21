"""A whole orchestrator in this process: the real engine over in-memory store and broker."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from amends_contracts.messages import Json, Start, StartAnswer
from amends_contracts.names import SagaId
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.state import TERMINAL, SagaStatus
from amends_orchestrator.engine.orchestrator import Orchestrator
from amends_orchestrator.settings import Settings
from amends_orchestrator.store.memory import MemoryStore
from amends_orchestrator.transport.memory import MemoryBroker, MemoryTransport
from engine.scripted import Participants, succeeded

TIMEOUT_S = 60.0
SECRET = "a secret for tests alone"


def action(name: str, command: str, **more: Json) -> dict[str, Json]:
    """A step of a definition: compensatable unless said otherwise."""
    step: dict[str, Json] = {
        "id": name,
        "kind": "action",
        "command": command,
        "timeout": "PT30S",
        "effect": "transactional",
        "retry": {"max_attempts": 3, "initial": "PT0.01S", "max": "PT0.05S"},
        "compensation": {"retry": {"max_attempts": None, "initial": "PT0.01S", "max": "PT0.05S"}},
    }
    return {**step, **more}


TRIP: dict[str, Json] = {
    "name": "trip",
    "version": 1,
    "input": {
        "type": "object",
        "properties": {"to": {"type": "string"}},
        "required": ["to"],
    },
    "steps": [
        action("flight", "flights.reserve", input={"to": "${ input.to }"}),
        action("hotel", "hotels.book", input={"city": "${ input.to }"}),
        action("card", "payments.charge", input={"flight": "${ steps.flight.output.code }"}),
    ],
}
SERVICES = ("flights", "hotels", "payments")


def settings(**more: Any) -> Settings:
    """Settings of a test; nothing is read from the environment that matters."""
    given: dict[str, Any] = {
        "database_url": "postgresql://nowhere",
        "broker_url": "amqp://nowhere",
        "token_secrets": SECRET,
        "partitions": 4,
        "pace_ms": 0,
    }
    return Settings(**{**given, **more})


@dataclass
class Engine:
    """An orchestrator that runs, and what is around it."""

    store: MemoryStore
    broker: MemoryBroker
    topology: Topology
    participants: Participants
    transport: MemoryTransport
    orchestrator: Orchestrator
    running: "asyncio.Task[None]"
    config: Settings

    def register(self, document: Json) -> None:
        """Register a definition."""
        self.store.definitions[document["name"], document["version"]] = json.loads(
            json.dumps(document)
        )
        self.orchestrator.catalog.forget_newest(document["name"])

    async def start(self, key: str, **more: Any) -> SagaId:
        """Start a trip; it must be accepted."""
        answer = await self.ask(key, **more)
        assert isinstance(answer, StartAnswer), answer
        return answer.saga_id

    async def ask(
        self, key: str, *, definition: str = "trip", value: Json = None, version: int | None = None
    ) -> StartAnswer | Refused:
        """Start a trip, or be refused."""
        given = {"to": "Rome"} if value is None else value
        start = Start(definition=definition, key=key, input=given, version=version)
        async with asyncio.timeout(TIMEOUT_S):
            return await self.orchestrator.start("default", "tester", start)

    @asynccontextmanager
    async def another(self) -> AsyncGenerator[Orchestrator]:
        """A second orchestrator on the same store and broker."""
        inner = MemoryTransport(self.broker, self.topology, partitions=self.config.partitions)
        orchestrator = Orchestrator(self.store, inner, self.config, CelExpressions())
        running = asyncio.create_task(orchestrator.run())
        await self.until(orchestrator.is_ready)
        yield orchestrator
        await orchestrator.stop()
        await running

    def status(self, saga_id: SagaId) -> SagaStatus:
        """What the stored row says."""
        return self.store.sagas[saga_id].stored.status

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to become true; the engine's death is raised here."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():
                if self.running.done():
                    self.running.result()
                await asyncio.sleep(0.002)

    async def ends(self, saga_id: SagaId) -> SagaStatus:
        """Wait for a saga's end."""
        await self.until(lambda: self.status(saga_id) in TERMINAL)
        return self.status(saga_id)

    async def settled(self) -> None:
        """Wait until the outbox is empty."""
        await self.until(lambda: not self.store.outbox)

    def kinds(self, saga_id: SagaId) -> list[str]:
        """The kinds of a saga's journal rows."""
        return [row.kind for row in self.store.journal[saga_id]]


@asynccontextmanager
async def engine(
    *,
    services: tuple[str, ...] = SERVICES,
    store: type[MemoryStore] = MemoryStore,
    transport: type[MemoryTransport] = MemoryTransport,
    **given: Any,
) -> AsyncGenerator[Engine]:
    """Run an orchestrator with these services, over store and transport of these types."""
    config = settings(**given)
    topology = config.topology
    broker = MemoryBroker()
    memory = store(clock=lambda: datetime.now(UTC), partitions=config.partitions)
    inner = transport(broker, topology, partitions=config.partitions)
    await inner.open()
    orchestrator = Orchestrator(memory, inner, config, CelExpressions())
    participants = Participants(broker, topology)
    participants.on("flights.reserve", succeeded(code="7C"))
    for service in services:
        participants.run(service)
    running = asyncio.create_task(orchestrator.run())
    made = Engine(memory, broker, topology, participants, inner, orchestrator, running, config)
    made.register(TRIP)
    try:
        await made.until(orchestrator.is_ready)
        yield made
    finally:
        async with asyncio.timeout(TIMEOUT_S):
            await orchestrator.stop()
            await asyncio.wait({running})
    if not running.cancelled():
        running.result()
