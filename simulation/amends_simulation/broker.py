"""A broker that keeps RabbitMQ's promises and nothing more: late, twice, in any order.

A confirmed message is delivered until it is acknowledged. What its consumer had when it died comes
again. What goes wrong beyond that is in the schedule.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from amends_amqp.dead_letters import rejected
from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag, PublishResult
from amends_contracts.codec import decode_batch, is_batch
from amends_contracts.names import ENGINE, service_of
from amends_contracts.topology import Queue, Topology
from amends_simulation.schedule import Point
from amends_simulation.world import Process, World

Receive: TypeAlias = Callable[[Delivery], None]
TOPOLOGY = Topology("amends")
HOP_S = 0.03
"""The longest way of a message in fair weather."""


@dataclass(slots=True, eq=False)
class _Queue:
    name: str
    consumers: "list[Link]" = field(default_factory=list["Link"])
    waiting: list[AmqpMessage] = field(default_factory=list[AmqpMessage])


class Broker:
    """Queues, and messages on their way."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.under_way = 0
        """Messages not acknowledged yet."""
        self.delivered: list[tuple[str, AmqpMessage]] = []
        """Every message that was ever given to a consumer."""
        self.gone: list[str] = []
        """Ids of messages whose queue is gone when they are published again."""
        self.answers: Callable[[AmqpMessage], None] = _ignore
        self._queues: dict[str, _Queue] = {}

    def queue(self, name: str) -> _Queue:
        """The queue of this name."""
        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = _Queue(name)
        return found

    def route(self, message: AmqpMessage) -> str | None:
        """The queue that takes it."""
        exchange, key = message.exchange, message.routing_key
        if exchange == TOPOLOGY.commands:
            lane, _, command = key.partition(".")
            service = service_of(command)
            if service == ENGINE:
                return TOPOLOGY.control
            return TOPOLOGY.do_queue(service) if lane == "do" else TOPOLOGY.undo_queue(service)
        if exchange == TOPOLOGY.batches:
            return key
        if exchange == TOPOLOGY.replies:
            return TOPOLOGY.partition_queue(int(key.rpartition(".")[2]))
        if exchange == TOPOLOGY.dead:
            return TOPOLOGY.dead_commands
        if exchange == TOPOLOGY.control:
            return TOPOLOGY.start if key == "start" else TOPOLOGY.control
        return None

    def publish(self, message: AmqpMessage) -> None:
        """Take a message."""
        name = self.route(message)
        if name is None:
            self.answers(message)
            return
        if message.exchange in (TOPOLOGY.commands, TOPOLOGY.batches):
            for command in members_of(message):
                self.world.publish_of(command)
            point = Point.COMMAND
        else:
            point = Point.REPLY
        delay = self.world.chance.random() * HOP_S
        match self.world.faults.at(point) if name != TOPOLOGY.dead_commands else None:
            case "late":
                delay += 1 + 8 * self.world.chance.random()
            case "very late":
                delay += 15 + 60 * self.world.chance.random()
            case "twice":
                self.send(name, message, delay + 5 * self.world.chance.random())
            case "dead":
                name = TOPOLOGY.dead_commands
                message = replace(message, exchange=TOPOLOGY.dead)
            case _:
                pass
        self.send(name, message, delay)

    def send(self, name: str, message: AmqpMessage, delay: float) -> None:
        """On its way to whoever consumes the queue then."""
        self.under_way += 1
        self.world.later(delay, self._arrive, name, message, False)

    def _arrive(self, name: str, message: AmqpMessage, again: bool) -> None:
        queue = self.queue(name)
        if not queue.consumers:
            queue.waiting.append(message)
            return
        link = queue.consumers[0]
        if len(queue.consumers) > 1 and TOPOLOGY.partition_of(name) is None:
            link = self.world.chance.choice(queue.consumers)
        self.delivered.append((name, message))
        link.deliver(name, message, again)

    def subscribe(self, name: str, link: "Link") -> None:
        """Deliver a queue to a consumer."""
        queue = self.queue(name)
        if link not in queue.consumers:
            queue.consumers.append(link)
        waiting, queue.waiting = queue.waiting, []
        for message in waiting:
            self.world.later(self.world.chance.random() * HOP_S, self._arrive, name, message, False)

    def unsubscribe(self, name: str, link: "Link") -> None:
        """No longer."""
        queue = self.queue(name)
        if link in queue.consumers:
            queue.consumers.remove(link)

    def give_back(self, name: str, message: AmqpMessage) -> None:
        """A delivery that was not acknowledged comes again."""
        self.world.later(self.world.chance.random() * HOP_S, self._arrive, name, message, True)


def members_of(message: AmqpMessage) -> Sequence[AmqpMessage]:
    """What an envelope holds, or the message itself."""
    if not is_batch(message):
        return (message,)
    return [m for m in decode_batch(message, TOPOLOGY) if isinstance(m, AmqpMessage)]


