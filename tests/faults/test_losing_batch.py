"""Two orchestrators decide the same saga at once: one commits, the other publishes nothing."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from amends_contracts.codec import decode_command
from amends_contracts.messages import Start, StartAnswer
from amends_contracts.names import Op
from amends_contracts.topology import Queue
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.inputs import CancelRequested
from amends_orchestrator.engine.orchestrator import Orchestrator
from amends_orchestrator.engine.ports import Batch
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.transport.amqp import AmqpTransport
from engine.harness import TRIP, settings
from faults.cluster import register
from faults.participants import declare

pytestmark = pytest.mark.slow


class Racing(PostgresStore):
    """Waits with the commit of a cancellation until the other orchestrator is there too."""

    line: asyncio.Barrier | None = None

    async def commit(self, batch: Batch) -> None:
        """Commit, both at once."""
        line, self.line = self.line, None
        if line is not None:
            await line.wait()
        await super().commit(batch)


async def test_a_batch_that_loses_publishes_nothing(
    migrated_database_url: str, broker_url: str, wire_prefix: str
) -> None:
    """Each command that reaches the broker was committed, and reached it once."""
    await register(migrated_database_url, {**TRIP, "interrupt_after": "PT0.1S"})
    config = settings(prefix=wire_prefix, partitions=4)
    topology = config.topology
    async with AsyncExitStack() as stack:
        tap = AmqpTransport(broker_url, topology, partitions=4, name="tap")
        await tap.open()
        stack.push_async_callback(tap.close)
        flights = topology.service_queues("flights")
        everything = Queue(
            f"{wire_prefix}.do.tap", ((topology.commands, "#"),), {"x-queue-type": "quorum"}
        )
        await declare(broker_url, [*flights, everything])
        await tap.consume(everything.name, 1000)
        both = [await _run(stack, migrated_database_url, broker_url, config) for _ in range(2)]
        (one, store_one), (two, store_two) = both

        started = await one.start(
            "default", "tester", Start(definition="trip", key="k", input={"to": "Rome"})
        )
        assert isinstance(started, StartAnswer)
        store_one.line = store_two.line = asyncio.Barrier(2)
        cancel = CancelRequested(reason="both at once", by="tester")
        async with asyncio.timeout(120):
            answers = await asyncio.gather(
                *(o.submit("default", started.saga_id, cancel) for o in (one, two))
            )
        assert sorted(type(answer).__name__ for answer in answers) in (
            [Decision.__name__, Decision.__name__],
            [Decision.__name__, Refused.__name__],
        )
        assert one.counters.conflicts + two.counters.conflicts >= 1

        seen: list[str] = []
        async with asyncio.timeout(120):
            while not any(f"{Op.COMPENSATION}:1" in message_id for message_id in seen):
                arrived = await tap.arrived(100, None)
                seen += [decode_command(delivery.message).message_id for delivery in arrived]
        assert [i for i, n in Counter(seen).items() if n > 1] == []


async def _run(
    stack: AsyncExitStack, database_url: str, broker_url: str, config: Any
) -> tuple[Orchestrator, Racing]:
    opened = await Racing.open(database_url, allow_unsafe=True)
    assert isinstance(opened, Racing)
    transport = AmqpTransport(broker_url, config.topology, partitions=4, name="racing")
    orchestrator = Orchestrator(opened, transport, config, CelExpressions())
    running = asyncio.create_task(orchestrator.run())

    async def end() -> None:
        await orchestrator.stop()
        await running
        await opened.close()

    stack.push_async_callback(end)
    async with asyncio.timeout(120):
        while not orchestrator.is_ready():  # noqa: ASYNC110  # another loop's state
            await asyncio.sleep(0.05)
    return orchestrator, opened
