"""Lifecycle events, as they come, or kept for who is away."""

import asyncio
from dataclasses import replace

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import encode_lifecycle
from amends_contracts.messages import Lifecycle
from amends_contracts.topology import Topology
from amends_orchestrator.transport.memory import MemoryParticipantTransport, MemoryTransport
from amends_orchestrator.transport.memory_broker import MemoryBroker
from amends_participants.client import Amends
from client.fake_orchestrator import SAGA, FakeOrchestrator, serving
from wire.golden import EVENTS

STARTED = EVENTS["event-saga-started"]
OTHER = replace(STARTED, definition="other")


async def hear(
    amends: Amends, n: int, definition: str | None, queue: str | None
) -> list[Lifecycle]:
    """The next `n` events."""
    heard: list[Lifecycle] = []
    events = amends.events(definition, queue=queue)
    async for event in events:
        heard.append(event)
        if len(heard) == n:
            break
    await events.aclose()
    return heard


async def test_events_of_a_definition_are_heard(
    amends: Amends, orchestrator: FakeOrchestrator
) -> None:
    """Those of others are not; one that cannot be read disturbs nobody."""
    hearing = asyncio.create_task(hear(amends, 1, "book-trip", None))
    topology = orchestrator.topology
    bad = AmqpMessage(
        exchange=topology.events, routing_key="book-trip.saga.started", body=b"{}", mandatory=False
    )
    async with asyncio.timeout(20):
        while not hearing.done():
            for message in (
                encode_lifecycle(OTHER, topology),
                bad,
                encode_lifecycle(STARTED, topology),
            ):
                await orchestrator.publish(message)
            await asyncio.sleep(0.05)
    assert await hearing == [STARTED]


async def test_a_named_queue_keeps_events_for_who_is_away(
    amends: Amends, orchestrator: FakeOrchestrator
) -> None:
    """What was heard and not acknowledged comes again; the rest waits."""
    topology = orchestrator.topology
    hearing = asyncio.create_task(hear(amends, 1, None, "billing"))
    async with asyncio.timeout(20):
        while not hearing.done():
            await orchestrator.publish(encode_lifecycle(OTHER, topology))
            await asyncio.sleep(0.05)
    await hearing
    last = replace(STARTED, id="last")
    await orchestrator.publish(encode_lifecycle(last, topology))
    heard: list[Lifecycle] = []
    async with asyncio.timeout(20):
        async for event in amends.events(queue="billing"):
            heard.append(event)
            if event == last:
                break
    assert heard[0] == OTHER
    assert heard[-1] == last


async def test_an_in_process_broker_serves_as_well() -> None:
    """Verbs and events without RabbitMQ, as in the embedded mode."""
    broker, topology = MemoryBroker(), Topology("inside")
    async with (
        serving(MemoryTransport(broker, topology, partitions=1), topology) as orchestrator,
        Amends(
            prefix="inside", connect=lambda: MemoryParticipantTransport(broker, topology)
        ) as amends,
    ):
        run = await amends.start("book-trip", {}, key="k-1")
        hearing = asyncio.create_task(hear(amends, 1, "book-trip", None))
        async with asyncio.timeout(20):
            while not hearing.done():
                await orchestrator.publish(encode_lifecycle(STARTED, topology))
                await asyncio.sleep(0.01)
        assert (run.saga_id, await hearing) == (SAGA, [STARTED])