def _ignore(_: AmqpMessage) -> None:
    """Nobody asked."""


class Link:
    """The connection of one process: both the engine's port and the participants'."""

    def __init__(
        self, broker: Broker, process: Process, *, send: Point, acknowledge: Point
    ) -> None:
        self._broker = broker
        self._process = process
        self._send_point = send
        self._acknowledge_point = acknowledge
        self._generation = 1
        self._tags = 0
        self._open: dict[int, tuple[str, AmqpMessage]] = {}
        self._consumed: dict[str, None] = {}
        self._buffer: deque[Delivery] = deque()
        self._arrival = asyncio.Event()
        self.receive: Receive | None = None
        """Who takes deliveries; without, they wait for `arrived`."""

    # --- the ports

    async def open(self, queues: Sequence[Queue] = ()) -> None:
        """Nothing is declared: queues are there when they are named."""

    async def close(self) -> None:
        """The process ends in order."""
        self.drop()

    def is_up(self) -> bool:
        """Always."""
        return True

    def is_connected(self) -> bool:
        """Always."""
        return True

    async def consume(self, queue: str, prefetch: int) -> None:
        """Deliver it here."""
        self._process.check()
        if queue not in self._consumed:
            self._consumed[queue] = None
            self._broker.subscribe(queue, self)

    async def cancel(self, queue: str) -> None:
        """No longer; what was delivered and is not acknowledged goes to others."""
        self._process.check()
        if queue in self._consumed:
            del self._consumed[queue]
            self._broker.unsubscribe(queue, self)
            for tag, (name, message) in list(self._open.items()):
                if name == queue:
                    del self._open[tag]
                    self._broker.give_back(name, message)
            self._buffer = deque(d for d in self._buffer if d.queue != queue)

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[Delivery]:
        """What has arrived."""
        while not self._buffer:
            self._arrival.clear()
            await self._arrival.wait()
        self._process.check()
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish each, with what may go wrong."""
        await self._process.gate()
        return [self._publish(message) for message in messages]

    async def acknowledge(self, tags: Sequence[DeliveryTag]) -> None:
        """Acknowledge; the connection may be lost at it."""
        self._process.check()
        if not tags:
            return
        match self._broker.world.faults.at(self._acknowledge_point):
            case "crash before":
                self._process.die()
            case "lost":
                self._interrupt()
            case _:
                pass
        for tag in tags:
            held = self._open.pop(tag.tag, None) if tag.generation == self._generation else None
            if held is not None:
                self._broker.under_way -= 1
                if self._acknowledge_point is Point.ENGINE_ACK:
                    for reply in members_of(held[1]):
                        self._broker.world.hear(reply)

    async def reject(self, tag: DeliveryTag, reason: str) -> None:
        """To the dead letters."""
        self._process.check()
        held = self._open.get(tag.tag) if tag.generation == self._generation else None
        if held is not None:
            self._broker.publish(rejected(held[1], TOPOLOGY.dead, reason))
            del self._open[tag.tag]
            self._broker.under_way -= 1

    # --- the broker's side

    def deliver(self, name: str, message: AmqpMessage, again: bool) -> None:
        """A message for this process."""
        self._tags += 1
        tag = DeliveryTag(self._generation, self._tags)
        self._open[self._tags] = (name, message)
        delivery = Delivery(tag, name, message, again)
        if self.receive is not None:
            self.receive(delivery)
        else:
            self._buffer.append(delivery)
            self._arrival.set()

    def drop(self) -> None:
        """The process is gone: all that it had comes again, elsewhere."""
        for name in self._consumed:
            self._broker.unsubscribe(name, self)
        self._consumed.clear()
        self._interrupt()

    def _interrupt(self) -> None:
        self._generation += 1
        self._buffer.clear()
        held, self._open = self._open, {}
        for name, message in held.values():
            self._broker.give_back(name, message)

    def _publish(self, message: AmqpMessage) -> PublishResult:
        broker, world = self._broker, self._broker.world
        result = PublishResult.CONFIRMED
        what = world.faults.at(self._send_point)
        if message.message_id in broker.gone:
            broker.gone.remove(message.message_id)
            what = "returned"
        match what:
            case "crash before":
                self._process.die()
            case "crash after":
                broker.publish(message)
                self._process.die()
            case "unknown, lost":
                return PublishResult.UNKNOWN
            case "unknown, arrived":
                broker.publish(message)
                return PublishResult.UNKNOWN
            case "arrived, returned later" if message.mandatory and message.message_id:
                broker.publish(message)
                broker.gone.append(message.message_id)
                return PublishResult.UNKNOWN
            case "returned" if message.mandatory:
                result = PublishResult.RETURNED
            case "twice":
                broker.publish(message)
                broker.publish(message)
            case _:
                broker.publish(message)
        if message.exchange != TOPOLOGY.batches or result is PublishResult.CONFIRMED:
            for member in members_of(message):
                world.settle(member.message_id)
        return result
