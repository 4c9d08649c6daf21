"""The barrier's statements with their types. The caller opens, commits and rolls back.

Nothing is decided here (rules.py does) and nothing is retried here (the runtime does). The SQL is
in queries.sql, the data model in schema.sql.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import dump_messages, load_messages
from amends_contracts.messages import Command, Outcome, Usage
from amends_contracts.names import Key, Op
from amends_participants.barrier.rules import ATTEMPT_MAX, Answer, Row, State

_HERE: Final = Path(__file__).parent
SCHEMA: Final = (_HERE / "schema.sql").read_text(encoding="utf-8")


def _load(text: str) -> dict[str, str]:
    """The statements of queries.sql by name, without their comments."""
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    bodies = (re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip() for body in parts[2::2])
    return dict(zip(parts[1::2], bodies, strict=True))


SQL: Final = _load((_HERE / "queries.sql").read_text(encoding="utf-8"))


async def create_tables(conn: AsyncConnection) -> None:
    """Create the participant's tables where they are not there yet; the caller commits.

    An advisory lock lets several instances do this at the same time.
    """
    await conn.exec_driver_sql("SELECT pg_advisory_xact_lock(0x616d656e6473)")
    text = re.sub(r"^\s*--.*$", "", SCHEMA, flags=re.MULTILINE)
    for statement in filter(str.strip, text.split(";")):
        await conn.exec_driver_sql(statement)


async def tables_there(conn: AsyncConnection) -> bool:
    """Whether `create_tables` (or a migration of your own) has been run."""
    return bool((await _run(conn, "tables_there"))[0][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadIntent:
    """An attempt whose instance is gone, taken over."""

    key: Key
    started: bool
    """False: it had not begun, so that nothing is in doubt."""
    takeovers: int
    """How many instances have died at it."""
    message: AmqpMessage


@dataclass(frozen=True, slots=True)
class Held:
    """One effect of a saga, for `ledger`."""

    key: Key
    command: str
    state: State
    body: bytes | None


# --- Rows ----------------------------------------------------------------------------------------


async def open_action(
    conn: AsyncConnection, key: Key, service: str, command: str, digest: str | None
) -> Row | None:
    """Put a new action's row (None comes back), or lock the one that is there."""
    while True:
        if await _run(conn, "open_action", key, service, command, digest):
            return None
        rows = await lock_rows(conn, [key])
        if key in rows:  # else it was purged in between
            return rows[key]


async def known_keys(conn: AsyncConnection, keys: Sequence[Key]) -> set[Key]:
    """Which of these have a row."""
    return {Key(key) for (key,) in await _run(conn, "known_keys", list(keys))}


async def record_actions(
    conn: AsyncConnection, service: str, done: Sequence[tuple[Command, Answer]]
) -> bool:
    """Store the answers of several actions without a row; False if any has one by now."""
    columns = [_recorded(command, answer) for command, answer in done]
    keys, types, states, attempts, *rest = zip(*columns, strict=True)
    digests = [command.digest for command, _ in done]
    made = await _run(
        conn, "record_actions", service, keys, types, states, attempts, digests, *rest
    )
    return len(made) == len(done)


async def record_undos(
    conn: AsyncConnection, service: str, done: Sequence[tuple[Command, Answer]]
) -> bool:
    """Store the answers of several compensations, and which actions they have undone.

    Their actions' rows are there, and locked. False if another delivery was answered meanwhile.
    """
    rows = [(*_recorded(command, answer), None) for command, answer in done]
    rows += [
        (command.compensates, command.type, State.UNDONE.value, 0, *_UNDONE, command.key)
        for command, answer in done
        if answer.outcome is Outcome.SUCCEEDED
    ]
    made = await _run(conn, "record_undos", service, *zip(*rows, strict=True))
    return len(made) == len(rows)


_UNDONE: Final = (Outcome.SUCCEEDED.value, b"", None, None)
"""What stands for an answer in the row of an action that is there, and keeps its own."""


def _recorded(command: Command, answer: Answer) -> tuple[Any, ...]:
    """Key, type, state, attempt, outcome, body, retry_after_s, usage."""
    state, outcome, usage = state_of(answer).value, answer.outcome.value, _usage_text(answer)
    told = (outcome, answer.body, answer.retry_after_s, usage)
    return (command.key, command.type, state, command.attempt, *told)


