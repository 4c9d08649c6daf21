"""What `amends doctor` asks the broker: what is declared, who consumes, what waits, what died."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity

from amends_contracts.topology import Topology
from amends_orchestrator.cli.finding import Finding, bad, note, ok
from amends_orchestrator.cli.schema import without_password

CONNECT_S = 10.0
AMQP_PORT, AMQPS_PORT = 5672, 5671
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
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # the finding says it
    try:
        await _reach(url)
        connection = await aio_pika.connect(url, timeout=CONNECT_S)
    except (OSError, TimeoutError, AMQPError, ValueError) as error:
        yield bad(
            "broker",
            f"{without_password(url)} cannot be reached: {error or type(error).__name__}",
            "Check AMENDS_BROKER_URL, and that RabbitMQ runs. Sagas wait and go on by themselves.",
        )
        return
    async with connection:
        yield ok("broker", without_password(url))
        async for finding in _engine(connection, topology, partitions):
            yield finding
        for service, running in services.items():
            yield await _service(connection, topology, service, running)
        yield await _dead(connection, topology)


async def _reach(url: str) -> None:
    """Raise where nobody listens: aio-pika leaves a warning behind when it finds out itself."""
    parts = urlsplit(url)
    default = AMQPS_PORT if parts.scheme == "amqps" else AMQP_PORT
    async with asyncio.timeout(CONNECT_S):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or default)
    writer.close()
    await writer.wait_closed()


async def _engine(
    connection: AbstractConnection, topology: Topology, partitions: int
) -> AsyncGenerator[Finding]:
    queues = topology.engine_queues(partitions)
    depths = {queue.name: await _depth(connection, queue.name) for queue in queues}
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


async def _service(
    connection: AbstractConnection, topology: Topology, service: str, running: bool
) -> Finding:
    check = f"service {service}"
    do = await _depth(connection, topology.do_queue(service))
    undo = await _depth(connection, topology.undo_queue(service))
    start = f"Start it: its steps wait and go on by themselves. amends-participant {service}:app"
    if do is None or undo is None:
        said = "undeliverable: nobody has declared its queues"
        return bad(check, said, start) if running else note(check, said, start)
    waiting = f"{do.waiting} to do, {undo.waiting} to undo"
    if not do.consumers or not undo.consumers:
        said = f"nobody consumes its queues; {waiting}"
        return bad(check, said, start) if running else note(check, said, start)
    if do.waiting + undo.waiting > BACKLOG_NOTE:
        return note(check, waiting, "It cannot keep up: start one more instance.")
    return ok(check, waiting)


async def _dead(connection: AbstractConnection, topology: Topology) -> Finding:
    depth = await _depth(connection, topology.dead)
    if depth is None or not depth.waiting:
        return ok("dead letters", "none")
    reasons = await _reasons(connection, topology.dead)
    return bad(
        "dead letters",
        f"{depth.waiting} in {topology.dead}: {'; '.join(reasons)}",
        "The steps concerned were told. When you know why, purge or replay the queue.",
    )


async def _reasons(connection: AbstractConnection, queue: str) -> list[str]:
    """Why the first few died. They are put back."""
    async with connection.channel() as channel:
        source = await channel.get_queue(queue, ensure=True)
        got = [await source.get(fail=False, timeout=CONNECT_S) for _ in range(DEAD_SHOWN)]
        messages = [message for message in got if message is not None]
        found: list[str] = []
        for message in messages:
            reason = message.headers.get("amends-reason") or message.headers.get(
                "x-first-death-reason"
            )
            found.append(f"{message.type or message.routing_key or 'a message'} ({reason})")
        for message in messages:
            await message.nack(requeue=True)
    return found


async def _depth(connection: AbstractConnection, queue: str) -> Depth | None:
    """None if the queue is not there; that closes the channel, so each question has its own."""
    channel: AbstractChannel = await connection.channel()
    try:
        declared = await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return None
    result = declared.declaration_result
    await channel.close()
    return Depth(result.message_count or 0, result.consumer_count or 0)
