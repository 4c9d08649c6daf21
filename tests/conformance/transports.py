"""The two transports behind one face, so that one suite holds both to the same promises."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aiormq.abc import AbstractConnection, DeliveredMessage

from amends_contracts.amqp import AmqpMessage, Delivery
from amends_contracts.topology import Queue, Topology
from amends_orchestrator.engine.ports import Transport
from amends_orchestrator.transport.amqp import AmqpTransport
from amends_orchestrator.transport.memory import MemoryBroker, MemoryTransport

PARTITIONS = 3
TIMEOUT_S = 60.0


@dataclass
class Bench:
    """A broker with the topology of one prefix, and ways to look at it from outside."""

    topology: Topology
    make: Callable[[], Transport]
    """A further transport (another orchestrator) on the same broker."""
    declare: Callable[[Queue], Awaitable[None]]
    take: Callable[[str], Awaitable[AmqpMessage]]
    """Take one message off a queue, waiting for it."""
    opened: list[Transport] = field(default_factory=list[Transport])

    async def open(self) -> Transport:
        """An open transport, closed with the bench."""
        transport = self.make()
        self.opened.append(transport)
        async with asyncio.timeout(TIMEOUT_S):
            await transport.open()
        return transport

    def reply(self, n: int, partition: int = 0) -> AmqpMessage:
        """A message for a partition's queue."""
        return AmqpMessage(
            exchange=self.topology.replies,
            routing_key=f"reply.flights.{partition:02d}",
            body=str(n).encode(),
            message_id=f"m-{n}",
            headers={"n": n},
        )


async def gather(transport: Transport, n: int) -> list[Delivery]:
    """The next `n` deliveries."""
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT_S):
        while len(found) < n:
            found += await transport.arrived(n - len(found), None)
    return found


def bodies(deliveries: Sequence[Delivery]) -> list[int]:
    """The numbers that `Bench.reply` wrote."""
    return [int(delivery.message.body) for delivery in deliveries]


@asynccontextmanager
async def memory_bench() -> AsyncGenerator[Bench]:
    """The broker of this process."""
    broker = MemoryBroker()
    topology = Topology(f"t{uuid.uuid4().hex[:6]}")

    async def declare(queue: Queue) -> None:
        broker.declare_queue(queue)

    async def take(queue: str) -> AmqpMessage:
        arrived: asyncio.Future[tuple[int, AmqpMessage]] = asyncio.Future()

        def receive(_: object, tag: int, message: AmqpMessage, redelivered: bool) -> None:
            arrived.set_result((tag, message))

        consumer = broker.subscribe(queue, 1, receive)
        async with asyncio.timeout(TIMEOUT_S):
            tag, message = await arrived
        consumer.prefetch = -1  # no further message
        broker.acknowledge(consumer, tag)
        broker.unsubscribe(consumer)
        return message

    bench = Bench(
        topology,
        lambda: MemoryTransport(broker, topology, partitions=PARTITIONS),
        declare,
        take,
    )
    yield bench
    for transport in bench.opened:
        await transport.close()


def _seen(delivered: DeliveredMessage) -> AmqpMessage:
    """What another client makes of a message, as far as the suite asks for it."""
    properties = delivered.header.properties
    headers: dict[str, Any] = properties.headers or {}
    return AmqpMessage(
        exchange=delivered.exchange or "",
        routing_key=delivered.routing_key or "",
        body=delivered.body,
        message_id=properties.message_id,
        type=properties.message_type,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        content_type=properties.content_type,
        user_id=properties.user_id,
        headers={k: v for k, v in headers.items() if isinstance(v, str | int | float | bool)},
    )


@asynccontextmanager
async def amqp_bench(url: str, prefix: str) -> AsyncGenerator[Bench]:
    """A real broker."""
    topology = Topology(prefix)

    async def with_connection(use: Callable[[AbstractConnection], Awaitable[None]]) -> None:
        connection = await aiormq.connect(url)
        try:
            await use(connection)
        finally:
            await connection.close()

    async def declare(queue: Queue) -> None:
        async def use(connection: AbstractConnection) -> None:
            channel = await connection.channel()
            await channel.queue_declare(
                queue.name, durable=True, arguments=dict(queue.arguments.items())
            )
            for exchange, routing_key in queue.bindings:
                await channel.queue_bind(queue.name, exchange, routing_key)

        await with_connection(use)

    async def take(queue: str) -> AmqpMessage:
        taken: list[AmqpMessage] = []

        async def use(connection: AbstractConnection) -> None:
            channel = await connection.channel()
            await channel.basic_qos(prefetch_count=1)
            arrived = asyncio.Event()

            async def receive(message: DeliveredMessage) -> None:
                if not taken and message.delivery_tag is not None:
                    taken.append(_seen(message))
                    await channel.basic_ack(message.delivery_tag)
                    arrived.set()

            await channel.basic_consume(queue, receive)
            async with asyncio.timeout(TIMEOUT_S):
                await arrived.wait()

        await with_connection(use)
        return taken[0]

    bench = Bench(
        topology,
        lambda: AmqpTransport(url, topology, partitions=PARTITIONS, name="test"),
        declare,
        take,
    )
    yield bench
    for transport in bench.opened:
        await transport.close()
