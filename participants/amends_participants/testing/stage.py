"""Stand-ins for broker and disaster: a transport in process, a database that fails on cue."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import decode_reply
from amends_contracts.messages import Outcome, Reply
from amends_contracts.topology import Queue
from amends_participants.runtime.database import Database
from amends_participants.runtime.upkeep import UPKEEP

T = TypeVar("T")


@dataclass(frozen=True)
class StagedDelivery:
    """A delivery of the stage."""

    tag: int
    queue: str
    message: AmqpMessage
    redelivered: bool = False


class StageTransport:
    """`ParticipantTransport` for one participant; what is not acknowledged comes again."""

    def __init__(self) -> None:
        self.rejected: list[str] = []
        """Reasons of what was dead-lettered."""
        self._tags = count(1)
        self._ready: deque[StagedDelivery] = deque()
        self._open: dict[int, StagedDelivery] = {}
        self._replies: dict[str, list[Reply]] = defaultdict(list)
        self._arrival = asyncio.Event()
        self._heard = asyncio.Condition()

    def deliver(self, queue: str, message: AmqpMessage) -> None:
        """Hand a message to the participant."""
        self._ready.append(StagedDelivery(next(self._tags), queue, message))
        self._arrival.set()

    def heard(self, message_id: str) -> int:
        """How many replies came to this message id."""
        return len(self._replies[message_id])

    async def reply(self, message_id: str, n: int, timeout_s: float) -> Reply:
        """Wait for the n-th reply to a message id; TimeoutError."""
        async with asyncio.timeout(timeout_s), self._heard:
            await self._heard.wait_for(lambda: len(self._replies[message_id]) >= n)
        return self._replies[message_id][n - 1]

    async def open(self, queues: Sequence[Queue]) -> None:
        """Nothing is to be declared."""

    async def close(self) -> None:
        """What is open goes back, to be delivered again."""
        self._ready.extendleft(reversed(self._open.values()))
        self._open.clear()

    def is_connected(self) -> bool:
        """Always."""
        return True

    async def consume(self, queue: str, prefetch: int) -> None:
        """Everything is delivered at once."""

    async def cancel(self, queue: str) -> None:
        """Nothing to stop: the test decides what arrives."""

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[StagedDelivery]:
        """What was handed over."""
        async with asyncio.timeout(timeout_s):
            while not self._ready:
                self._arrival.clear()
                await self._arrival.wait()
        taken = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        self._open.update({d.tag: d for d in taken})
        return taken

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Keep replies; all else is confirmed and forgotten."""
        for message in messages:
            if message.correlation_id is None:
                continue
            reply = decode_reply(message)
            if reply.outcome is not Outcome.PROGRESS:
                async with self._heard:
                    self._replies[reply.message_id.removesuffix(":reply")].append(reply)
                    self._heard.notify_all()
        return [PublishResult.CONFIRMED] * len(messages)

    async def acknowledge(self, tags: Sequence[Any]) -> None:
        """Done with."""
        for tag in tags:
            self._open.pop(tag, None)

    async def reject(self, tag: Any, reason: str) -> None:
        """Dead-lettered."""
        self.rejected.append(reason)
        self._open.pop(tag, None)


class CrashingDatabase(Database):
    """A database under which the process seems to die: before, or after, a chosen commit."""

    _countdown = 0
    _after = False
    crashed: asyncio.Event

    def arm(self, *, at: int, after: bool) -> asyncio.Event:
        """Crash at the `at`-th transaction of a command from now; the event tells that it has."""
        self._countdown, self._after, self.crashed = at, after, asyncio.Event()
        return self.crashed

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """As ever, unless it is time. The runtime's upkeep comes at any time, and counts not."""
        task = asyncio.current_task()
        if task is not None and task.get_name() == UPKEEP:
            return await super().transact(work)
        self._countdown -= 1
        if self._countdown != 0:
            return await super().transact(work)
        if self._after:
            await super().transact(work)
        else:
            await self._roll_back(work)
        self.crashed.set()
        raise asyncio.CancelledError("the process died, says the test")

    async def _roll_back(self, work: Callable[[AsyncConnection], Awaitable[object]]) -> None:
        async with self.engine.connect() as tx, tx.begin() as transaction:
            await work(tx)
            await transaction.rollback()
