"""The service as it is served: real engine and Postgres, participants that do as the test says."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from amends_contracts.messages import Json
from amends_orchestrator.cli.service import Service, assembled
from amends_orchestrator.settings import Settings
from amends_orchestrator.store import ApiKeys, Audit
from amends_orchestrator.transport.memory import MemoryBroker, MemoryTransport
from api.fakes import until
from engine.scripted import Participants

SERVICES = ("flights", "hotels", "payments", "mail")


def action(name: str, command: str, **more: Json) -> Json:
    """A step that is tried once and undone until that succeeds."""
    retry = {"max_attempts": 1, "initial": "PT0.01S"}
    undo = {"retry": {"max_attempts": 2, "initial": "PT0.01S", "max": "PT0.05S"}}
    common = {"effect": "transactional", "retry": retry, "compensation": undo}
    return {"id": name, "kind": "action", "command": command, **common, **more}


FLIGHT = action("flight", "flights.reserve", input={"to": "${ input.to }"})
HOTEL = action("hotel", "hotels.book", input={"city": "${ input.to }"})
TRIP: Json = {
    "name": "book-trip",
    "version": 1,
    "input": {
        "type": "object",
        "properties": {"to": {"type": "string"}, "gift": {"type": "boolean"}},
        "required": ["to"],
    },
    "labels": ["to"],
    "interrupt_after": "PT0.5S",
    "output": {"seat": "${ steps.flight.output.code }"},
    "steps": [
        {"id": "book", "kind": "parallel", "branches": {"flight": [FLIGHT], "hotel": [HOTEL]}},
        {
            "id": "wrap",
            "kind": "choice",
            "cases": [
                {
                    "when": "${ has(input.gift) && input.gift }",
                    "steps": [action("card", "mail.card")],
                }
            ],
            "otherwise": [],
        },
        action("pay", "payments.charge"),
    ],
}


@dataclass
class Real:
    """A running service."""

    app: FastAPI
    service: Service
    participants: Participants
    keys: ApiKeys
    audit: Audit


@asynccontextmanager
async def real(database_url: str) -> AsyncGenerator[Real]:
    """Run it over this database and an in-process broker."""
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "broker_url": "amqp://in-process",
            "token_secrets": "a secret for tests alone",
            "allow_unsafe_database": True,
        }
    )
    broker = MemoryBroker()
    transport = MemoryTransport(broker, settings.topology, partitions=settings.partitions)
    async with assembled(settings, transport) as service:
        running = asyncio.create_task(service.orchestrator.run())
        await until(service.orchestrator.is_ready, 20)
        participants = Participants(broker, settings.topology)
        for name in SERVICES:
            participants.run(name)
        engine = service.store.engine
        try:
            yield Real(service.app, service, participants, ApiKeys(engine), Audit(engine))
        finally:
            await service.app.state.stop_waiting()
            await service.orchestrator.stop()
            await running
