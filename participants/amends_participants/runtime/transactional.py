"""Commands whose effect is in the participant's own database: row, effect and stored reply in one
transaction.

A handler that does not succeed rolls all of it back; its failure is then recorded in a transaction
of its own, by the same rules, since somebody may have come in between.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.messages import Command, Effect, Json, Outcome
from amends_participants.app import Registration
from amends_participants.barrier import rules, store
from amends_participants.barrier.rules import Answer, Move, Row, State
from amends_participants.effects import effect_of
from amends_participants.outcomes import crashed
from amends_participants.runtime import invoke, passive
from amends_participants.runtime.database import is_contention
from amends_participants.runtime.invoke import Ended
from amends_participants.runtime.scope import Scope

CONTENTION_ATTEMPTS_MAX: Final = 5

T = TypeVar("T")
Produce = Callable[[AsyncConnection, Row | None], Awaitable[Answer]]
"""Makes the effect in the transaction; given the action's row, if there is one."""
AttemptIn = Callable[[AsyncConnection, Produce], Awaitable[Answer | None]]


class Busy(Exception):
    """The barrier row is locked by another delivery of the same key."""


async def perform_action(
    scope: Scope, registration: Registration, command: Command
) -> Answer | None:
    """Answer an action, running its handler if it is its turn; None: another one will answer."""

    made = False

    async def produce(tx: AsyncConnection, _: Row | None) -> Answer:
        nonlocal made
        if passive.is_expired(scope, command):
            raise Ended(passive.EXPIRED)
        scope.drilling.before(command)
        answer = await invoke.act(registration, command, effect_of(command), tx)
        made = True
        return answer

    answer = await _until_settled(
        scope, lambda tx, make: action_in(scope, tx, command, make), produce, passive.PROGRESS
    )
    if made:
        scope.drilling.after(command)
    return answer


async def perform_compensation(
    scope: Scope, registration: Registration, command: Command
) -> Answer | None:
    """Answer a compensation, undoing what is there."""

    made = False

    async def produce(tx: AsyncConnection, action: Row | None) -> Answer:
        nonlocal made
        effect = effect_of(command)
        answer = await invoke.undo(registration, command, effect, output_of(action), tx)
        scope.drilling.at_the_end(command)
        made = True
        return answer

    answer = await _until_settled(
        scope,
        lambda tx, make: compensation_in(scope, tx, command, make),
        produce,
        passive.RUNNING,
    )
    if made:
        scope.drilling.after(command)
    return answer


async def refuse(scope: Scope, command: Command, answer: Answer) -> Answer | None:
    """Answer `failed` to an action without running anything, and record that it failed.

    Where an earlier attempt is in doubt it stays so: `failed` would speak for that one, too.
    """

    async def produce(_: AsyncConnection, row: Row | None) -> Answer:
        if row is not None and row.state is State.UNKNOWN and row.answer is not None:
            return row.answer
        return answer

    return await _until_settled(
        scope, lambda tx, make: action_in(scope, tx, command, make), produce, passive.PROGRESS
    )


async def action_in(
    scope: Scope, tx: AsyncConnection, command: Command, produce: Produce
) -> Answer | None:
    """One action in one transaction: its row decides whether `produce` is called."""
    assert command.key is not None
    row = await claimed(
        store.open_action(tx, command.key, scope.service, command.type, command.digest)
    )
    move = rules.on_action(
        row, attempt=command.attempt, digest=command.digest, effect=Effect.TRANSACTIONAL
    )
    if move is Move.RUN:
        answer = await produce(tx, row)
        await passive.record(scope, tx, command, answer)
        return answer
    assert row is not None, "a new row is run"
    return await passive.answer_action(scope, tx, command, row, move)


async def compensation_in(
    scope: Scope, tx: AsyncConnection, command: Command, produce: Produce
) -> Answer | None:
    """One compensation in one transaction: the action's row decides what is undone."""
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
            effect=Effect.TRANSACTIONAL,
            forgotten=passive.is_forgotten(scope, command),
        )
        match move:
            case Move.UNDO | Move.LOOK_AND_UNDO:
                answer = await produce(tx, action)
                await passive.record(scope, tx, command, answer)
                if answer.outcome is Outcome.SUCCEEDED:
                    await store.set_undo(tx, command.compensates, State.UNDONE, command.key)
                return answer
            case Move.BURY:
                buried = await claimed(passive.bury(scope, tx, command, action))
                if buried is not None:
                    return buried
            case _:
                return await passive.answer_compensation(scope, tx, command, own, action, move)


def output_of(action: Row | None) -> Json | None:
    """The recorded output of an action that succeeded."""
    answer = None if action is None else action.answer
    if answer is None or answer.outcome is not Outcome.SUCCEEDED:
        return None
    return json.loads(answer.body)


async def claimed(call: Awaitable[T]) -> T:
    """Await a statement that locks barrier rows; Busy if somebody else holds them."""
    try:
        return await call
    except DBAPIError as error:
        if is_contention(error):
            raise Busy from error
        raise


async def _until_settled(
    scope: Scope, attempt_in: AttemptIn, produce: Produce, busy: Answer
) -> Answer | None:
    """Settle a command; a row that stays locked is answered `busy`, an action's after a while."""
    clock = asyncio.get_running_loop().time
    patience_s = scope.settings.busy_s if busy is passive.PROGRESS else 0.0
    give_up_at = clock() + patience_s
    while True:
        try:
            return await _produce_or_record(scope, attempt_in, produce)
        except Busy:
            if clock() >= give_up_at:
                return busy
            await _pause()


async def _produce_or_record(
    scope: Scope, attempt_in: AttemptIn, produce: Produce
) -> Answer | None:
    """Make the effect; or record, by the same rules, why it was not made."""
    failure = passive.RUNNING
    for n in range(1, CONTENTION_ATTEMPTS_MAX + 1):
        try:
            return await scope.database.transact(lambda tx: attempt_in(tx, produce))
        except Ended as ended:
            failure = ended.answer
            if not ended.worth_repeating:
                break
        except DBAPIError as error:  # at the commit
            if not is_contention(error):
                raise
            failure = crashed(error, rolled_back=True)
        if n < CONTENTION_ATTEMPTS_MAX:
            await _pause()

    async def fail(_: AsyncConnection, __: Row | None) -> Answer:
        return failure

    return await scope.database.transact(lambda tx: attempt_in(tx, fail))


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.01, 0.2))
