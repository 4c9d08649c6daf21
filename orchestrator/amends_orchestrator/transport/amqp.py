"""RabbitMQ for the engine: the exchanges and the engine's queues are its own to declare."""

import logging
from typing import ClassVar

from amends_amqp import transport
from amends_amqp.connection import Connection
from amends_amqp.errors import NOT_FOUND, PRECONDITION_FAILED, Refused
from amends_amqp.link import AnotherConnection
from amends_contracts.topology import Queue, Topology

log = logging.getLogger(__name__)


class AmqpTransport(transport.AmqpTransport):
    """`engine.ports.Transport` over RabbitMQ >= 3.10."""

    requeues_on_cancel: ClassVar[bool] = True

    def __init__(self, url: str, topology: Topology, *, partitions: int, name: str) -> None:
        super().__init__(url, name=name, dead_exchange=topology.dead)
        self._topology = topology
        self._queues = {queue.name: queue for queue in topology.engine_queues(partitions)}
        self._unlike: set[str] = set()
        """Queues that the broker has with other arguments than ours; used as they are."""

    async def open(self) -> None:
        """Connect and declare exchanges and engine queues; waits while the broker is away."""
        await self.connect()

    def is_up(self) -> bool:
        """Whether the broker is there at this moment."""
        return self.is_connected()

    async def prepare_publishing(self, connection: Connection) -> None:
        """Every exchange of the contract."""
        for exchange in self._topology.exchanges():
            await connection.declare_exchange(exchange.name, exchange.type)

    async def prepare_consuming(self, connection: Connection) -> None:
        """Every queue of the engine's."""
        for queue in self._queues.values():
            await self._declare(connection, queue)

    async def prepare_queue(self, connection: Connection, queue: str) -> None:
        """A partition that there was not when we started: P can be raised at any time."""
        partition = self._topology.partition_of(queue)
        if partition is not None and queue not in self._queues:
            self._queues[queue] = self._topology.engine_partition(partition)
            await self._declare(connection, self._queues[queue])

    async def _declare(self, connection: Connection, queue: Queue) -> None:
        """Declare and bind. What an older broker or release declared otherwise serves as well."""
        arguments = dict(queue.arguments)
        if _major(connection) >= 4 and "x-delivery-limit" not in arguments:
            arguments["x-delivery-limit"] = -1
        name, unlike = queue.name, queue.name in self._unlike
        try:
            await connection.declare_queue(name, arguments, passive=unlike)
        except Refused as error:
            if error.code == PRECONDITION_FAILED and not unlike:
                self._unlike.add(name)
                said = "queue %s is not as we declare it, and is used as it is: %s"
                log.warning(said, name, error)
                raise AnotherConnection(f"queue {name} has other arguments than ours") from error
            if error.code == NOT_FOUND:
                self._unlike.discard(name)
            raise
        for exchange, routing_key in queue.bindings:
            await connection.bind(name, exchange, routing_key)


def _major(connection: Connection) -> int:
    major = connection.server_version.partition(".")[0]
    return int(major) if major.isdigit() else 3
