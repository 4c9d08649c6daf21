"""RabbitMQ as its users here see it: one connection to publish, one to consume, kept up for ever.

Publishing and consuming never share a connection: the broker blocks a connection that publishes
when it runs out of memory or disk, and acknowledgements must go on. Publications are pipelined,
each with its own confirm. What is not confirmed and not returned in time is unknown, and the
caller publishes it again under the same message id.

What is declared on a fresh connection is for those who derive from this; so is whether what was
delivered from a queue goes back to it when it is consumed no longer.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import ClassVar, Final

from amends_amqp.connection import Connection
from amends_amqp.dead_letters import rejected
from amends_amqp.link import Link
from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag, PublishResult

log = logging.getLogger(__name__)

REJECT_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S: Final = 30.0


class AmqpTransport(ABC):
    """Publishes, consumes, acknowledges; reconnects by itself and restores its consumers."""

    requeues_on_cancel: ClassVar[bool] = False

    def __init__(self, url: str, *, name: str, dead_exchange: str) -> None:
        self._dead_exchange = dead_exchange
        self._wanted: dict[str, int] = {}
        """Queue and prefetch of what shall be consumed; restored on every new connection."""
        self._consumers: dict[str, str] = {}
        """Queue and consumer tag of what is consumed on the present connection."""
        self._buffer: deque[Delivery] = deque()
        self._open: dict[int, Delivery] = {}
        """By delivery tag, what is not acknowledged; ascending, as it was delivered."""
        self._done: set[int] = set()
        """Delivery tags of these to be acknowledged at the end of this turn of the loop."""
        self._arrival = asyncio.Event()
        self._changing = asyncio.Lock()
        """One at a time changes consumers: a restored connection, `consume`, `cancel`."""
        self._publishing = Link(url, f"{name}/publish", self.prepare_publishing)
        self._consuming = Link(url, f"{name}/consume", self._ready_to_consume, self._forget)
        self._tasks: list[asyncio.Task[None]] = []

    # --- for those who derive ------------------------------------------------------------------

    @abstractmethod
    async def prepare_publishing(self, connection: Connection) -> None:
        """Declare or check what is published to."""

    @abstractmethod
    async def prepare_consuming(self, connection: Connection) -> None:
        """Declare what is consumed."""

    @abstractmethod
    async def prepare_queue(self, connection: Connection, queue: str) -> None:
        """Declare a queue that is about to be consumed, if it was not declared before."""

    # --- life ----------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect both ways and prepare; waits with backoff while the broker is away."""
        assert not self._tasks, "opened twice"
        for link in (self._consuming, self._publishing):
            task = asyncio.create_task(link.run())
            task.add_done_callback(lambda _: self._arrival.set())
            self._tasks.append(task)
            await self._unless_dead(link.wait_up())

    async def close(self) -> None:
        """Close both connections; the broker takes back what was not acknowledged."""
        self._send_acknowledgements()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._wanted.clear()

    def is_connected(self) -> bool:
        """Whether both connections are there at this moment."""
        return self._publishing.is_up() and self._consuming.is_up()

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

    async def _ready_to_consume(self, connection: Connection) -> None:
        async with self._changing:
            await self.prepare_publishing(connection)
            await self.prepare_consuming(connection)
            self._forget()
            await self._adjust(connection)

    def _forget(self) -> None:
        """What was delivered on a connection that is gone will be delivered again."""
        self._consumers.clear()
        self._buffer.clear()
        self._open.clear()
        self._done.clear()

    # --- publishing ----------------------------------------------------------------------------

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish with confirms, pipelined; within `timeout_s` every message has its result."""
        self._check()
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(until):
                connection = await self._publishing.wait_up()
        except TimeoutError:
            return [PublishResult.UNKNOWN] * len(messages)
        results = await connection.publish(messages, until - loop.time())
        if connection.is_closed:
            # A caller that tries again at once must not keep the link from being made anew.
            await asyncio.sleep(0)
        return results

    # --- consuming -----------------------------------------------------------------------------

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start delivering a queue; idempotent. While the broker is away it is remembered."""
        self._wanted[queue] = prefetch
        if queue not in self._consumers:
            await self._adjust_if_up()

    async def cancel(self, queue: str) -> None:
        """Stop consuming. What was delivered goes back, or stays here to be worked on."""
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
        """Acknowledge; tags of another connection are ignored, for these come again.

        What is acknowledged in one turn of the loop goes along in one frame where it can.
        """
        if not self._done:
            asyncio.get_running_loop().call_soon(self._send_acknowledgements)
        generation = self._consuming.generation
        self._done.update(t.tag for t in tags if t.generation == generation and t.tag in self._open)

    def _send_acknowledgements(self) -> None:
        """One frame for all before the first that is still at work, one each for the rest."""
        connection, done = self._consuming.connection, self._done & self._open.keys()
        self._done.clear()
        if connection is None or not done:
            return
        up_to = 0
        for tag in self._open:
            if tag not in done:
                break
            up_to = tag
        for tag in done:
            del self._open[tag]
        connection.acknowledge(sorted(tag for tag in done if tag > up_to), up_to=up_to)

    async def reject(self, tag: DeliveryTag, reason: str) -> None:
        """Publish to the dead-letter exchange with the reason; acknowledge once confirmed.

        Without a confirm the delivery goes back to its queue, and comes again.
        """
        delivery = self._open.get(tag.tag)
        if delivery is None or tag.generation != self._consuming.generation:
            return
        dead = rejected(delivery.message, self._dead_exchange, reason)
        (result,) = await self.publish([dead], REJECT_TIMEOUT_S)
        if result is PublishResult.UNKNOWN:
            if tag.generation == self._consuming.generation:
                self._requeue([tag.tag])
        else:
            await self.acknowledge([tag])

    def _requeue(self, tags: Sequence[int]) -> None:
        connection = self._consuming.connection
        back = [tag for tag in tags if self._open.pop(tag, None) is not None]
        if connection is not None:
            connection.requeue(back)

    async def _adjust_if_up(self) -> None:
        """A link that is being made anew adjusts itself: nobody waits for it here."""
        if not self._consuming.is_up():
            return
        async with self._changing:
            connection = self._consuming.connection
            if connection is None:
                return
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._adjust(connection)
            except (OSError, TimeoutError) as error:
                if connection is self._consuming.connection and not connection.is_closed:
                    log.warning("a call to the broker failed (%r); connecting anew", error)
                    self._consuming.reset()

    async def _adjust(self, connection: Connection) -> None:
        """Consume what is wanted and nothing else; what is wanted may change meanwhile."""
        while self._wanted.keys() != self._consumers.keys():
            for queue in self._consumers.keys() - self._wanted.keys():
                await connection.cancel(self._consumers.pop(queue))
                if self.requeues_on_cancel:
                    self._buffer = deque(d for d in self._buffer if d.queue != queue)
                    self._requeue([tag for tag, d in self._open.items() if d.queue == queue])
            for queue in sorted(self._wanted.keys() - self._consumers.keys()):
                if queue in self._wanted:
                    await self.prepare_queue(connection, queue)
                    receive = partial(self._received, queue, self._consuming.generation)
                    tag = await connection.consume(queue, self._wanted[queue], receive)
                    self._consumers[queue] = tag

    def _received(
        self, queue: str, generation: int, message: AmqpMessage, tag: int, redelivered: bool
    ) -> None:
        if generation != self._consuming.generation:
            return
        delivery = Delivery(DeliveryTag(generation, tag), queue, message, redelivered)
        self._open[tag] = delivery
        if queue not in self._wanted and self.requeues_on_cancel:
            self._requeue([tag])
            return
        self._buffer.append(delivery)
        self._arrival.set()
