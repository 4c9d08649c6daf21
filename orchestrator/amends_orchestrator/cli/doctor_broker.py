"""What `amends doctor` asks the broker: what is declared, who consumes, what waits, what died."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from amends_amqp.connection import Connection
from amends_amqp.errors import NOT_FOUND, Refused
from amends_contracts.amqp import AmqpMessage
from amends_contracts.topology import Topology
from amends_orchestrator.cli.finding import Finding, bad, note, ok
from amends_orchestrator.cli.schema import without_password

ASK_S = 10.0
LOOK_S = 1.0
"""How long dead letters are waited for, once it is known that there are some."""
BACKLOG_NOTE = 10_000
DEAD_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Depth:
    """A queue's messages that wait, and its consumers."""

    waiting: int
    consumers: int


async def check(
    url: str, topology: Topology, partitions: int, services: Mapping[str, bool]
) -> AsyncGenerator[Finding]:
    """All checks; `services` tells of each whether sagas are running that may need it."""
    broker = _Broker(url)
    try:
        await broker.reach()
    except (OSError, TimeoutError, ValueError) as error:
        yield bad(
            "broker",
            f"{without_password(url)} cannot be reached: {error or type(error).__name__}",
            "Check AMENDS_BROKER_URL, and that RabbitMQ runs. Sagas wait and go on by themselves.",
        )
        return
    try:
        yield ok("broker", without_password(url))
        async for finding in _engine(broker, topology, partitions):
            yield finding
        for service, running in services.items():
            yield await _service(broker, topology, service, running)
        yield await _dead(broker, topology)
    finally:
        await broker.close()


class _Broker:
    """Asks one question after the other; a refusal costs the connection, and the next is made."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    async def reach(self) -> Connection:
        """A connection that is open."""
        if self._connection is None or self._connection.is_closed:
            async with asyncio.timeout(ASK_S):
                self._connection = await Connection.connect(self._url, name="amends doctor")
        return self._connection

    async def close(self) -> None:
        """Take leave."""
        if self._connection is not None:
            await self._connection.close()

    async def depth(self, queue: str) -> Depth | None:
        """None if the queue is not there."""
        connection = await self.reach()
        try:
            async with asyncio.timeout(ASK_S):
                return Depth(*await connection.declare_queue(queue, {}, passive=True))
        except Refused as refused:
            if refused.code == NOT_FOUND:
                return None
            raise

    async def look(self, queue: str, count: int) -> list[AmqpMessage]:
        """The first few messages. They are put back."""
        connection = await self.reach()
        found: dict[int, AmqpMessage] = {}
        enough = asyncio.Event()

        def receive(message: AmqpMessage, tag: int, _: bool) -> None:
            found[tag] = message
            if len(found) >= count:
                enough.set()

        async with asyncio.timeout(ASK_S):
            consumer = await connection.consume(queue, count, receive)
            try:
                async with asyncio.timeout(LOOK_S):
                    await enough.wait()
            except TimeoutError:
                pass
            await connection.cancel(consumer)
        connection.requeue(found)
        return list(found.values())


async def _engine(broker: _Broker, topology: Topology, partitions: int) -> AsyncGenerator[Finding]:
    queues = topology.engine_queues(partitions)
    depths = {queue.name: await broker.depth(queue.name) for queue in queues}
    missing = [name for name, depth in depths.items() if depth is None]
    if missing:
        yield bad(
            "queues",
            f"{len(missing)} of {len(queues)} are not declared, such as {missing[0]}",
            "An orchestrator declares them when it starts: `amends serve`.",
        )
        return
    known = {name: depth for name, depth in depths.items() if depth and name != topology.dead}
    waiting = sum(depth.waiting for depth in known.values())
    idle = [name for name, depth in known.items() if not depth.consumers]
    said = f"{waiting} messages wait for the orchestrators"
    if idle:
        yield bad(
            "queues",
            f"{said}; nobody consumes {idle[0]}" + (f" and {len(idle) - 1} more" * (len(idle) > 1)),
            "No orchestrator owns them: is one running, with this broker and prefix?",
        )
    elif waiting > BACKLOG_NOTE:
        yield note("queues", said, "The orchestrators cannot keep up: start one more.")
    else:
        yield ok("queues", said)


async def _service(broker: _Broker, topology: Topology, service: str, running: bool) -> Finding:
    check = f"service {service}"
    do = await broker.depth(topology.do_queue(service))
    undo = await broker.depth(topology.undo_queue(service))
    start = f"Start it: its steps wait and go on by themselves. amends-participant {service}:app"
    if do is None or undo is None:
        said = "undeliverable: nobody has declared its queues"
        return bad(check, said, start) if running else note(check, said, start)
    waiting = f"{do.waiting} to do, {undo.waiting} to undo"
    if not do.consumers or not undo.consumers:
        said = f"nobody consumes its queues; {waiting}"
        return bad(check, said, start) if running else note(check, said, start)
    unread = await _unread(broker, topology, service)
    if unread:
        return note(
            check,
            f"{waiting}; {unread} envelopes that nobody reads",
            "Their steps are asked again singly after their timeouts. Start an instance that takes"
            " envelopes, or purge the queues whose names end in .batch.",
        )
    if do.waiting + undo.waiting > BACKLOG_NOTE:
        return note(check, waiting, "It cannot keep up: start one more instance.")
    return ok(check, waiting)


async def _unread(broker: _Broker, topology: Topology, service: str) -> int:
    """Envelopes in queues without a consumer: of instances that are gone."""
    depths = [await broker.depth(queue.name) for queue in topology.batch_queues(service)]
    return sum(depth.waiting for depth in depths if depth is not None and not depth.consumers)


async def _dead(broker: _Broker, topology: Topology) -> Finding:
    depth = await broker.depth(topology.dead)
    if depth is None or not depth.waiting:
        return ok("dead letters", "none")
    reasons = [_reason(letter) for letter in await broker.look(topology.dead, DEAD_SHOWN)]
    return bad(
        "dead letters",
        f"{depth.waiting} in {topology.dead}: {'; '.join(reasons)}",
        "The steps concerned were told. When you know why, purge or replay the queue.",
    )


def _reason(letter: AmqpMessage) -> str:
    reason = letter.headers.get("amends-reason") or letter.headers.get("x-first-death-reason")
    return f"{letter.type or letter.routing_key or 'a message'} ({reason})"
