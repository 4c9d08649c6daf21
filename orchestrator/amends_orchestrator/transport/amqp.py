"""RabbitMQ: one connection to publish, one to consume, both kept up for ever.

Publishing and consuming never share a connection: the broker blocks a connection that publishes
when it runs out of memory or disk, and acknowledgements must go on. Publications are pipelined:
many are under way at once, each with its own confirm. What is not confirmed and not returned in
time is unknown, and the caller publishes it again under the same message id.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Final, cast

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, PublishError
from pamqp.commands import Basic
from pamqp.common import FieldValue

from amends_contracts.amqp import AmqpMessage
from amends_contracts.topology import Argument, Queue, Topology
from amends_orchestrator.engine.ports import Delivery, DeliveryTag, PublishResult
from amends_orchestrator.transport.frames import message_of, properties_of, rejected
from amends_orchestrator.transport.link import (
    AWAY,
    AnotherChannel,
    Link,
    cancelled_by_us,
    ended,
)

log = logging.getLogger(__name__)

REJECT_TIMEOUT_S: Final = 10.0
RPC_TIMEOUT_S: Final = 30.0


class AmqpTransport:
    """`engine.ports.Transport` over RabbitMQ >= 3.10."""

    def __init__(self, url: str, topology: Topology, *, partitions: int, name: str) -> None:
        self._topology = topology
        self._queues = {queue.name: queue for queue in topology.engine_queues(partitions)}
        self._wanted: dict[str, int] = {}
        """Queue and prefetch of what shall be consumed; restored on every new channel."""
        self._consumers: dict[str, str] = {}
        """Queue and consumer tag of what is consumed on the present channel."""
        self._buffer: deque[Delivery] = deque()
        self._open: dict[int, Delivery] = {}
        """By delivery tag, what is not acknowledged; ascending, as it was delivered."""
        self._arrival = asyncio.Event()
        self._changing = asyncio.Lock()
        """One at a time changes consumers: a restored channel, `consume`, `cancel`."""
        self._publishing = Link(url, f"{name}/publish", self._ready_to_publish, _nothing)
        self._consuming = Link(url, f"{name}/consume", self._ready_to_consume, self._lost)
        self._tasks: list[asyncio.Task[None]] = []
        self._major = 3
        self._unlike: set[str] = set()
        """Queues that the broker has with other arguments than ours; used as they are."""

    # --- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect both ways and declare; waits with backoff while the broker is away."""
        assert not self._tasks, "opened twice"
        for link in (self._consuming, self._publishing):
            task = asyncio.create_task(link.run())
            task.add_done_callback(self._died)
            self._tasks.append(task)
            await self._unless_dead(link.wait_up())

    async def close(self) -> None:
        """Close both connections; the broker takes back what was not acknowledged."""
        await ended(self._tasks)
        self._tasks.clear()
        self._wanted.clear()

    def is_up(self) -> bool:
        """Whether both connections are there at this moment."""
        return self._publishing.is_up() and self._consuming.is_up()

    def _died(self, task: "asyncio.Task[None]") -> None:
        self._arrival.set()

    def _check(self) -> None:
        """Raise what ended the supervision of a link: a topology conflict, or a mistake of ours."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                error = task.exception()
                if error is not None:
                    raise error

    async def _unless_dead(self, waiting: Awaitable[object]) -> None:
        waiter = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({waiter, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        self._check()

    # --- publishing ----------------------------------------------------------------------------

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish with confirms, pipelined; within `timeout_s` every message has its result."""
        self._check()
        results = [PublishResult.UNKNOWN] * len(messages)
        try:
            async with asyncio.timeout(timeout_s):
                channel = await self._publishing.wait_up()
                await self._publishing.drained()
                await self._publish_all(channel, messages, results)
        except AWAY as error:
            if cancelled_by_us(error):
                raise
            # A caller that tries again at once must not keep the link from being made anew.
            await asyncio.sleep(0)
        return results

    async def _publish_all(
        self,
        channel: AbstractChannel,
        messages: Sequence[AmqpMessage],
        results: list[PublishResult],
    ) -> None:
        """One task per message: a death of the channel cancels these and not their caller."""
        tasks = [
            asyncio.ensure_future(_publish_one(channel, message, results, i))
            for i, message in enumerate(messages)
        ]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ready_to_publish(self, channel: AbstractChannel, major: int) -> None:
        for exchange in self._topology.exchanges():
            await channel.exchange_declare(exchange.name, exchange_type=exchange.type, durable=True)

    # --- consuming -----------------------------------------------------------------------------

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start delivering a queue; idempotent. While the broker is away it is remembered."""
        self._wanted[queue] = prefetch
        if queue not in self._consumers:
            await self._adjust_if_up()

    async def cancel(self, queue: str) -> None:
        """Stop consuming; what was delivered and not acknowledged goes back to the queue."""
        self._wanted.pop(queue, None)
        await self._adjust_if_up()

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[Delivery]:
        """What has arrived, at most `limit`, oldest first; waits for the first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._buffer:
                    self._check()
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            return ()
        self._check()
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def acknowledge(self, tags: Sequence[DeliveryTag]) -> None:
        """Acknowledge what is still open on this channel: one frame for all that came before."""
        channel = self._consuming.channel
        mine = {t.tag for t in tags if t.generation == self._consuming.generation}
        mine &= self._open.keys()
        if channel is None or not mine:
            return
        prefix = 0
        for tag in self._open:
            if tag not in mine:
                break
            prefix = tag
        single = sorted(tag for tag in mine if tag > prefix)
        for tag in mine:
            del self._open[tag]
        try:
            if prefix:
                await channel.basic_ack(prefix, multiple=True, wait=False)
            for tag in single:
                await channel.basic_ack(tag, wait=False)
        except AWAY as error:
            if cancelled_by_us(error):
                raise

    async def reject(self, tag: DeliveryTag, reason: str) -> None:
        """Publish to the dead-letter exchange with the reason; acknowledge once confirmed.

        Without a confirm the delivery goes back to its queue, and comes again.
        """
        delivery = self._open.get(tag.tag)
        if delivery is None or tag.generation != self._consuming.generation:
            return
        dead = rejected(delivery.message, self._topology.dead, reason)
        (result,) = await self.publish([dead], REJECT_TIMEOUT_S)
        if result is PublishResult.UNKNOWN:
            await self._requeue([tag])
        else:
            await self.acknowledge([tag])

    async def _requeue(self, tags: Sequence[DeliveryTag]) -> None:
        channel = self._consuming.channel
        for tag in tags:
            if tag.generation != self._consuming.generation or channel is None:
                continue
            if self._open.pop(tag.tag, None) is not None:
                await self._tried(channel, channel.basic_nack(tag.tag, requeue=True, wait=False))

    async def _ready_to_consume(self, channel: AbstractChannel, major: int) -> None:
        """Declare everything and restore the consumers, on a fresh channel."""
        async with self._changing:
            self._major = major
            await self._ready_to_publish(channel, major)
            for queue in self._queues.values():
                await self._declare(channel, queue)
            self._forget_deliveries()
            await self._adjust(channel)

    async def _declare(self, channel: AbstractChannel, queue: Queue) -> None:
        """Declare and bind. What an older broker or release declared otherwise serves as well."""
        arguments = _table(queue.arguments)
        if self._major >= 4 and "x-delivery-limit" not in arguments:
            arguments["x-delivery-limit"] = -1
        name, unlike = queue.name, queue.name in self._unlike
        try:
            await channel.queue_declare(name, durable=True, passive=unlike, arguments=arguments)
        except ChannelPreconditionFailed as error:
            if unlike:
                raise
            self._unlike.add(name)
            log.warning("queue %s is not as we declare it, and is used as it is: %s", name, error)
            raise AnotherChannel(f"queue {name} has other arguments than ours") from error
        except ChannelNotFoundEntity:
            self._unlike.discard(name)
            raise
        for exchange, routing_key in queue.bindings:
            await channel.queue_bind(name, exchange, routing_key)

    async def _adjust_if_up(self) -> None:
        """A link that is being made anew adjusts itself: nobody waits for it here."""
        if self._consuming.is_up():
            async with self._changing:
                channel = self._consuming.channel
                if channel is not None:
                    await self._tried(channel, self._adjust(channel))

    async def _adjust(self, channel: AbstractChannel) -> None:
        """Consume what is wanted and nothing else; what is wanted may change meanwhile."""
        while self._wanted.keys() != self._consumers.keys():
            for queue in self._consumers.keys() - self._wanted.keys():
                await self._stop_consumer(channel, queue, self._consumers.pop(queue))
            for queue in sorted(self._wanted.keys() - self._consumers.keys()):
                if queue in self._wanted:
                    await self._start_consumer(channel, queue, self._wanted[queue])

    async def _start_consumer(self, channel: AbstractChannel, queue: str, prefetch: int) -> None:
        partition = self._topology.partition_of(queue)
        if partition is not None and queue not in self._queues:
            self._queues[queue] = self._topology.engine_partition(partition)
            await self._declare(channel, self._queues[queue])
        await channel.basic_qos(prefetch_count=prefetch, timeout=RPC_TIMEOUT_S)
        generation = self._consuming.generation
        receive = partial(self._received, queue, generation)
        ok = await channel.basic_consume(queue, receive, timeout=RPC_TIMEOUT_S)
        assert ok.consumer_tag is not None
        self._consumers[queue] = ok.consumer_tag

    async def _stop_consumer(self, channel: AbstractChannel, queue: str, tag: str) -> None:
        await channel.basic_cancel(tag, timeout=RPC_TIMEOUT_S)
        self._buffer = deque(d for d in self._buffer if d.queue != queue)
        back = [t for t, d in self._open.items() if d.queue == queue]
        for one in back:
            del self._open[one]
            await channel.basic_nack(one, requeue=True, wait=False)

    async def _received(self, queue: str, generation: int, delivered: DeliveredMessage) -> None:
        tag = delivered.delivery_tag
        if generation != self._consuming.generation or tag is None:
            return
        if queue not in self._wanted:
            channel = self._consuming.channel
            if channel is not None:
                await self._tried(channel, channel.basic_nack(tag, requeue=True, wait=False))
            return
        frame = delivered.delivery
        redelivered = isinstance(frame, Basic.Deliver) and bool(frame.redelivered)
        handle = DeliveryTag(generation, tag)
        delivery = Delivery(handle, queue, message_of(delivered), redelivered)
        self._open[tag] = delivery
        self._buffer.append(delivery)
        self._arrival.set()

    async def _tried(self, channel: AbstractChannel, call: Awaitable[object]) -> None:
        """Await a call to the broker; if that fails, the link is made anew and restores all."""
        try:
            await call
        except AWAY as error:
            if cancelled_by_us(error):
                raise
            if channel is not self._consuming.channel or channel.is_closed:
                return
            log.warning("broker call failed (%r); making the link anew", error)
            self._consuming.reset()

    def _lost(self) -> None:
        self._forget_deliveries()

    def _forget_deliveries(self) -> None:
        self._consumers.clear()
        self._buffer.clear()
        self._open.clear()


async def _publish_one(
    channel: AbstractChannel, message: AmqpMessage, results: list[PublishResult], i: int
) -> None:
    """Publish and note the result. Anything raised but a return leaves it unknown."""
    try:
        confirmed = await cast("Channel", channel).basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=properties_of(message),
            mandatory=message.mandatory,
            wait=False,
        )
    except PublishError:
        results[i] = PublishResult.RETURNED
        return
    if isinstance(confirmed, Basic.Ack):
        results[i] = PublishResult.CONFIRMED


def _table(arguments: Mapping[str, Argument]) -> dict[str, FieldValue]:
    return dict(arguments.items())


def _nothing() -> None:
    """A lost publishing link needs nothing: what was under way is unknown to its callers."""
