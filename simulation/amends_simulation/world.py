"""The world of one run: time, chance, faults, the outside that effects happen to, and the record.

What is recorded here is what really happened, whatever the code under test believes: commits as the
store carried them out, publications as the broker got them, effects as the outside saw them.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from amends_contracts.amqp import AmqpMessage
from amends_contracts.messages import Json
from amends_contracts.names import Key, Op, SagaId, StepPath, split_key
from amends_orchestrator.core.checker import (
    Asked,
    Change,
    Commit,
    Decided,
    Effect,
    Heard,
    Made,
    Sent,
)
from amends_orchestrator.engine.ids import uuid7
from amends_simulation.loop import VirtualLoop
from amends_simulation.schedule import Faults, Schedule

BEGAN: Final = datetime(2031, 3, 1, 12, tzinfo=UTC)
FORGED: Final = "forged"
"""Message id of what strangers send."""
PROCESS: "ContextVar[Process]" = ContextVar("process")
"""Whose code is running."""


class Process:
    """Something that can crash: its tasks end where they are, and what it knew is gone."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self._paused_until = 0.0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._context: Context = copy_context()
        self._context.run(PROCESS.set, self)
        world.processes.append(self)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a task of this process."""
        task = self.world.loop.create_task(work, context=self._context.copy())
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def call(self, work: Callable[..., object], *args: object) -> None:
        """Call something that begins tasks of its own, as code of this process."""
        self._context.copy().run(work, *args)

    def end(self) -> None:
        """The run is over."""
        self.alive = False
        for task in list(self._tasks):
            task.cancel()

    def crash(self) -> None:
        """Now, wherever its tasks are."""
        if not self.alive:
            return
        self.alive = False
        self.world.note(f"{self.name} crashes")
        for task in list(self._tasks):
            task.cancel()
        self.crashed()

    def crashed(self) -> None:
        """What follows a crash: connections end, somebody starts it again."""

    def pause(self, seconds: float) -> None:
        """It stands still for so long, and does not know."""
        self.world.note(f"{self.name} stands still for {seconds} s")
        self._paused_until = self.world.loop.time() + seconds

    async def gate(self) -> None:
        """Before anything outside: who stands still waits, the dead go no further."""
        rest = self._paused_until - self.world.loop.time()
        if rest > 0:
            await asyncio.sleep(rest)
        self.check()

    def check(self) -> None:
        """The dead do nothing: raises where one would."""
        if not self.alive:
            raise asyncio.CancelledError

    def die(self) -> None:
        """Crash in the middle of its own work."""
        self.crash()
        raise asyncio.CancelledError

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.loop.failures.append(error)
            self.crash()


class World:
    """Everything that a run's processes share."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.loop = VirtualLoop()
        self.chance = random.Random(schedule.seed)
        random.seed(schedule.seed)  # what the code under test draws comes from the seed too
        self.faults = Faults({(fault.point, fault.nth): fault for fault in schedule.faults})
        self.processes: list[Process] = []
        self.order = 0
        self.effects: list[Effect] = []
        self.commits: list[Commit] = []
        self.committed: list[Made] = []
        self.published: list[Made] = []
        self.unsettled: dict[str, None] = {}
        self.settled: set[str] = set()
        self.heard: list[Heard] = []
        self.asked: list[Asked] = []
        self.sent: list[Sent] = []
        self.decided: list[Decided] = []
        self.story: list[str] | None = None
        """What happened, in words; None: nobody listens."""
        self.pending = 0
        """Things under way that are in no queue and no table."""
        self._made: dict[str, Made] = {}
        self._receipts: dict[Key, int] = {}
        self._there: dict[Key, int] = {}
        self._numbers = 0

    def end(self) -> None:
        """Everything stops where it is."""
        for process in self.processes:
            process.end()
        self.loop.settle()

    # --- time and ids

    def now(self) -> datetime:
        """The database's time."""
        return BEGAN + timedelta(seconds=self.loop.time())

    def tick(self) -> int:
        """The next order number."""
        self.order += 1
        return self.order

    def later(self, seconds: float, call: Callable[..., object], *args: object) -> None:
        """Something will happen."""
        self.loop.call_later(seconds, call, *args)

    def new_id(self) -> UUID:
        """An id of this moment, from the seed."""
        milliseconds = int(self.now().timestamp() * 1000)
        return uuid7(milliseconds, self.chance.randbytes(10))

    def note(self, text: str) -> None:
        """Tell the story."""
        if self.story is not None:
            self.story.append(f"{self.loop.time():9.3f}  {text}")

    # --- the outside

    def take(self, key: Key, tenant: str | None, *, honours: bool) -> int:
        """An effect takes place, unless the outside `honours` the key and has seen it."""
        if honours and key in self._receipts:
            return self._receipts[key]
        receipt = self.new_receipt()
        self.take_as(key, tenant, receipt)
        return receipt

    def new_receipt(self) -> int:
        """A number that no effect has had before."""
        self._numbers += 1
        return self._numbers

    def take_as(self, key: Key, tenant: str | None, receipt: int) -> None:
        """An effect takes place, with this receipt."""
        self._receipts[key] = receipt
        self._there[key] = self._there.get(key, 0) + 1
        self._happened(key, Change.TAKEN, {"n": receipt}, tenant)

    def look(self, key: Key) -> int | None:
        """What is there under this key."""
        return self._receipts[key] if self._there.get(key, 0) > 0 else None

    def give_back(self, key: Key, tenant: str | None, *, sure: bool) -> None:
        """An effect is taken back. `sure`: the caller does not look whether it is there."""
        if sure or self._there.get(key, 0) > 0:
            self._there[key] = self._there.get(key, 0) - 1
            self._happened(key, Change.UNDONE, None, tenant)

    def bury(self, key: Key) -> None:
        """It was acknowledged that there is nothing to take back."""
        self._happened(key, Change.BURIED, None, None)

    def _happened(self, key: Key, change: Change, receipt: Json, tenant: str | None) -> None:
        saga_id, path, _ = split_key(key)
        assert path is not None
        self.effects.append(
            Effect(
                order=self.tick(),
                saga_id=saga_id,
                path=path,
                change=change,
                receipt=receipt,
                tenant=tenant,
            )
        )
        if self.story is not None:
            self.note(f"  effect of {path}: {change} {receipt or ''}")

    # --- messages

    def commit_of(self, messages: list[AmqpMessage]) -> None:
        """These are committed now."""
        for message in messages:
            made = self._of(message)
            if made is not None:
                self.committed.append(made)
                if made.id not in self.settled:
                    self.unsettled[made.id] = None

    def publish_of(self, message: AmqpMessage) -> None:
        """This has reached the broker."""
        made = self._of(message)
        if made is not None:
            self.published.append(made)

    def hear(self, message: AmqpMessage) -> None:
        """An orchestrator acknowledges this: it does not come again."""
        headers = message.headers
        key = headers.get("amends-key")
        if headers.get("amends-outcome") != "succeeded" or not isinstance(key, str):
            return
        saga_id, path, op = split_key(key)
        if op is Op.ACTION and path is not None and message.message_id != FORGED:
            self.heard.append(Heard(order=self.tick(), saga_id=saga_id, path=path))

    def settle(self, message_id: str | None) -> None:
        """The publisher knows that the broker has it, or that nobody wants it."""
        if message_id is not None:
            self.settled.add(message_id)
            self.unsettled.pop(message_id, None)

    def _of(self, message: AmqpMessage) -> Made | None:
        key = message.headers.get("amends-key")
        if message.message_id is None or not isinstance(key, str):
            return None
        order = self.tick()
        known = self._made.get(message.message_id)
        if known is None:
            saga_id, path, op = split_key(key)
            assert path is not None
            known = self._made[message.message_id] = _made(message, order, saga_id, path, op)
            return known
        return Made(
            order=order,
            id=known.id,
            saga_id=known.saga_id,
            path=known.path,
            op=known.op,
            attempt=known.attempt,
            tenant=known.tenant,
        )


def _made(message: AmqpMessage, order: int, saga_id: SagaId, path: StepPath, op: Op) -> Made:
    headers: Mapping[str, Any] = message.headers
    is_reply = "amends-outcome" in headers  # of a child saga to its parent's step
    return Made(
        order=order,
        id=message.message_id or "",
        saga_id=saga_id,
        path=path,
        op=op,
        attempt=headers["amends-attempt"],
        tenant=None if is_reply else headers["amends-tenant"],
    )
