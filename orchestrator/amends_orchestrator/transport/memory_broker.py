"""A broker in this process: for embedded mode, unit tests and the simulator.

It keeps the promises of RabbitMQ that the engine and participants build on: routing by topic,
direct and fanout exchanges, acknowledgements with redelivery, a delivery limit with dead letters,
returns of unroutable mandatory messages, and single active consumers. It may lose everything on a
crash, by design: outbox, idempotency keys and wake-ups make that harmless.
"""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.topology import Exchange, Queue


class UnknownEntity(LookupError):
    """An exchange or queue that nobody has declared."""


@dataclass(slots=True)
class _Held:
    """A message in a queue, or with a consumer."""

    message: AmqpMessage
    returns: int = 0
    """How often it came back unacknowledged; compared with the queue's delivery limit."""


@dataclass(slots=True, eq=False)
class MemoryConsumer:
    """One subscription. Deliveries go to `receive(self, tag, message, redelivered)`, at once."""

    queue: str
    prefetch: int
    receive: "Receive"
    open: dict[int, _Held] = field(default_factory=dict[int, _Held])


Receive: TypeAlias = Callable[[MemoryConsumer, int, AmqpMessage, bool], None]


@dataclass(slots=True)
class _Queue:
    declared: Queue
    ready: deque[_Held] = field(default_factory=deque[_Held])
    consumers: list[MemoryConsumer] = field(default_factory=list[MemoryConsumer])

    @property
    def limit(self) -> int | None:
        limit = self.declared.arguments.get("x-delivery-limit")
        return int(limit) if limit is not None and int(limit) >= 0 else None

    @property
    def candidates(self) -> list[MemoryConsumer]:
        if self.declared.arguments.get("x-single-active-consumer"):
            return self.consumers[:1]
        return self.consumers


