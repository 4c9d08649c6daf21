"""What a command costs a participant: the runtime between a broker that is a list, and Postgres.

One service with one insert per action and one update per compensation; the broker confirms after a
millisecond. `waiting`: all commands are there; `envelopes`: the same, 64 in one message; `trickle`:
four every two milliseconds. Processor time is of this process, and of Postgres beside it.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import event

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import decode_batch, encode_command, is_batch, pack
from amends_contracts.messages import ActionOutcome, Command, digest_of, to_body
from amends_contracts.names import Op, SagaId, StepPath, key_of, message_id_of
from amends_contracts.topology import Queue, Topology
from amends_orchestrator.local import postgres
from amends_participants import create_tables
from amends_participants.runtime import ParticipantSettings, Runtime
from benchmarks._processes import cpu_ms
from benchmarks._services import TABLE, four

TOPOLOGY: Final = Topology("bench")
SERVICE: Final = "four"
STEP: Final = StepPath("four")
CONFIRM_S: Final = 0.001
BURST: Final = 4
BURST_S: Final = 0.002


def run(seconds: float) -> dict[str, Any]:
    """All cases, of about so many seconds each."""
    server = postgres.start()
    try:
        return asyncio.run(_measure(server.url, server.pids["postgres"], int(600 * seconds)))
    finally:
        server.stop()


async def _measure(database_url: str, postgres_pid: int, count: int) -> dict[str, Any]:
    line = _Line()
    settings = ParticipantSettings(database_url=SecretStr(database_url), prefix=TOPOLOGY.prefix)
    runtime = Runtime(four, line, settings)
    async with runtime.scope.database.engine.begin() as connection:
        await create_tables(connection)
        await connection.exec_driver_sql(TABLE)
    meter = _Meter(runtime, line, postgres_pid)
    serving = asyncio.create_task(runtime.run())
    try:
        await meter.of(_actions("warm", 200, 1))
        actions = _actions("waiting", count, 1)
        return {
            "waiting": await meter.of(actions),
            "envelopes": await meter.of(_actions("envelopes", count, 1), together=True),
            "waiting_undos": await meter.of([_undo(action) for action in actions]),
            "waiting_failures": await meter.of(_actions("failing", count, -1)),
            "one_in_ten_fails": await meter.of(_actions("mixed", count, 1, failing=10)),
            "trickle": await meter.of(_actions("trickle", count, 1), trickle=True),
        }
    finally:
        runtime.stop()
        await serving


@dataclass(frozen=True, slots=True)
class _Delivery:
    tag: int
    queue: str
    message: AmqpMessage
    redelivered: bool = False


class _Line:
    """A `ParticipantTransport` that delivers what it is given, and confirms what it is told."""

    def __init__(self) -> None:
        self._prefetch: dict[str, int] = {}
        self._left: defaultdict[str, deque[AmqpMessage]] = defaultdict(deque)
        self._open: dict[int, str] = {}
        self._tag = 0
        self._changed = asyncio.Event()
        self._replies = 0
        self._empty = asyncio.Event()

    async def answered(self, messages: Sequence[AmqpMessage], *, trickle: bool = False) -> int:
        """Deliver these; return, when all are acknowledged, the number of their replies."""
        self._replies = 0
        self._empty.clear()
        for n in range(0, len(messages), BURST if trickle else len(messages)):
            part = messages[n : n + BURST] if trickle else messages
            for message in part:
                self._left[_queue_of(message)].append(message)
            self._changed.set()
            if trickle:
                await asyncio.sleep(BURST_S)
        await self._empty.wait()
        return self._replies

    async def open(self, queues: Sequence[Queue]) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to leave."""

    def is_connected(self) -> bool:
        """Always."""
        return True

    async def consume(self, queue: str, prefetch: int) -> None:
        """From now on, at most so many open."""
        self._prefetch[queue] = prefetch
        self._changed.set()

    async def cancel(self, queue: str) -> None:
        """No more."""
        self._prefetch.pop(queue, None)

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[_Delivery]:
        """Whatever prefetch allows; `timeout_s` is never given by a runtime."""
        while True:
            if found := self._take(limit):
                return found
            self._changed.clear()
            await self._changed.wait()

    def _take(self, limit: int) -> list[_Delivery]:
        found: list[_Delivery] = []
        for queue, prefetch in self._prefetch.items():
            left = self._left[queue]
            room = prefetch - sum(1 for name in self._open.values() if name == queue)
            for _ in range(min(room, len(left), limit - len(found))):
                self._tag += 1
                self._open[self._tag] = queue
                found.append(_Delivery(self._tag, queue, left.popleft()))
        return found

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """All confirmed, after a while."""
        await asyncio.sleep(CONFIRM_S)
        for message in messages:
            if message.exchange == TOPOLOGY.replies:
                is_envelope = is_batch(message)
                self._replies += len(decode_batch(message, TOPOLOGY)) if is_envelope else 1
        return [PublishResult.CONFIRMED] * len(messages)

    async def acknowledge(self, tags: Sequence[Any]) -> None:
        """Makes room."""
        for tag in tags:
            self._open.pop(tag, None)
        self._changed.set()
        if not self._open and not any(self._left.values()):
            self._empty.set()

    async def reject(self, tag: Any, reason: str) -> None:
        """Nothing here is ever wrong."""
        raise AssertionError(reason)


