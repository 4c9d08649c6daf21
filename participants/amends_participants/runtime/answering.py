"""From a decoded command to its answer: which way it takes, in the database or outside.

Deliveries in the database are answered while they are held. A delivery whose effect is outside is
acknowledged as soon as its intent is committed; the outbox brings its reply.
"""

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from amends_contracts.amqp import AmqpMessage
from amends_contracts.drill import is_drill
from amends_contracts.messages import JSON_TYPE, Command, Effect
from amends_contracts.names import Key, Op, service_of
from amends_contracts.problems import ProblemType
from amends_participants.app import Registration
from amends_participants.barrier import store
from amends_participants.barrier.rules import Answer, Revival
from amends_participants.outcomes import refusal
from amends_participants.runtime import outside, passive, queries, transactional
from amends_participants.runtime.outside import Job
from amends_participants.runtime.replies import reply_message
from amends_participants.runtime.scope import Scope
from amends_participants.runtime.slots import Slots
from amends_participants.runtime.taken import Taken
from amends_participants.runtime.together import Desk, Together
from amends_participants.trace import Span, Tracing

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[AmqpMessage]], Awaitable[None]]
"""Publishes until confirmed or returned."""
Acknowledge = Callable[[], Awaitable[None]]
"""Acknowledges the delivery; again is no harm."""


