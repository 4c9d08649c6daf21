"""The moves that need no handler: answers read from rows, tombstones, refusals.

Everything here runs in the caller's transaction, with the rows locked. None means: no reply now,
the one at work will answer.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.codec import encode_command
from amends_contracts.messages import Command, Outcome, to_body
from amends_contracts.names import BODY_BYTES_MAX, Op, split_key
from amends_contracts.problems import Problem, ProblemType
from amends_participants.barrier import store
from amends_participants.barrier.rules import ATTEMPT_MAX, Answer, Move, Row
from amends_participants.outcomes import (
    FENCED,
    SUCCEEDED,
    refusal,
    unknown,
    with_retry_after,
)
from amends_participants.runtime.scope import Scope

RUNNING_RETRY_AFTER_S: Final = 1.0
EXPIRED_GRACE: Final = timedelta(seconds=5)
"""A deadline is of the orchestrator's clock, now is of ours: how far they may be apart before an
attempt is skipped that the orchestrator still waits for."""

CLOSED: Final = refusal(
    ProblemType.CLOSED, "a probe closed this attempt before it began", retryable=True
)
RUNNING: Final = with_retry_after(
    refusal(ProblemType.RUNNING, "the action is still at work", retryable=True),
    RUNNING_RETRY_AFTER_S,
)
KEY_REUSED: Final = unknown(
    Problem(type=ProblemType.KEY_REUSED, title="this key was used with another body")
)
FORGOTTEN: Final = unknown(
    Problem(type=ProblemType.FORGOTTEN, title="nothing is known of the action any more")
)
WITH_PROBLEM: Final = frozenset({Outcome.FAILED, Outcome.UNKNOWN, Outcome.FENCED})
"""Outcomes whose body is a problem."""
PROGRESS: Final = Answer(outcome=Outcome.PROGRESS)


async def answer_action(
    scope: Scope, tx: AsyncConnection, command: Command, row: Row, move: Move
) -> Answer | None:
    """The answer to an action that is not run."""
    match move:
        case Move.STORED:
            assert row.answer is not None
            return row.answer
        case Move.FENCED:
            return FENCED
        case Move.JOIN:
            await join(scope, tx, command)
            return None
        case Move.REFUSE_CLOSED:
            return CLOSED
        case Move.REFUSE_REUSED:
            return KEY_REUSED
        case _:
            raise AssertionError(f"no answer to an action: {move}")


async def answer_compensation(
    scope: Scope,
    tx: AsyncConnection,
    command: Command,
    own: Row | None,
    action: Row | None,
    move: Move,
) -> Answer | None:
    """The answer to a compensation that undoes nothing."""
    assert command.key is not None
    assert command.compensates is not None
    match move:
        case Move.STORED:
            assert own is not None
            assert own.answer is not None
            return own.answer
        case Move.JOIN:
            await join(scope, tx, command)
            return None
        case Move.REFUSE_RUNNING:
            await store.close_attempts(tx, command.compensates, ATTEMPT_MAX)
            return RUNNING
        case Move.REFUSE_FORGOTTEN:
            return FORGOTTEN
        case Move.UNDO_STORED:
            assert action is not None
            by = None if action.undo_key is None else await store.read_row(tx, action.undo_key)
            return SUCCEEDED if by is None or by.answer is None else by.answer
        case _:
            raise AssertionError(f"no answer to a compensation: {move}")


async def bury(
    scope: Scope, tx: AsyncConnection, command: Command, action: Row | None
) -> Answer | None:
    """Put the tombstone and the undo's own row; None: an action came first, look again."""
    assert command.key is not None
    assert command.compensates is not None
    if action is not None:
        await store.entomb(tx, action.key, command.key)
    elif not await store.bury(tx, command.compensates, scope.service, command.type, command.key):
        return None
    await record(scope, tx, command, SUCCEEDED)
    return SUCCEEDED


async def record(
    scope: Scope,
    tx: AsyncConnection,
    command: Command,
    answer: Answer,
    *,
    attempt: int | None = None,
) -> None:
    """Store what this command is answered, for itself and every duplicate."""
    assert command.key is not None
    await store.record(
        tx,
        command.key,
        scope.service,
        command.type,
        command.op,
        attempt=command.attempt if attempt is None else attempt,
        digest=command.digest if command.op is Op.ACTION else None,
        answer=answer,
    )


async def join(scope: Scope, tx: AsyncConnection, command: Command) -> None:
    """Let the running attempt answer this delivery, if it is of a later attempt."""
    assert command.key is not None
    message = encode_command(command, scope.topology)
    await store.join_intent(tx, command.key, command.attempt, message)


def is_forgotten(scope: Scope, command: Command) -> bool:
    """Whether the action's saga is older than this service keeps rows."""
    assert command.compensates is not None
    if scope.app.horizon is None:
        return False
    saga_id, _, _ = split_key(command.compensates)
    return scope.now() - saga_time(saga_id) > scope.app.horizon


def saga_time(saga_id: str) -> datetime:
    """When a saga was started: the time in its UUID v7."""
    milliseconds = UUID(saga_id).int >> 80
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def is_expired(scope: Scope, command: Command) -> bool:
    """Whether the orchestrator no longer waits for this attempt, for sure."""
    if command.deadline is None or not scope.settings.skip_expired:
        return False
    return command.deadline + EXPIRED_GRACE < scope.now()


EXPIRED: Final = refusal(
    ProblemType.EXPIRED, "this attempt's deadline had passed before it began", retryable=True
)


def probe_answer(effect: str, output: bytes | None = None) -> Answer:
    """`succeeded` of a probe: `{"effect": …, "output": …}`.

    An output that fits a body, but not with this around it, is left out as null: that the effect
    is there must not be lost in a reply that cannot travel.
    """
    if output is None:
        return Answer(outcome=Outcome.SUCCEEDED, body=to_body({"effect": effect}))
    body = b'{"effect":"' + effect.encode() + b'","output":' + output + b"}"
    if len(body) > BODY_BYTES_MAX:
        body = to_body({"effect": effect, "output": None})
    return replace(SUCCEEDED, body=body)