class MemoryBroker:
    """Exchanges, bindings and queues. One event loop, no awaiting: every call is atomic."""

    def __init__(self) -> None:
        self._exchanges: dict[str, str] = {}
        self._bindings: dict[str, list[tuple[str, str]]] = {}
        self._queues: dict[str, _Queue] = {}
        self._tags = itertools.count(1)
        self._pumping = False

    def declare_exchange(self, exchange: Exchange) -> None:
        """Declare an exchange; again is no change."""
        self._exchanges[exchange.name] = exchange.type
        self._bindings.setdefault(exchange.name, [])

    def has_exchange(self, name: str) -> bool:
        """Whether the exchange is declared, which participants wait for."""
        return name in self._exchanges

    def declare_queue(self, queue: Queue) -> None:
        """Declare a queue with its bindings; UnknownEntity when an exchange is not there."""
        self._queues.setdefault(queue.name, _Queue(queue))
        for exchange, routing_key in queue.bindings:
            if exchange not in self._exchanges:
                raise UnknownEntity(exchange)
            if (routing_key, queue.name) not in self._bindings[exchange]:
                self._bindings[exchange].append((routing_key, queue.name))

    def delete_queue(self, name: str) -> None:
        """Remove a queue with its bindings and messages."""
        self._queues.pop(name, None)
        for bindings in self._bindings.values():
            bindings[:] = [b for b in bindings if b[1] != name]

    def publish(self, message: AmqpMessage) -> PublishResult:
        """Route one message; RETURNED when it is mandatory and no queue takes it."""
        targets = self._route(message)
        for name in targets:
            self._queues[name].ready.append(_Held(message))
        if targets:
            self._pump()
        if not targets and message.mandatory:
            return PublishResult.RETURNED
        return PublishResult.CONFIRMED

    def subscribe(self, queue: str, prefetch: int, receive: "Receive") -> MemoryConsumer:
        """Consume a queue; `prefetch` 0 is without limit."""
        if queue not in self._queues:
            raise UnknownEntity(queue)
        consumer = MemoryConsumer(queue, prefetch, receive)
        self._queues[queue].consumers.append(consumer)
        self._pump()
        return consumer

    def unsubscribe(self, consumer: MemoryConsumer) -> None:
        """End a subscription; what it has open goes back, in order, counted as returned."""
        queue = self._queues.get(consumer.queue)
        if queue is None:
            return
        if consumer in queue.consumers:
            queue.consumers.remove(consumer)
        self._take_back(consumer, list(consumer.open))

    def stop(self, consumer: MemoryConsumer) -> None:
        """Deliver nothing more; what the consumer has open stays with it, to be worked on."""
        queue = self._queues.get(consumer.queue)
        if queue is not None and consumer in queue.consumers:
            queue.consumers.remove(consumer)
            self._pump()

    def acknowledge(self, consumer: MemoryConsumer, tag: int) -> None:
        """Forget a delivery; an unknown tag is ignored."""
        if consumer.open.pop(tag, None) is not None:
            self._pump()

    def requeue(self, consumer: MemoryConsumer, tag: int) -> None:
        """Give a delivery back to its queue, to the place where it was."""
        self._take_back(consumer, [tag])

    def reject(self, consumer: MemoryConsumer, tag: int, reason: str = "rejected") -> None:
        """Dead-letter a delivery (`basic.reject` without requeue)."""
        held = consumer.open.pop(tag, None)
        queue = self._queues.get(consumer.queue)
        if held is not None and queue is not None:
            self._dead_letter(queue, held, reason)
            self._pump()

    def depth(self, queue: str) -> int:
        """Messages in the queue, those with consumers included."""
        q = self._queues[queue]
        return len(q.ready) + sum(len(c.open) for c in q.consumers)

    def peek(self, queue: str) -> list[AmqpMessage]:
        """Messages ready in a queue, oldest first."""
        return [held.message for held in self._queues[queue].ready]

    def _route(self, message: AmqpMessage) -> list[str]:
        if message.exchange == "":
            return [message.routing_key] if message.routing_key in self._queues else []
        kind = self._exchanges.get(message.exchange)
        if kind is None:
            raise UnknownEntity(message.exchange)
        found: dict[str, None] = {}
        for pattern, queue in self._bindings[message.exchange]:
            if _matches(kind, pattern, message.routing_key):
                found[queue] = None
        return list(found)

    def _take_back(self, consumer: MemoryConsumer, tags: Sequence[int]) -> None:
        queue = self._queues.get(consumer.queue)
        if queue is None:
            return
        for tag in sorted(tags, reverse=True):
            held = consumer.open.pop(tag, None)
            if held is None:
                continue
            held.returns += 1
            if queue.limit is not None and held.returns > queue.limit:
                self._dead_letter(queue, held, "delivery_limit")
            else:
                queue.ready.appendleft(held)
        self._pump()

    def _dead_letter(self, queue: _Queue, held: _Held, reason: str) -> None:
        exchange = queue.declared.arguments.get("x-dead-letter-exchange")
        if not isinstance(exchange, str):
            return
        headers = {
            **held.message.headers,
            "x-first-death-reason": reason,
            "x-first-death-queue": queue.declared.name,
            "x-first-death-exchange": held.message.exchange,
        }
        self.publish(replace(held.message, exchange=exchange, headers=headers, mandatory=False))

    def _pump(self) -> None:
        """Hand out what is ready. A receiver may publish or acknowledge: that re-enters."""
        if self._pumping:
            return
        self._pumping = True
        try:
            progress = True
            while progress:
                handed_out = [self._hand_out(queue) for queue in list(self._queues.values())]
                progress = any(handed_out)
        finally:
            self._pumping = False

    def _hand_out(self, queue: _Queue) -> bool:
        """Give one message to the consumer with the least to do; whether there was one."""
        free = [c for c in queue.candidates if not c.prefetch or len(c.open) < c.prefetch]
        if not queue.ready or not free:
            return False
        consumer = min(free, key=lambda c: len(c.open))
        held = queue.ready.popleft()
        tag = next(self._tags)
        consumer.open[tag] = held
        consumer.receive(consumer, tag, held.message, held.returns > 0)
        return True


@lru_cache(maxsize=65536)
def _matches(kind: str, pattern: str, routing_key: str) -> bool:
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == routing_key
    return _topic(pattern.split("."), routing_key.split("."))


def _topic(pattern: list[str], words: list[str]) -> bool:
    """`*` is one word, `#` any number of them."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_topic(pattern[1:], words[i:]) for i in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _topic(pattern[1:], words[1:])
