"""Services by the light profile of the wire contract: about a hundred lines, no SDK.

Row, effect and stored reply in one transaction; the reply confirmed; then acknowledged. The table
`ledger` records every effect by key, without a constraint that could hide a second one.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiormq
import asyncpg
from pamqp.common import FieldValue

from amends_contracts.amqp import Delivery, PublishResult
from amends_contracts.codec import decode_command, encode_reply
from amends_contracts.messages import Command, Json, Outcome, Reply, to_body
from amends_contracts.names import MessageId, Op, split_key
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_contracts.topology import Queue, Topology
from amends_orchestrator.core.checker import Change, Effect
from amends_orchestrator.transport.amqp import AmqpTransport

TABLES = """
CREATE SCHEMA IF NOT EXISTS test;
CREATE TABLE IF NOT EXISTS test.barrier (key text PRIMARY KEY, outcome text, body text);
CREATE TABLE IF NOT EXISTS test.ledger (id bigserial, key text, saga text, op text);
"""
Answer = tuple[Outcome, Json]
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


def succeed(command: Command) -> Answer:
    """What an unscripted command does."""
    return Outcome.SUCCEEDED, {"code": "7C"}


@dataclass
class Services:
    """Services on a real broker and database; `decides` says what an action does."""

    database_url: str
    transport: AmqpTransport
    topology: Topology
    decides: Callable[[Command], Answer] = succeed
    at_work: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is clear, what arrives is kept waiting."""
    takes_s: float = 0.0
    """How long each action is at work, at least."""
    most: Counter[str] = field(default_factory=Counter[str])
    """By command: the most actions that were at work at the same time."""
    begun: list[Command] = field(default_factory=list[Command])
    """Actions in the order in which they were first begun."""
    _busy: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """By command and key; a key counts once, however often its command came."""
    _done: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _pool: Any = None
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])

    async def run(self, services: tuple[str, ...]) -> None:
        """Consume until cancelled; reconnects by itself, as everybody does."""
        for service in services:
            for queue in self.topology.service_queues(service):
                await self.transport.consume(queue.name, 100)
        while True:
            for delivery in await self.transport.arrived(200, None):
                task = asyncio.create_task(self._work(delivery))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _work(self, delivery: Delivery) -> None:
        command = decode_command(delivery.message)
        await self.at_work.wait()
        with self._counted(command):
            await asyncio.sleep(self.takes_s)
            while True:
                try:
                    outcome, body = await self._act(command)
                    break
                except AWAY:
                    await asyncio.sleep(0.2)
        answer = encode_reply(_reply(command, outcome, body), command.reply_to or "", self.topology)
        result = PublishResult.UNKNOWN
        while result is PublishResult.UNKNOWN:
            (result,) = await self.transport.publish([answer], 10)
        await self.transport.acknowledge([delivery.tag])

    @contextmanager
    def _counted(self, command: Command) -> Generator[None]:
        one = (command.type, str(command.key))
        if command.op is not Op.ACTION or one in self._done:
            yield  # what was done is only answered
            return
        if one not in self._busy:
            self.begun.append(command)
        self._busy[one] += 1
        here = sum(kind == command.type for kind, _ in self._busy)
        self.most[command.type] = max(self.most[command.type], here)
        try:
            yield
        finally:
            self._done.add(one)
            self._busy[one] -= 1
            self._busy = +self._busy

    async def _act(self, command: Command) -> Answer:
        """At most one effect per key, in the transaction of its row."""
        async with (
            asyncio.timeout(15),
            self._pool.acquire() as connection,
            connection.transaction(),
        ):
            row = await connection.fetchrow(
                "INSERT INTO test.barrier VALUES ($1) ON CONFLICT DO NOTHING RETURNING key",
                command.key,
            )
            if row is None:
                stored = await connection.fetchrow(
                    "SELECT outcome, body FROM test.barrier WHERE key = $1", command.key
                )
                if stored["outcome"] is not None:
                    return Outcome(stored["outcome"]), json.loads(stored["body"])
            outcome, body = await self._effect(connection, command)
            await connection.execute(
                "UPDATE test.barrier SET outcome = $2, body = $3 WHERE key = $1",
                command.key,
                outcome.value,
                json.dumps(body),
            )
            return outcome, body

    async def _effect(self, connection: Any, command: Command) -> Answer:
        outcome: Outcome = Outcome.SUCCEEDED
        body: Json = {}
        if command.op is Op.COMPENSATION:
            action = await connection.fetchrow(
                "INSERT INTO test.barrier VALUES ($1, 'fenced', '{}')"
                " ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING outcome",
                command.compensates,
            )
            if action["outcome"] != Outcome.SUCCEEDED:
                return outcome, body
        else:
            outcome, body = self.decides(command)
        if outcome is Outcome.SUCCEEDED:
            await connection.execute(
                "INSERT INTO test.ledger (key, saga, op) VALUES ($1, $2, $3)",
                command.key,
                command.saga_id,
                command.op.value,
            )
        return outcome, body

    async def effects(self) -> tuple[Effect, ...]:
        """What happened to the world, as the checker takes it."""
        rows = await self._pool.fetch("SELECT key FROM test.ledger ORDER BY id")
        found: list[Effect] = []
        for order, row in enumerate(rows, start=1):
            saga_id, path, op = split_key(row["key"])
            assert path is not None
            change = Change.TAKEN if op is Op.ACTION else Change.UNDONE
            found.append(Effect(order=order, saga_id=saga_id, path=path, change=change))
        return tuple(found)

    async def open(self) -> None:
        """Connect to the database."""
        self._pool = await asyncpg.create_pool(self.database_url, min_size=1, max_size=8)
        await self._pool.execute(TABLES)

    async def close(self) -> None:
        """Close both."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.transport.close()
        await self._pool.close()


async def declare(broker_url: str, queues: Sequence[Queue]) -> None:
    """Declare and bind queues."""
    connection = await aiormq.connect(broker_url)
    channel = await connection.channel()
    for queue in queues:
        arguments: dict[str, FieldValue] = dict(queue.arguments.items())
        await channel.queue_declare(queue.name, durable=True, arguments=arguments)
        for exchange, routing_key in queue.bindings:
            await channel.queue_bind(queue.name, exchange, routing_key)
    await connection.close()


def _reply(command: Command, outcome: Outcome, body: Json) -> Reply:
    assert command.saga_id is not None
    assert command.key is not None
    good = outcome is Outcome.SUCCEEDED
    return Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:reply"),
        outcome=outcome,
        body=to_body(body),
        content_type="application/json" if good else PROBLEM_CONTENT_TYPE,
    )


@asynccontextmanager
async def services(
    database_url: str, broker_url: str, topology: Topology, names: tuple[str, ...]
) -> AsyncGenerator[Services]:
    """Run these services beside the test."""
    transport = AmqpTransport(broker_url, topology, partitions=1, name="services")
    await transport.open()
    await declare(broker_url, [q for name in names for q in topology.service_queues(name)])
    made = Services(database_url, transport, topology)
    made.at_work.set()
    await made.open()
    running = asyncio.create_task(made.run(names))
    try:
        yield made
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await made.close()