async def lock_rows(conn: AsyncConnection, keys: Sequence[Key]) -> dict[Key, Row]:
    """Lock and read; keys without a row are missing."""
    return {row.key: row for row in map(_row, await _run(conn, "lock_rows", sorted(keys)))}


async def lock_free_rows(conn: AsyncConnection, keys: Sequence[Key]) -> dict[Key, Row]:
    """The same without waiting; keys whose row is locked are missing, too."""
    return {row.key: row for row in map(_row, await _run(conn, "lock_free_rows", sorted(keys)))}


async def read_row(conn: AsyncConnection, key: Key) -> Row | None:
    """Read without a lock."""
    return next(map(_row, await _run(conn, "read_row", key)), None)


async def bury(conn: AsyncConnection, key: Key, service: str, command: str, undo: Key) -> bool:
    """Put the tombstone of an action that never arrived; False if a row was there first."""
    return bool(await _run(conn, "bury", key, service, command, ATTEMPT_MAX, undo))


async def close_absent(
    conn: AsyncConnection, key: Key, service: str, command: str, attempt: int
) -> bool:
    """Close the attempts of an action that never arrived; False if a row was there first."""
    return bool(await _run(conn, "close_absent", key, service, command, attempt))


async def reopen_action(conn: AsyncConnection, key: Key, digest: str | None) -> None:
    """A further attempt begins."""
    await _run(conn, "reopen_action", key, digest)


async def close_attempts(conn: AsyncConnection, key: Key, attempt: int) -> None:
    """No attempt up to this one starts (again)."""
    await _run(conn, "close_attempts", key, attempt)


async def entomb(conn: AsyncConnection, key: Key, undo: Key) -> None:
    """Turn the row of an action without effect into a tombstone."""
    await _run(conn, "entomb", key, ATTEMPT_MAX, undo)


async def set_undo(conn: AsyncConnection, key: Key, state: State, undo: Key | None) -> None:
    """Say which compensation is at an action, or has undone it."""
    await _run(conn, "set_undo", key, state.value, undo)


async def open_compensation(conn: AsyncConnection, key: Key, service: str, command: str) -> None:
    """A compensation's own row, running."""
    await _run(conn, "open_compensation", key, service, command)


async def record(
    conn: AsyncConnection,
    key: Key,
    service: str,
    command: str,
    op: Op,
    *,
    attempt: int,
    digest: str | None,
    answer: Answer,
) -> None:
    """Store an answer; from here on it is what every delivery up to this attempt is told."""
    await _run(
        conn,
        "record",
        key,
        service,
        command,
        op.value,
        state_of(answer).value,
        attempt,
        digest,
        answer.outcome.value,
        answer.body,
        answer.retry_after_s,
        _usage_text(answer),
    )


def _usage_text(answer: Answer) -> str | None:
    return None if answer.usage is None else json.dumps(asdict(answer.usage))


def state_of(answer: Answer) -> State:
    """The state of a row that holds this answer."""
    match answer.outcome:
        case Outcome.SUCCEEDED:
            return State.SUCCEEDED
        case Outcome.UNKNOWN:
            return State.UNKNOWN
        case Outcome.FAILED:
            return State.FAILED_RETRYABLE if answer.retryable else State.FAILED
        case Outcome.FENCED | Outcome.PROGRESS:
            raise AssertionError(f"never stored: {answer.outcome}")


# --- Sagas ---------------------------------------------------------------------------------------


async def effects_of_saga(conn: AsyncConnection, saga_id: str, service: str) -> list[Held]:
    """The actions of a saga that took effect, or may have."""
    rows = await _run(conn, "effects_of_saga", saga_id, service)
    return [Held(Key(key), command, State(state), body) for key, command, state, body in rows]


async def forget(conn: AsyncConnection, sagas: Sequence[str], service: str) -> None:
    """These sagas are over: their keys may go in seven days."""
    for saga_id in sagas:
        await _run(conn, "forget", saga_id, service)


async def purge(conn: AsyncConnection, service: str, limit: int) -> None:
    """Delete what was forgotten seven days ago; leases and marks long over."""
    await _run(conn, "purge", service, limit)
    await _run(conn, "purge_instances")
    await _run(conn, "purge_started")


# --- Envelopes -----------------------------------------------------------------------------------