def _queue_of(message: AmqpMessage) -> str:
    """Where the broker would put it."""
    if is_batch(message):
        return message.routing_key
    lane = message.routing_key.partition(".")[0]
    return TOPOLOGY.do_queue(SERVICE) if lane == "do" else TOPOLOGY.undo_queue(SERVICE)


class _Meter:
    """Commands per second, processor time and transactions of one case."""

    def __init__(self, runtime: Runtime, line: _Line, postgres_pid: int) -> None:
        self._line = line
        self._postgres_pid = postgres_pid
        self._transactions = 0

        def count(_: object) -> None:
            self._transactions += 1

        event.listen(runtime.scope.database.engine.sync_engine, "begin", count)

    async def of(
        self, commands: Sequence[Command], *, trickle: bool = False, together: bool = False
    ) -> dict[str, float]:
        """Answer all these; `together`: they come in envelopes."""
        messages = [encode_command(command, TOPOLOGY) for command in commands]
        if together:
            messages = _envelopes(messages)
        self._transactions = 0
        there = cpu_ms({"postgres": self._postgres_pid})["postgres"]
        began, spent_s = time.perf_counter(), time.process_time()
        replies = await self._line.answered(messages, trickle=trickle)
        took_s, spent_s = time.perf_counter() - began, time.process_time() - spent_s
        there = cpu_ms({"postgres": self._postgres_pid})["postgres"] - there
        count = len(commands)
        assert replies == count, f"{replies} replies to {count} commands"
        return {
            "commands_per_s": round(count / took_s),
            "cpu_ms_per_command": round(spent_s * 1000 / count, 3),
            "postgres_cpu_ms_per_command": round(there / count, 3),
            "transactions_per_command": round(self._transactions / count, 3),
        }


def _envelopes(messages: Sequence[AmqpMessage]) -> list[AmqpMessage]:
    lane = messages[0].routing_key.partition(".")[0]
    queue = TOPOLOGY.do_queue(SERVICE) if lane == "do" else TOPOLOGY.undo_queue(SERVICE)
    key = TOPOLOGY.batch_queue(queue)
    found = pack(messages, exchange=TOPOLOGY.batches, routing_key=key, new_id=lambda: "envelope")
    return [packed.message for packed in found]


def _actions(name: str, count: int, sign: int, *, failing: int = 0) -> list[Command]:
    """One per saga; with `failing`, every so-manieth is one that fails."""
    return [
        _action(f"{name}-{n}", (n + 1) * (-1 if failing and n % failing == 0 else sign))
        for n in range(count)
    ]


def _action(name: str, n: int) -> Command:
    saga_id = SagaId(str(UUID(bytes=name.encode().ljust(16, b"-")[:16])))
    body = to_body({"n": n})
    return Command(
        type="four.do",
        op=Op.ACTION,
        message_id=message_id_of(saga_id, STEP, Op.ACTION, 1),
        body=body,
        saga_id=saga_id,
        reply_to="reply.four.00",
        key=key_of(saga_id, STEP, Op.ACTION),
        digest=digest_of(body),
        token="a token",
        tenant="default",
        definition="bench@1",
    )


def _undo(action: Command) -> Command:
    assert action.saga_id is not None
    body = to_body({"input": action.json(), "output": {"code": "7C"}})
    return Command(
        type=action.type,
        op=Op.COMPENSATION,
        message_id=message_id_of(action.saga_id, STEP, Op.COMPENSATION, 1),
        body=body,
        saga_id=action.saga_id,
        reply_to=action.reply_to,
        key=key_of(action.saga_id, STEP, Op.COMPENSATION),
        digest=digest_of(body),
        compensates=action.key,
        action_outcome=ActionOutcome.SUCCEEDED,
        token=action.token,
        tenant=action.tenant,
        definition=action.definition,
    )
