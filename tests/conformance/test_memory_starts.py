"""Within one process orchestrator and participants start side by side, in any order."""

import asyncio

from amends_contracts.topology import Topology
from amends_orchestrator.transport.memory import (
    MemoryBroker,
    MemoryParticipantTransport,
    MemoryTransport,
)


async def test_a_participant_waits_for_the_orchestrators_exchanges() -> None:
    """As it does at a broker of its own."""
    topology, broker = Topology("t"), MemoryBroker()
    participant = MemoryParticipantTransport(broker, topology)
    opening = asyncio.create_task(participant.open(topology.service_queues("flights")))
    await asyncio.sleep(0)
    assert not opening.done()
    await MemoryTransport(broker, topology, partitions=1).open()
    await opening
