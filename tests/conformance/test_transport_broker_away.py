"""What the RabbitMQ transport does while the broker is away: nothing is lost, nothing is raised."""

import asyncio
import os
import signal
import uuid

from amends_contracts.amqp import PublishResult
from amends_contracts.topology import Topology
from amends_orchestrator.local.servers import Broker
from amends_orchestrator.transport.amqp import AmqpTransport
from conformance.transports import Bench, amqp_bench, bodies, gather

CONFIRMED, UNKNOWN = PublishResult.CONFIRMED, PublishResult.UNKNOWN


async def test_a_killed_broker_costs_no_message(own_rabbitmq: Broker) -> None:
    """Publications in doubt are repeated, deliveries in hand come again, consumers are restored."""
    async with amqp_bench(own_rabbitmq.url, "k") as bench:
        transport = await bench.open()
        queue = bench.topology.partition_queue(0)
        await transport.consume(queue, 100)
        assert await transport.publish([bench.reply(0)], 30) == [CONFIRMED]
        (held,) = await gather(transport, 1)

        await asyncio.to_thread(own_rabbitmq.kill)
        doubtful = await transport.publish([bench.reply(1), bench.reply(2)], 0.5)
        assert set(doubtful) <= {UNKNOWN}
        await transport.acknowledge([held.tag])
        await asyncio.to_thread(own_rabbitmq.restart)
        await _publish_until_confirmed(bench, [1, 2])

        seen: set[int] = set()
        async with asyncio.timeout(120):
            while seen < {0, 1, 2}:
                deliveries = await transport.arrived(10, None)
                assert all(d.tag.generation > held.tag.generation for d in deliveries)
                seen |= set(bodies(deliveries))
                await transport.acknowledge([d.tag for d in deliveries])
        assert seen == {0, 1, 2}


async def test_a_frozen_broker_bounds_every_publication(own_rabbitmq: Broker) -> None:
    """A broker that answers nothing leaves a publication in doubt after its own deadline."""
    async with amqp_bench(own_rabbitmq.url, "f") as bench:
        transport = await bench.open()
        queue = bench.topology.partition_queue(0)
        await transport.consume(queue, 100)
        _signal_node(own_rabbitmq, signal.SIGSTOP)
        try:
            big = bench.reply(1)
            results = await transport.publish([big] * 10, 1.0)
        finally:
            _signal_node(own_rabbitmq, signal.SIGCONT)
        assert results == [UNKNOWN] * 10
        await _publish_until_confirmed(bench, [2])


async def test_opening_waits_for_a_broker_that_is_not_there_yet(own_rabbitmq: Broker) -> None:
    """An orchestrator may be started before its broker."""
    await asyncio.to_thread(own_rabbitmq.kill)
    topology = Topology(f"t{uuid.uuid4().hex[:6]}")
    transport = AmqpTransport(own_rabbitmq.url, topology, partitions=1, name="early")
    opening = asyncio.create_task(transport.open())
    await asyncio.to_thread(own_rabbitmq.restart)
    async with asyncio.timeout(120):
        await opening
    await transport.close()


def _signal_node(broker: Broker, number: signal.Signals) -> None:
    os.killpg(os.getpgid(broker.pids["rabbitmq"]), number)


async def _publish_until_confirmed(bench: Bench, numbers: list[int]) -> None:
    """What the relay does: the same message again until the broker has it."""
    transport = bench.opened[0]
    left = [bench.reply(n) for n in numbers]
    async with asyncio.timeout(120):
        while left:
            results = await transport.publish(left, 5)
            left = [m for m, r in zip(left, results, strict=True) if r is UNKNOWN]
