"""The transports over the in-process broker: the engine's, and the participants'.

Both have the same inside. They differ in what they declare, and in what `cancel` does with
deliveries in hand: the engine gives them back to whoever owns the partition next, a participant
finishes them.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from amends_amqp.dead_letters import rejected
from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag, PublishResult
from amends_contracts.topology import Queue, Topology
from amends_orchestrator.transport.memory_broker import MemoryBroker, MemoryConsumer, UnknownEntity

__all__ = ["MemoryBroker", "MemoryParticipantTransport", "MemoryTransport", "UnknownEntity"]

EXCHANGES_AGAIN_S: Final = 0.01
"""How often a participant looks whether the orchestrator is there: they start side by side."""


class _MemoryLink:
    """Consumers with one buffer, acknowledgements by tag, publications that are never in doubt."""

    def __init__(self, broker: MemoryBroker, topology: Topology) -> None:
        self._broker = broker
        self._topology = topology
        self._consumers: dict[str, MemoryConsumer] = {}
        self._holders: dict[int, MemoryConsumer] = {}
        """By delivery tag, who has it; tags are unique in the broker."""
        self._buffer: deque[Delivery] = deque()
        self._arrival = asyncio.Event()
        self.generation = 1

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish each; never unknown."""
        return [self._broker.publish(message) for message in messages]

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start delivering a queue; idempotent."""
        if queue not in self._consumers:
            self._subscribe(queue, prefetch)

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[Delivery]:
        """What has arrived, at most `limit`, oldest first; waits for the first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._buffer:
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            return ()
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def acknowledge(self, tags: Sequence[DeliveryTag]) -> None:
        """Acknowledge; tags of an older generation are ignored."""
        for tag in tags:
            consumer = self._holder(tag)
            if consumer is not None:
                self._broker.acknowledge(consumer, tag.tag)

    async def reject(self, tag: DeliveryTag, reason: str) -> None:
        """Dead-letter one delivery with the reason."""
        consumer = self._holder(tag)
        if consumer is not None:
            message = consumer.open[tag.tag].message
            self._broker.publish(rejected(message, self._topology.dead, reason))
            self._broker.acknowledge(consumer, tag.tag)

    def interrupt(self) -> None:
        """What a lost connection does: a new generation, everything open is delivered again."""
        self.generation += 1
        self._buffer.clear()
        self._holders.clear()
        prefetches = {name: c.prefetch for name, c in self._consumers.items()}
        for consumer in self._consumers.values():
            self._broker.unsubscribe(consumer)
        for queue, prefetch in prefetches.items():
            self._subscribe(queue, prefetch)

    def _give_back(self, queue: str) -> None:
        consumer = self._consumers.pop(queue, None)
        if consumer is not None:
            self._buffer = deque(d for d in self._buffer if d.queue != queue)
            self._broker.unsubscribe(consumer)

    def _holder(self, tag: DeliveryTag) -> MemoryConsumer | None:
        if tag.generation != self.generation:
            return None
        consumer = self._holders.pop(tag.tag, None)
        return consumer if consumer is not None and tag.tag in consumer.open else None

    def _subscribe(self, queue: str, prefetch: int) -> None:
        generation = self.generation

        def receive(consumer: MemoryConsumer, tag: int, message: AmqpMessage, again: bool) -> None:
            handle = DeliveryTag(generation, tag)
            self._holders[tag] = consumer
            self._buffer.append(Delivery(handle, queue, message, again))
            self._arrival.set()

        self._consumers[queue] = self._broker.subscribe(queue, prefetch, receive)


class MemoryTransport(_MemoryLink):
    """`engine.ports.Transport` over a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, topology: Topology, *, partitions: int) -> None:
        super().__init__(broker, topology)
        self._partitions = partitions

    async def open(self) -> None:
        """Declare exchanges and engine queues."""
        for exchange in self._topology.exchanges():
            self._broker.declare_exchange(exchange)
        for queue in self._topology.engine_queues(self._partitions):
            self._broker.declare_queue(queue)

    async def close(self) -> None:
        """Cancel all consumers; what is not acknowledged goes back."""
        for queue in list(self._consumers):
            self._give_back(queue)

    def is_up(self) -> bool:
        """Always: it is in this process."""
        return True

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start delivering a queue; a partition beyond those declared at start is declared."""
        partition = self._topology.partition_of(queue)
        if partition is not None:
            self._broker.declare_queue(self._topology.engine_partition(partition))
        await super().consume(queue, prefetch)

    async def cancel(self, queue: str) -> None:
        """Stop consuming; what was delivered and not acknowledged goes back."""
        self._give_back(queue)


class MemoryParticipantTransport(_MemoryLink):
    """The participants' port (`amends_participants.transport`), by structure alone."""

    async def open(self, queues: Sequence[Queue]) -> None:
        """Declare these queues, once the orchestrator has declared the exchanges."""
        for queue in queues:
            for exchange, _ in queue.bindings:
                while not self._broker.has_exchange(exchange):  # noqa: ASYNC110 - it is a moment
                    await asyncio.sleep(EXCHANGES_AGAIN_S)
            self._broker.declare_queue(queue)

    async def close(self) -> None:
        """Stop; what is not acknowledged goes back, that of cancelled queues too."""
        for queue in list(self._consumers):
            self._give_back(queue)
        for consumer in set(self._holders.values()):
            self._broker.unsubscribe(consumer)

    def is_connected(self) -> bool:
        """Always: it is in this process."""
        return True

    async def cancel(self, queue: str) -> None:
        """Stop delivering; what was delivered stays here to be worked on."""
        consumer = self._consumers.pop(queue, None)
        if consumer is not None:
            self._broker.stop(consumer)
