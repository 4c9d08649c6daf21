"""RabbitMQ: one connection to publish, one to consume, both kept up for ever.

Publishing and consuming never share a connection: the broker blocks a connection that publishes
when it runs out of memory or disk, and acknowledgements must go on. Exchanges belong to the
orchestrator: they are checked passively and waited for. The service's own queues are declared.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from amends_contracts.amqp import AmqpMessage, HeaderValue
from amends_contracts.topology import Queue, Topology
from amends_participants.amqp_link import AWAY, Link, cancelled_by_us, ended
from amends_participants.transport import CONFIRMED, RETURNED, UNKNOWN

log = logging.getLogger(__name__)

REJECT_TIMEOUT_S: Final = 10.0
RPC_TIMEOUT_S: Final = 10.0
PERSISTENT: Final = 2
REASON_CHARS_MAX: Final = 1000
KEPT: Final = ("amends-", "traceparent", "tracestate", "baggage")
"""Beginnings of the headers that a dead letter keeps."""
KEPT_BYTES_MAX: Final = 64 * 1024
"""Of these together. All headers must fit into one frame (128 KiB), or no publication succeeds."""


@dataclass(frozen=True, slots=True)
class AmqpDelivery:
    """A delivery, good for as long as its channel (`tag` is generation and delivery tag)."""

    tag: tuple[int, int]
    queue: str
    message: AmqpMessage
    redelivered: bool


class AmqpTransport:
    """`transport.ParticipantTransport` over RabbitMQ >= 3.10."""

    def __init__(self, url: str, topology: Topology, *, name: str) -> None:
        self._topology = topology
        self._queues: tuple[Queue, ...] = ()
        self._wanted: dict[str, int] = {}
        """Queue and prefetch of what shall be consumed; restored on every new channel."""
        self._consumers: dict[str, str] = {}
        self._buffer: deque[AmqpDelivery] = deque()
        self._open: dict[int, AmqpMessage] = {}
        """By delivery tag, ascending, what is not acknowledged on the present channel."""
        self._done: set[int] = set()
        """Delivery tags to be acknowledged on it."""
        self._acknowledging = False
        self._arrival = asyncio.Event()
        self._changing = asyncio.Lock()
        """One at a time changes consumers: a restored channel, `consume`, `cancel`."""
        self._publishing = Link(url, f"{name}/publish", self._check_exchanges)
        self._consuming = Link(url, f"{name}/consume", self._ready, self._forget_deliveries)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, queues: Sequence[Queue]) -> None:
        """Connect both ways, wait for the exchanges, declare and bind these queues."""
        assert not self._tasks, "opened twice"
        self._queues = tuple(queues)
        for link in (self._consuming, self._publishing):
            task = asyncio.create_task(link.run())
            task.add_done_callback(lambda _: self._arrival.set())
            self._tasks.append(task)
            await self._unless_dead(link.wait_up())

    async def close(self) -> None:
        """Close both connections; the broker takes back what was not acknowledged."""
        await self._send_acknowledgements()
        await ended(self._tasks)
        self._tasks.clear()
        self._wanted.clear()

    def is_connected(self) -> bool:
        """Whether both connections are there at this moment."""
        return self._publishing.channel is not None and self._consuming.channel is not None

    async def publish(self, messages: Sequence[AmqpMessage], timeout_s: float) -> Sequence[str]:
        """Publish with confirms, pipelined; within `timeout_s` every message has its result."""
        self._check()
        results = [UNKNOWN] * len(messages)
        try:
            async with asyncio.timeout(timeout_s):
                channel = await self._publishing.wait_up()
                if len(messages) == 1:
                    await _publish_one(channel, messages[0], results, 0)
                    return results
                # One task per message: a death of the channel cancels these, not their caller.
                tasks = [
                    asyncio.ensure_future(_publish_one(channel, message, results, n))
                    for n, message in enumerate(messages)
                ]
                await asyncio.gather(*tasks, return_exceptions=True)
        except AWAY as error:
            if cancelled_by_us(error):
                raise
        return results

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start delivering a queue; idempotent. While the broker is away it is remembered."""
        async with self._changing:
            self._wanted[queue] = prefetch
            channel = self._consuming.channel
            if channel is not None and queue not in self._consumers:
                await self._tried(self._start_consumer(channel, queue, prefetch))

    async def cancel(self, queue: str) -> None:
        """Stop delivering; what was delivered stays here, open."""
        async with self._changing:
            self._wanted.pop(queue, None)
            tag = self._consumers.pop(queue, None)
            channel = self._consuming.channel
            if channel is not None and tag is not None:
                await self._tried(channel.basic_cancel(tag, timeout=RPC_TIMEOUT_S))

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[AmqpDelivery]:
        """What has arrived, at most `limit`, oldest first; waits for the first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._buffer:
                    self._check()
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            return ()
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def acknowledge(self, tags: Sequence[Any]) -> None:
        """Acknowledge; tags of a channel that is gone are ignored (they come again).

        What is acknowledged in the same turn of the loop goes along with the first of it.
        """
        for generation, tag in cast(Sequence[tuple[int, int]], tags):
            if generation == self._consuming.generation and tag in self._open:
                self._done.add(tag)
        if self._done and not self._acknowledging:
            self._acknowledging = True
            try:
                await asyncio.sleep(0)
            finally:
                self._acknowledging = False
            await self._send_acknowledgements()

    async def _send_acknowledgements(self) -> None:
        """One frame for all up to the first that is still at work, one each for the rest."""
        channel, done = self._consuming.channel, self._done & self._open.keys()
        self._done.clear()
        if channel is None or not done:
            return
        prefix = 0
        for tag in self._open:
            if tag not in done:
                break
            prefix = tag
        for tag in done:
            del self._open[tag]
        if prefix:
            await self._tried(channel.basic_ack(prefix, multiple=True, wait=False))
        for tag in sorted(done):
            if tag > prefix:
                await self._tried(channel.basic_ack(tag, wait=False))

    async def reject(self, tag: Any, reason: str) -> None:
        """Publish to the dead letters with the reason; acknowledge once that is confirmed."""
        generation, number = cast(tuple[int, int], tag)
        message = self._open.get(number)
        if message is None or generation != self._consuming.generation:
            return
        dead = _dead(message, self._topology.dead, reason)
        (result,) = await self.publish([dead], REJECT_TIMEOUT_S)
        if result == UNKNOWN:
            await self._requeue(generation, number)
        else:
            await self.acknowledge([tag])

    async def _requeue(self, generation: int, tag: int) -> None:
        channel = self._consuming.channel
        if generation == self._consuming.generation and channel is not None and tag in self._open:
            del self._open[tag]
            await self._tried(channel.basic_nack(tag, requeue=True, wait=False))

    async def _check_exchanges(self, channel: AbstractChannel) -> None:
        for exchange in self._topology.exchanges():
            await channel.exchange_declare(exchange.name, passive=True, timeout=RPC_TIMEOUT_S)

    async def _ready(self, channel: AbstractChannel) -> None:
        """Check the exchanges, declare the queues and restore the consumers."""
        async with self._changing:
            await self._check_exchanges(channel)
            for queue in self._queues:
                arguments: Any = dict(queue.arguments)
                await channel.queue_declare(queue.name, durable=True, arguments=arguments)
                for exchange, routing_key in queue.bindings:
                    await channel.queue_bind(queue.name, exchange, routing_key)
            self._forget_deliveries()
            for name, prefetch in self._wanted.items():
                await self._start_consumer(channel, name, prefetch)

    async def _start_consumer(self, channel: AbstractChannel, queue: str, prefetch: int) -> None:
        generation = self._consuming.generation

        async def receive(delivered: DeliveredMessage) -> None:
            self._received(queue, generation, delivered)

        await channel.basic_qos(prefetch_count=prefetch, timeout=RPC_TIMEOUT_S)
        ok = await channel.basic_consume(queue, receive, timeout=RPC_TIMEOUT_S)
        assert ok.consumer_tag is not None
        self._consumers[queue] = ok.consumer_tag

    def _received(self, queue: str, generation: int, delivered: DeliveredMessage) -> None:
        tag = delivered.delivery_tag
        if generation != self._consuming.generation or tag is None:
            return
        frame = delivered.delivery
        redelivered = isinstance(frame, Basic.Deliver) and bool(frame.redelivered)
        message = self._open[tag] = _message_of(delivered)
        self._buffer.append(AmqpDelivery((generation, tag), queue, message, redelivered))
        self._arrival.set()

    def _forget_deliveries(self) -> None:
        self._consumers.clear()
        self._buffer.clear()
        self._open.clear()
        self._done.clear()

    async def _tried(self, call: Awaitable[object]) -> None:
        """Await a call to the broker; if that fails, the link is made anew and restores all."""
        try:
            await call
        except AWAY as error:
            if cancelled_by_us(error):
                raise
            log.warning("a call to the broker failed (%r); connecting anew", error)
            self._consuming.reset()

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


async def _publish_one(
    channel: AbstractChannel, message: AmqpMessage, results: list[str], n: int
) -> None:
    """Publish and note the result. Anything raised but a return leaves it unknown."""
    try:
        confirmed = await cast("Channel", channel).basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=_properties_of(message),
            mandatory=message.mandatory,
            wait=False,
        )
    except PublishError:
        results[n] = RETURNED
        return
    if isinstance(confirmed, Basic.Ack):
        results[n] = CONFIRMED


def _properties_of(message: AmqpMessage) -> Basic.Properties:
    return Basic.Properties(
        message_id=message.message_id,
        message_type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        content_type=message.content_type,
        user_id=message.user_id,
        headers=dict(message.headers) or None,
        delivery_mode=PERSISTENT,
    )


def _message_of(delivered: DeliveredMessage) -> AmqpMessage:
    properties = delivered.header.properties
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
        headers=_scalars(properties.headers or {}),
    )


def _kept(headers: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    kept = {name: value for name, value in headers.items() if name.startswith(KEPT)}
    size = sum(len(name.encode()) + len(str(value).encode()) for name, value in kept.items())
    return kept if size <= KEPT_BYTES_MAX else {}


def _scalars(headers: Mapping[str, object]) -> dict[str, HeaderValue]:
    """Values that no header of the contract can have (tables, lists, times) are left out."""
    plain: dict[str, HeaderValue] = {}
    for name, value in headers.items():
        if value is None or isinstance(value, str | int | float | bool):
            plain[name] = value
        elif isinstance(value, bytes | bytearray):
            plain[name] = bytes(value).decode("utf-8", "replace")
    return plain


def _dead(message: AmqpMessage, dead_exchange: str, reason: str) -> AmqpMessage:
    """What goes to the dead letters. Its publisher's `user_id` is not ours to claim."""
    headers: dict[str, HeaderValue] = {
        **_kept(message.headers),
        "amends-reason": reason[:REASON_CHARS_MAX],
        "amends-exchange": message.exchange,
    }
    if message.user_id:
        headers["amends-user-id"] = message.user_id
    return replace(message, exchange=dead_exchange, headers=headers, user_id=None, mandatory=False)
