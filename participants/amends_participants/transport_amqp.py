"""RabbitMQ for a participant: its own queues are declared, the exchanges belong to the
orchestrator and are checked passively and waited for.
"""

from collections.abc import Sequence

from amends_amqp import transport
from amends_amqp.connection import Connection
from amends_contracts.topology import Queue, Topology


class AmqpTransport(transport.AmqpTransport):
    """`transport.ParticipantTransport` over RabbitMQ >= 3.10."""

    def __init__(self, url: str, topology: Topology, *, name: str) -> None:
        super().__init__(url, name=name, dead_exchange=topology.dead)
        self._topology = topology
        self._queues: tuple[Queue, ...] = ()

    async def open(self, queues: Sequence[Queue]) -> None:
        """Connect both ways, wait for the exchanges, declare and bind these queues."""
        self._queues = tuple(queues)
        await self.connect()

    async def prepare_publishing(self, connection: Connection) -> None:
        """Every exchange of the contract must be there."""
        for exchange in self._topology.exchanges():
            await connection.declare_exchange(exchange.name, exchange.type, passive=True)

    async def prepare_consuming(self, connection: Connection) -> None:
        """The service's own queues."""
        for queue in self._queues:
            await connection.declare_queue(queue.name, queue.arguments)
            for exchange, routing_key in queue.bindings:
                await connection.bind(queue.name, exchange, routing_key)

    async def prepare_queue(self, connection: Connection, queue: str) -> None:
        """All were declared when the connection was made."""