async def mark_started(conn: AsyncConnection, key: Key, service: str) -> int:
    """A command of an envelope is begun by itself: how often this has happened without an end."""
    return int((await _run(conn, "mark_started", key, service))[0][0])


async def clear_started(conn: AsyncConnection, key: Key) -> None:
    """It has come to an end."""
    await _run(conn, "clear_started", key)


# --- Intents, leases, replies --------------------------------------------------------------------


async def renew_lease(conn: AsyncConnection, instance: UUID, service: str, lease_s: float) -> None:
    """This instance lives."""
    await _run(conn, "renew_lease", instance, service, lease_s)


async def end_lease(conn: AsyncConnection, instance: UUID) -> None:
    """This instance stops."""
    await _run(conn, "end_lease", instance)


async def put_intent(
    conn: AsyncConnection,
    key: Key,
    service: str,
    instance: UUID,
    attempt: int,
    message: AmqpMessage,
    *,
    started: bool,
) -> None:
    """Before the effect."""
    body = dump_messages([message])
    await _run(conn, "put_intent", key, service, instance, attempt, started, body)


async def start_intent(conn: AsyncConnection, key: Key, instance: UUID) -> bool:
    """A waiting attempt begins; False if another instance has taken it."""
    return bool(await _run(conn, "start_intent", key, instance))


async def join_intent(conn: AsyncConnection, key: Key, attempt: int, message: AmqpMessage) -> None:
    """The reply will answer this delivery, if it is of a later attempt."""
    await _run(conn, "join_intent", key, attempt, dump_messages([message]))


async def disown_intent(conn: AsyncConnection, key: Key, instance: UUID) -> None:
    """Let an intent look as if its process had died."""
    await _run(conn, "disown_intent", key, instance)


async def take_own_intent(
    conn: AsyncConnection, key: Key, instance: UUID
) -> tuple[int, AmqpMessage] | None:
    """End an intent: its latest attempt and delivery, or None if it is no longer ours."""
    rows = await _run(conn, "take_own_intent", key, instance)
    return (rows[0][0], load_messages(rows[0][1])[0]) if rows else None


async def take_dead_intents(
    conn: AsyncConnection, service: str, instance: UUID, active: Collection[Key], limit: int
) -> list[DeadIntent]:
    """Take over what dead instances left, and what this one no longer works on."""
    rows = await _run(conn, "take_dead_intents", service, instance, limit, list(active))
    return [
        DeadIntent(key=Key(key), started=started, takeovers=n, message=load_messages(body)[0])
        for key, started, n, body in rows
    ]


async def put_reply(
    conn: AsyncConnection, service: str, instance: UUID, message: AmqpMessage
) -> int:
    """Keep a reply until it is confirmed; its id."""
    rows = await _run(conn, "put_reply", service, instance, dump_messages([message]))
    return int(rows[0][0])


async def delete_replies(conn: AsyncConnection, ids: Sequence[int]) -> None:
    """These are settled."""
    await _run(conn, "delete_replies", list(ids))


async def take_replies(
    conn: AsyncConnection, service: str, instance: UUID, *, own_after_s: float, limit: int
) -> list[tuple[int, AmqpMessage]]:
    """Replies that nobody has confirmed yet and that are ours to publish."""
    rows = await _run(conn, "take_replies", service, instance, own_after_s, limit)
    return [(int(n), load_messages(body)[0]) for n, body in rows]


async def _run(conn: AsyncConnection, name: str, *values: object) -> Sequence[Any]:
    """Run a named statement on the driver's own parameters ($1, $2, …)."""
    result = await conn.exec_driver_sql(SQL[name], values)
    return result.fetchall() if result.returns_rows else ()


def _row(values: Sequence[Any]) -> Row:
    key, command, state, closed, digest, undo, outcome, body, retry_after_s, usage = values
    answer = None
    if outcome is not None:
        answer = Answer(
            outcome=Outcome(outcome),
            body=bytes(body),
            retryable=state == State.FAILED_RETRYABLE,
            retry_after_s=retry_after_s,
            usage=None if usage is None else Usage(**json.loads(usage)),
        )
    return Row(
        key=Key(key),
        command=command,
        state=State(state),
        attempt_closed=closed,
        digest=digest,
        undo_key=None if undo is None else Key(undo),
        answer=answer,
    )