class Answering:
    """Answers commands of one service."""

    def __init__(
        self,
        scope: Scope,
        tracing: Tracing,
        publish: Publish,
        say: Publish,
        crowded: Callable[[bool, bool], Awaitable[None]],
        desk: Desk,
    ) -> None:
        self._scope = scope
        self._tracing = tracing
        self._publish = publish
        self._say = say
        """Publishes once, for what need not arrive."""
        self._crowded = crowded
        """Told (undo lane?, whether) when jobs wait for a slot that were taken from the broker."""
        self._in_database = Slots(scope.settings.concurrency)
        self._outside = Slots(scope.settings.concurrency)
        self._together = Together(scope, self._in_database, desk)
        self._waiting = {False: 0, True: 0}
        self.active: Counter[Key] = Counter()
        """Keys at work here and now, outside the database."""

    def group(self, taken: Taken) -> bool:
        """Leave a command to the groups, which tell the desk; False: it is for `answer`."""
        registration = self.in_database(taken.command)
        return registration is not None and self._together.take(registration, taken)

    def in_database(self, command: Command) -> Registration | None:
        """The handlers of a command whose effect is in this service's database, and only that."""
        if command.op is Op.ACTION:
            registration = self._scope.app.find_action(command.type)
        elif command.op is Op.COMPENSATION:
            registration = self._scope.app.find_undo(command.type)
        else:
            return None
        if registration is None or registration.spec.effect is not Effect.TRANSACTIONAL:
            return None
        if is_drill(command):  # what goes wrong with it is its own alone
            return None
        return registration if self._refused(command, registration) is None else None

    async def answer(self, command: Command, span: Span, acknowledge: Acknowledge) -> Answer | None:
        """The answer to publish before acknowledging; None: it was acknowledged here."""
        app = self._scope.app
        match command.op:
            case Op.FORGET:
                await queries.forget(self._scope, command)
                return await acknowledge()
            case Op.LEDGER:
                return await queries.ledger(self._scope, command)
            case Op.TURN:
                return _unsupported(command)
            case Op.ACTION | Op.PROBE:
                registration = app.find_action(command.type)
            case Op.COMPENSATION:
                registration = app.find_undo(command.type)
        refused = self._refused(command, registration)
        if refused is not None:
            if command.op is not Op.ACTION:
                return refused
            # recorded: what was once said to have failed never runs
            answer = await transactional.refuse(self._scope, command, refused)
        elif registration is None:
            raise AssertionError("refused above")
        elif command.op is Op.PROBE:
            async with self._in_database.taken(undo=True):
                return await queries.probe(self._scope, registration, command)
        elif registration.spec.effect is Effect.TRANSACTIONAL:
            answer = await self._in_transaction(registration, command)
        else:
            return await self._with_intent(registration, command, span, acknowledge)
        return await acknowledge() if answer is None else answer

    def close(self) -> None:
        """Leave off what still waits for a group."""
        self._together.close()

    async def revive(self, job: Job) -> None:
        """Settle an intent that was taken over from a process that died."""
        with self._at_work(job.key), self._tracing.start(job.command) as span:
            if job.revived is Revival.RUN:
                async with self._outside.taken(undo=_is_undo(job.command)):
                    await self._work(job, span)
            else:
                await self._work(job, span)

    def _refused(self, command: Command, registration: Registration | None) -> Answer | None:
        """Why a command is not for this service."""
        if registration is None or service_of(command.type) != self._scope.service:
            known = ", ".join(r.spec.name for r in self._scope.app.registered())
            detail = f"no {command.op} {command.type!r} here; {self._scope.service} has {known}"
            return refusal(ProblemType.UNKNOWN_COMMAND, detail)
        if command.content_type != JSON_TYPE:
            return refusal(ProblemType.UNSUPPORTED, f"a body of type {command.content_type}")
        if command.op is Op.COMPENSATION and registration.compensation is None:
            return _unsupported(command)
        return self._scope.drilling.refusal(command, registration)

    async def _in_transaction(self, registration: Registration, command: Command) -> Answer | None:
        undo = _is_undo(command)
        perform = transactional.perform_compensation if undo else transactional.perform_action
        async with self._in_database.taken(undo=undo):
            return await perform(self._scope, registration, command)

    async def _with_intent(
        self, registration: Registration, command: Command, span: Span, acknowledge: Acknowledge
    ) -> Answer | None:
        """Wait for a slot; if it is long in coming, an intent does the waiting."""
        assert command.key is not None
        with self._at_work(command.key):
            async with AsyncExitStack() as slot:
                started = await self._slot(slot, command)
                begun = await self._begin(registration, command, started=started)
                if isinstance(begun, Job):
                    await acknowledge()
                    await (self._work if started else self._wait_and_work)(begun, span)
                    return None
        return await acknowledge() if begun is None else begun

    async def _slot(self, stack: AsyncExitStack, command: Command) -> bool:
        """Take a slot into `stack`; False if none was free for a long time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._scope.settings.long_wait_s):
                await stack.enter_async_context(self._outside.taken(undo=_is_undo(command)))
                return True
        return False

    async def _begin(
        self, registration: Registration, command: Command, *, started: bool
    ) -> Answer | Job | None:
        while True:
            try:
                return await outside.begin(self._scope, registration, command, started=started)
            except transactional.Busy:  # another delivery of this key is being decided
                await asyncio.sleep(0.05)

    async def _wait_and_work(self, job: Job, span: Span) -> None:
        """Work when the turn comes; the lane takes nothing from the broker meanwhile."""
        undo = _is_undo(job.command)
        self._waiting[undo] += 1
        try:
            await self._crowded(undo, True)
            async with self._outside.taken(undo=undo):
                started = await outside.start_waiting(self._scope, job)
                if started is not None:
                    await self._work(started, span)
        finally:
            self._waiting[undo] -= 1
            await self._crowded(undo, self._waiting[undo] > 0)

    async def _work(self, job: Job, span: Span) -> None:
        """Run a job and publish its reply; the outbox keeps it until then."""
        progress = _Progress(job.command, self._scope, self._say)
        reply = await outside.work(self._scope, job, trace=span.trace, progress=progress)
        if reply is None:
            log.warning("%s was taken over by another instance while at work", job.key)
            return
        span.ended(reply.answer.outcome, problem_type(reply.answer))
        await self._publish([reply.message])
        await self._scope.database.transact(lambda tx: store.delete_replies(tx, [reply.id]))

    @contextmanager
    def _at_work(self, key: Key) -> Generator[None]:
        self.active[key] += 1
        try:
            yield
        finally:
            self.active[key] -= 1
            if not self.active[key]:
                del self.active[key]


class _Progress:
    """Tells the orchestrator that a job is still at work; numbers what it says."""

    def __init__(self, command: Command, scope: Scope, say: Publish) -> None:
        self._command = command
        self._scope = scope
        self._say = say
        self._said = 0

    async def __call__(self) -> None:
        self._said += 1
        topology = self._scope.topology
        await self._say(
            [reply_message(self._command, passive.PROGRESS, topology, progress=self._said)]
        )


def problem_type(answer: Answer) -> str | None:
    """The problem's type, for spans."""
    if answer.outcome not in passive.WITH_PROBLEM:
        return None
    body: Any = json.loads(answer.body)
    return body.get("type")


def _is_undo(command: Command) -> bool:
    return command.op is Op.COMPENSATION


def _unsupported(command: Command) -> Answer:
    return refusal(ProblemType.UNSUPPORTED, f"{command.type} has no {command.op} here")
