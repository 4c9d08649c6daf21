"""The world that is drilled, as the gateway reaches it: participants behind a broker.

A drill has no place of its own on that broker but one queue for the replies to its commands (and
for what participants say of themselves): nothing that runs there sees a drill's replies, and the
drill sees nobody else's.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final, Protocol

from amends_amqp import transport
from amends_amqp.connection import Connection
from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec.hellos import HELLO
from amends_contracts.topology import Queue, Topology
from amends_orchestrator.transport.memory import MemoryBroker
from amends_orchestrator.transport.memory_broker import MemoryConsumer

PREFETCH: Final = 1000
PUBLISH_S: Final = 10.0
CONNECT_S: Final = 15.0
GONE_MS: Final = 60_000
"""How long the drill's queue outlives the drill."""


class BrokerAway(Exception):
    """The broker cannot be reached, or has no exchanges of this prefix."""


class Outside(Protocol):
    """Where commands go, and replies and hellos come from."""

    address: str
    """The last word of the routing keys of replies to this drill."""

    async def open(self) -> None:
        """Connect; afterwards nothing that is sent here is missed."""
        ...

    async def close(self) -> None:
        """Leave; the queue goes too."""
        ...

    async def send(self, message: AmqpMessage) -> PublishResult:
        """Publish one message, confirmed or returned."""
        ...

    async def arrived(self) -> Sequence[AmqpMessage]:
        """What has come; waits for the first."""
        ...


def new_address() -> str:
    """A name for one drill, which no partition has."""
    return f"drill-{secrets.token_hex(4)}"


def queue_of(topology: Topology, address: str) -> Queue:
    """The drill's own queue, which the broker removes when nobody has asked for it for a while."""
    bindings = ((topology.replies, f"reply.*.{address}"), (topology.control, HELLO))
    return Queue(topology.client_queue(address), bindings, {"x-expires": GONE_MS})


class MemoryOutside:
    """Participants over a broker in this process."""

    def __init__(self, broker: MemoryBroker, topology: Topology) -> None:
        self.address = new_address()
        self._broker = broker
        self._topology = topology
        self._queue = queue_of(topology, self.address)
        self._came: asyncio.Queue[AmqpMessage] = asyncio.Queue()

    async def open(self) -> None:
        """Declare what an orchestrator would."""
        for exchange in self._topology.exchanges():
            self._broker.declare_exchange(exchange)
        self._broker.declare_queue(self._queue)

        def receive(consumer: MemoryConsumer, tag: int, message: AmqpMessage, _: bool) -> None:
            self._came.put_nowait(message)
            self._broker.acknowledge(consumer, tag)

        self._broker.subscribe(self._queue.name, PREFETCH, receive)

    async def close(self) -> None:
        """Remove the queue."""
        self._broker.delete_queue(self._queue.name)

    async def send(self, message: AmqpMessage) -> PublishResult:
        """Publish."""
        return self._broker.publish(message)

    async def arrived(self) -> Sequence[AmqpMessage]:
        """All that has come."""
        found = [await self._came.get()]
        while not self._came.empty():
            found.append(self._came.get_nowait())
        return found


class _Link(transport.AmqpTransport):
    """The exchanges must be there: those that are drilled have them."""

    def __init__(self, url: str, topology: Topology, queue: Queue) -> None:
        super().__init__(url, name="amends drill", dead_exchange=topology.dead)
        self._exchanges = (topology.commands, topology.replies, topology.control)
        self._queue = queue

    async def prepare_publishing(self, connection: Connection) -> None:
        for name in self._exchanges:
            await connection.declare_exchange(name, "topic", passive=True)

    async def prepare_consuming(self, connection: Connection) -> None:
        await connection.declare_queue(self._queue.name, self._queue.arguments)
        for exchange, routing_key in self._queue.bindings:
            await connection.bind(self._queue.name, exchange, routing_key)

    async def prepare_queue(self, connection: Connection, queue: str) -> None:
        """It was declared when the connection was made."""


class AmqpOutside:
    """Participants over RabbitMQ."""

    def __init__(self, url: str, topology: Topology) -> None:
        self.address = new_address()
        self._queue = queue_of(topology, self.address)
        self._link = _Link(url, topology, self._queue)

    async def open(self) -> None:
        """Connect and consume. BrokerAway."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._link.connect()
                await self._link.consume(self._queue.name, PREFETCH)
        except TimeoutError:
            await self._link.close()
            raise BrokerAway from None

    async def close(self) -> None:
        """Disconnect; the queue goes a minute later."""
        await self._link.close()

    async def send(self, message: AmqpMessage) -> PublishResult:
        """Publish until it is known what became of it."""
        while True:
            (result,) = await self._link.publish([message], PUBLISH_S)
            if result is not PublishResult.UNKNOWN:
                return result

    async def arrived(self) -> Sequence[AmqpMessage]:
        """What has come; it is acknowledged at once, for a lost reply is a fault like any other."""
        deliveries = await self._link.arrived(PREFETCH, None)
        await self._link.acknowledge([delivery.tag for delivery in deliveries])
        return [delivery.message for delivery in deliveries]
