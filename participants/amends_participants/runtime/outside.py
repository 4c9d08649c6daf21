"""Commands whose effect is outside the database: an intent is committed before the effect, the
answer and its reply after it.

`begin` decides by the rows and leaves an intent; from then on the delivery may be acknowledged.
`work` runs the handler; `settle` stores the answer and puts the reply into the outbox, unless
another instance has taken the intent over meanwhile. Revived intents take the same way.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import decode_command, encode_command
from amends_contracts.messages import Command, Outcome, Trace
from amends_contracts.names import Key, Op
from amends_contracts.problems import Problem, ProblemType
from amends_participants.app import Registration
from amends_participants.barrier import rules, store
from amends_participants.barrier.rules import ATTEMPT_MAX, Answer, Move, Revival, Row, State
from amends_participants.barrier.store import DeadIntent
from amends_participants.effects import Effect, effect_of
from amends_participants.outcomes import SUCCEEDED, refusal, unknown
from amends_participants.runtime import invoke, passive
from amends_participants.runtime.database import is_contention
from amends_participants.runtime.invoke import Ended
from amends_participants.runtime.replies import reply_message
from amends_participants.runtime.scope import Scope
from amends_participants.runtime.transactional import claimed, output_of

CRASHED: Final = unknown(
    Problem(type=ProblemType.CRASHED, title="the process ended while it was at work")
)
CRASHED_ABSENT: Final = refusal(
    ProblemType.CRASHED, "the process ended at work; a look found no effect", retryable=True
)
T = TypeVar("T")
Progress: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Job:
    """An effect to be brought about, or undone, under a committed intent."""

    registration: Registration
    command: Command
    look: bool = False
    """Look first whether it is there."""
    revived: Revival | None = None
    """Set when another process took it on."""
    begun: bool = False
    """That process had begun it."""

    @property
    def key(self) -> Key:
        """Key of the intent."""
        assert self.command.key is not None
        return self.command.key


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply in the outbox."""

    id: int
    answer: Answer
    message: AmqpMessage


async def begin(
    scope: Scope, registration: Registration, command: Command, *, started: bool
) -> Answer | Job | None:
    """Decide by the rows: an answer, a job under an intent, or None (the running one answers)."""
    decide = _begin_action if command.op is Op.ACTION else _begin_compensation
    return await scope.database.transact(
        lambda tx: decide(scope, tx, registration, command, started)
    )


async def work(
    scope: Scope, job: Job, *, trace: Trace | None = None, progress: Progress | None = None
) -> Reply | None:
    """Run the handler and settle; None: another instance has taken over."""
    effect = replace(effect_of(job.command, progress), begun_before=job.begun)
    try:
        if job.revived is Revival.GIVE_UP:
            answer = CRASHED
        elif job.revived is Revival.REFUSE:
            answer = passive.CLOSED
        elif job.command.op is Op.ACTION:
            answer = await _act(job, effect)
        else:
            answer = await _undo(scope, job, effect)
    except Ended as ended:
        answer = replace(ended.answer, usage=effect.usage)
    return await transact_surely(scope, lambda tx: _settle(scope, tx, job, answer, trace))


