"""`given(app, database_url)`: an app's handlers under the real runtime, commands by hand."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from pydantic import SecretStr

from amends_contracts import messages
from amends_contracts.codec import encode_command
from amends_contracts.command import Command, CommandSpec, spec_of
from amends_contracts.messages import ActionOutcome, Json, Outcome, Reply, digest_of, to_body
from amends_contracts.names import (
    UNDO_OPS,
    Key,
    Op,
    SagaId,
    StepPath,
    key_of,
    message_id_of,
    service_of,
)
from amends_contracts.topology import Topology
from amends_participants.app import Participant
from amends_participants.barrier import create_tables
from amends_participants.runtime import ParticipantSettings, Runtime
from amends_participants.testing.expected import Expected, said
from amends_participants.testing.stage import CrashingDatabase, StageTransport

STEP: Final = StepPath("step")
SLOW_S: Final = 10.0
"""How long a reply may take before a test fails."""


@asynccontextmanager
async def given(
    app: Participant, database_url: str, *, reply_within: float = SLOW_S
) -> AsyncGenerator["Kit"]:
    """Run an app against this database (its barrier tables are created there), without a broker."""
    settings = ParticipantSettings(
        database_url=SecretStr(database_url), sweep_s=0.2, busy_s=1.0, drain_s=1.0, lease_s=5.0
    )
    engine = CrashingDatabase.connect(settings, app.service).engine
    database = CrashingDatabase(engine)
    async with engine.begin() as conn:
        await create_tables(conn)
    kit = Kit(app, settings, database, reply_within)
    await kit.start()
    try:
        yield kit
    finally:
        await kit.stop()
        await database.close()


class Kit:
    """A participant under test."""

    def __init__(
        self,
        app: Participant,
        settings: ParticipantSettings,
        database: CrashingDatabase,
        reply_within: float,
    ) -> None:
        self.app = app
        self.transport = StageTransport()
        self.reply_within = reply_within
        self.database = database
        self._settings = settings
        self._topology = Topology(settings.prefix)
        self._runtime: Runtime | None = None
        self._task: asyncio.Task[None] | None = None

    def command(self, command: Command[Any], *, step: str = STEP) -> "SentStep":
        """One step of a new saga, with this command as its action."""
        body: Json = command.model_dump(mode="json", by_alias=True)
        return SentStep(self, spec_of(type(command)), body, _saga_id(), StepPath(step))

    async def check(
        self, command: Command[Any], *, world: Callable[[], Awaitable[object]] | None = None
    ) -> list[str]:
        """Run a command that succeeds through everything that may happen to it.

        `world` takes a snapshot of what the command changes (balances, rows); it is compared for
        equality: duplicates must not change it, and the undo must restore it. Raises
        AssertionError with the case in words; answers the names of the cases that were run.
        """
        from amends_participants.testing.cases import run_cases

        return await run_cases(self, command, world)

    async def start(self) -> None:
        """Start (again), as a new process would."""
        self._runtime = Runtime(self.app, self.transport, self._settings, database=self.database)
        self._task = asyncio.create_task(self._runtime.run())

    async def stop(self) -> None:
        """Drain and stop."""
        if self._runtime is not None and self._task is not None:
            self._runtime.stop()
            await self._task

    async def restart(self) -> None:
        """What a supervisor does after a crash: what was not acknowledged is delivered again."""
        await self.stop()
        await self.start()

    def send(self, command: messages.Command) -> None:
        """Deliver a command."""
        do, undo = self._topology.service_queues(self.app.service)
        queue = undo if command.op in UNDO_OPS else do
        self.transport.deliver(queue.name, encode_command(command, self._topology))

    def alive(self) -> None:
        """Raise what ended the participant, if something did."""
        if self._task is not None and self._task.done():
            self._task.result()


@dataclass(frozen=True)
class SentStep:
    """One step of a saga: makes and sends its commands."""

    kit: Kit
    spec: CommandSpec[Any]
    body: Json
    saga_id: SagaId
    path: StepPath

    @property
    def key(self) -> Key:
        """The action's idempotency key."""
        return key_of(self.saga_id, self.path, Op.ACTION)

    def action(self, attempt: int = 1, *, body: Json | None = None) -> "Sent":
        """Send the action; again with the same attempt: a duplicate; with a higher one: a retry."""
        content = to_body(self.body if body is None else body)
        return self._send(Op.ACTION, self.spec.name, attempt, content, digest=digest_of(content))

    def compensation(self, attempt: int = 1, *, body: Json | None = None) -> "Sent":
        """Send the compensation, of an action whose outcome is not known, with the default body."""
        default = {"input": self.body, "output": None}
        content = to_body(default if body is None else body)
        return self._send(
            Op.COMPENSATION,
            self.spec.compensation or self.spec.name,
            attempt,
            content,
            digest=digest_of(content),
            compensates=self.key,
            action_outcome=ActionOutcome.UNKNOWN,
        )

    def probe(self, attempt: int = 1) -> "Sent":
        """Ask what became of the action."""
        content = to_body({"input": self.body})
        return self._send(Op.PROBE, self.spec.name, attempt, content, compensates=self.key)

    def _send(self, op: Op, type_: str, attempt: int, body: bytes, **more: Any) -> "Sent":
        command = messages.Command(
            type=type_,
            op=op,
            message_id=message_id_of(self.saga_id, self.path, op, attempt),
            body=body,
            saga_id=self.saga_id,
            reply_to=f"reply.{service_of(type_)}.00",
            key=key_of(self.saga_id, self.path, op),
            attempt=attempt,
            tenant="default",
            **more,
        )
        n = self.kit.transport.heard(command.message_id)
        self.kit.send(command)
        return Sent(self.kit, command, n + 1)


@dataclass(frozen=True)
class Sent:
    """A command that was sent; `n` counts what was sent under its message id."""

    kit: Kit
    command: messages.Command
    n: int

    async def reply(self) -> Reply:
        """Wait for the reply."""
        try:
            return await self.kit.transport.reply(
                self.command.message_id, self.n, self.kit.reply_within
            )
        except TimeoutError:
            self.kit.alive()
            raise AssertionError(
                f"{self} was not answered within {self.kit.reply_within} s"
            ) from None

    async def expect_reply(self, expected: Expected) -> Reply:
        """Wait for the reply, and see that it is this one; AssertionError says both."""
        reply = await self.reply()
        other = expected.mismatch(reply)
        if other is not None:
            raise AssertionError(f"{self}: expected {expected}, got {other}")
        return reply

    def __str__(self) -> str:
        return f"{self.command.op} of {self.command.type}, attempt {self.command.attempt}"


async def succeeds(sent: Sent, case: str) -> Reply:
    """The reply, which must be `succeeded`."""
    reply = await sent.reply()
    if reply.outcome is not Outcome.SUCCEEDED:
        raise AssertionError(f"{case}: {sent} was to succeed, but {said(reply)}")
    return reply


def _saga_id() -> SagaId:
    """A UUID of version 7 of now: keys of new sagas are of today."""
    value = (int(time.time() * 1000) << 80) | (uuid4().int & ((1 << 80) - 1))
    value = (value & ~(0xF << 76)) | (7 << 76)
    return SagaId(str(UUID(int=(value & ~(0x3 << 62)) | (2 << 62))))