async def transact_surely(scope: Scope, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """A transaction that is repeated while others are in the way: what it stores is known."""
    while True:
        try:
            return await scope.database.transact(work)
        except DBAPIError as error:
            if not is_contention(error):
                raise
        await asyncio.sleep(random.uniform(0.01, 0.2))


async def start_waiting(scope: Scope, job: Job) -> Job | None:
    """A job that has waited for its turn begins now; None: it was taken over meanwhile."""

    async def start(tx: AsyncConnection) -> Job | None:
        if not await store.start_intent(tx, job.key, scope.instance):
            return None
        row = await store.read_row(tx, job.key)
        closed = row is not None and row.attempt_closed == ATTEMPT_MAX
        return replace(job, revived=Revival.REFUSE) if closed else job

    return await scope.database.transact(start)


async def revive(scope: Scope, active: Collection[Key], limit: int) -> list[Job]:
    """Take over what dead instances left, each with the way in which it is settled.

    Own intents that are not `active` count as dead too: their task ended without settling them.
    """

    async def take(tx: AsyncConnection) -> list[Job]:
        dead = await store.take_dead_intents(tx, scope.service, scope.instance, active, limit)
        return [job for d in dead if (job := await _revived(scope, tx, d)) is not None]

    return await scope.database.transact(take)


async def _revived(scope: Scope, tx: AsyncConnection, dead: DeadIntent) -> Job | None:
    command = decode_command(dead.message)
    find = scope.app.find_action if command.op is Op.ACTION else scope.app.find_undo
    registration = find(command.type)
    row = await store.read_row(tx, dead.key)
    if registration is None or row is None:  # a deployment took the handler away
        return None
    way = rules.on_death(
        registration.spec.effect,
        started=dead.started,
        takeovers=dead.takeovers,
        closed_for_good=row.attempt_closed == ATTEMPT_MAX,
    )
    if way is Revival.RUN and not dead.started:
        await store.start_intent(tx, dead.key, scope.instance)
    return Job(registration, command, look=way is Revival.LOOK, revived=way, begun=dead.started)


async def _begin_action(
    scope: Scope, tx: AsyncConnection, registration: Registration, command: Command, started: bool
) -> Answer | Job | None:
    assert command.key is not None
    row = await claimed(
        store.open_action(tx, command.key, scope.service, command.type, command.digest)
    )
    move = rules.on_action(
        row,
        attempt=command.attempt,
        digest=command.digest,
        effect=registration.spec.effect,
    )
    if move not in {Move.RUN, Move.LOOK_AND_RUN}:
        assert row is not None, "a new row is run"
        return await passive.answer_action(scope, tx, command, row, move)
    refused = _refused_before(scope, registration, command)
    if refused is not None:
        await passive.record(scope, tx, command, refused)
        return refused
    if row is not None:
        await store.reopen_action(tx, command.key, command.digest)
    await _put_intent(scope, tx, command, started)
    return Job(registration, command, look=move is Move.LOOK_AND_RUN)


def _refused_before(scope: Scope, registration: Registration, command: Command) -> Answer | None:
    """Why an action fails before anything is done: too late, or with a bad input."""
    if passive.is_expired(scope, command):
        return passive.EXPIRED
    try:
        invoke.parse(registration.spec.model, command.json())
    except Ended as ended:
        return ended.answer
    return None


async def _begin_compensation(
    scope: Scope, tx: AsyncConnection, registration: Registration, command: Command, started: bool
) -> Answer | Job | None:
    assert command.key is not None
    assert command.compensates is not None
    while True:
        rows = await claimed(store.lock_rows(tx, [command.compensates, command.key]))
        own, action = rows.get(command.key), rows.get(command.compensates)
        move = rules.on_compensation(
            own,
            action,
            key=command.key,
            attempt=command.attempt,
            action_outcome=command.action_outcome,
            effect=registration.spec.effect,
            forgotten=passive.is_forgotten(scope, command),
        )
        match move:
            case Move.UNDO | Move.LOOK_AND_UNDO:
                assert action is not None
                await store.open_compensation(tx, command.key, scope.service, command.type)
                await store.set_undo(tx, action.key, action.state, command.key)
                await _put_intent(scope, tx, command, started)
                return Job(registration, command, look=move is Move.LOOK_AND_UNDO)
            case Move.BURY:
                buried = await claimed(passive.bury(scope, tx, command, action))
                if buried is not None:
                    return buried
            case _:
                return await passive.answer_compensation(scope, tx, command, own, action, move)


async def _put_intent(scope: Scope, tx: AsyncConnection, command: Command, started: bool) -> None:
    assert command.key is not None
    message = encode_command(command, scope.topology)
    await store.put_intent(
        tx, command.key, scope.service, scope.instance, command.attempt, message, started=started
    )


async def _act(job: Job, effect: Effect) -> Answer:
    if job.look:
        found = await invoke.look(job.registration, job.command.json(), effect)
        if found is not None:
            return found
        if job.revived is Revival.LOOK:
            return CRASHED_ABSENT
    return await invoke.act(job.registration, job.command, effect)


async def _undo(scope: Scope, job: Job, effect: Effect) -> Answer:
    """Undo what is there; the recorded output comes first, then what a look finds.

    A body that the plan mapped does not hold the action's input, so that nobody can look: the
    handler is called without output then, and finds by the key whether there is anything (still).
    """
    assert job.command.compensates is not None
    key = job.command.compensates
    action = await scope.database.transact(lambda tx: store.read_row(tx, key))
    output = output_of(action)
    if job.look and job.registration.probe is not None:
        given = invoke.default_form(job.command.json())
        if "input" not in given:
            return await invoke.undo(job.registration, job.command, effect, None)
        look_at = replace(effect, key=key)
        found = await invoke.look(job.registration, given["input"], look_at)
        if found is None:
            return SUCCEEDED
        output = json.loads(found.body)
    return await invoke.undo(job.registration, job.command, effect, output)


async def _settle(
    scope: Scope, tx: AsyncConnection, job: Job, answer: Answer, trace: Trace | None
) -> Reply | None:
    """Store the answer for every attempt so far, and the reply to the latest delivery."""
    command = job.command
    keys = [job.key] if command.compensates is None else [command.compensates, job.key]
    rows = await store.lock_rows(tx, keys)
    taken = await store.take_own_intent(tx, job.key, scope.instance)
    if taken is None:
        return None
    attempt, latest = taken
    await passive.record(scope, tx, command, answer, attempt=attempt)
    if command.op is Op.COMPENSATION:
        await _note_undo(tx, rows, command, answer)
    message = reply_message(decode_command(latest), answer, scope.topology, trace=trace)
    number = await store.put_reply(tx, scope.service, scope.instance, message)
    return Reply(number, answer, message)


async def _note_undo(
    tx: AsyncConnection, rows: dict[Key, Row], command: Command, answer: Answer
) -> None:
    """The action's row says undone, or that nobody is at it any more."""
    assert command.compensates is not None
    action = rows.get(command.compensates)
    if action is None:
        return
    match answer.outcome:
        case Outcome.SUCCEEDED:
            await store.set_undo(tx, action.key, State.UNDONE, command.key)
        case Outcome.FAILED:
            await store.set_undo(tx, action.key, action.state, None)
        case _:
            return
