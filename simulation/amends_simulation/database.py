"""A participant's database in memory: the statements of the SDK's barrier, by their names.

A transaction is all or nothing, and one at a time: who comes meanwhile waits, as for a row's lock.
The table of statements is complete by a test.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from amends_contracts.names import Key
from amends_participants.barrier.store import SQL
from amends_participants.runtime.database import LOCK_TIMEOUT, Database
from amends_simulation.schedule import Point
from amends_simulation.world import Process, World

T = TypeVar("T")
TAKE: Final = "take"
GIVE_BACK: Final = "give back"
"""What handlers say to their own tables, beside the barrier's statements."""
_FOR_GOOD: Final = 2**31 - 1


class Locked(Exception):
    """What the driver says when a row stays locked."""

    sqlstate = LOCK_TIMEOUT


@dataclass(slots=True)
class _Barrier:
    key: str
    service: str
    command: str
    op: str
    state: str
    attempt_closed: int = 0
    digest: str | None = None
    undo_key: str | None = None
    outcome: str | None = None
    body: bytes | None = None
    retry_after_s: float | None = None
    usage: str | None = None

    def columns(self) -> tuple[Any, ...]:
        return (
            *(self.key, self.command, self.state, self.attempt_closed, self.digest),
            *(self.undo_key, self.outcome, self.body, self.retry_after_s, self.usage),
        )


@dataclass(slots=True)
class _Intent:
    instance: Any
    attempt: int
    started: bool
    command: bytes
    made_at: float
    takeovers: int = 0


@dataclass(slots=True)
class Tables:
    """The tables of one service, shared by its instances."""

    world: World
    barrier: dict[str, _Barrier] = field(default_factory=dict[str, _Barrier])
    intents: dict[str, _Intent] = field(default_factory=dict[str, _Intent])
    started: dict[str, int] = field(default_factory=dict[str, int])
    replies: dict[int, tuple[Any, bytes, float]] = field(
        default_factory=dict[int, tuple[Any, bytes, float]]
    )
    alive: dict[Any, Process] = field(default_factory=dict[Any, Process])
    """Instances with a lease."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    replies_made: int = 0


Rows: TypeAlias = Sequence[Any]


class _Result:
    def __init__(self, rows: Rows) -> None:
        self.returns_rows = True
        self._rows = rows

    def fetchall(self) -> Rows:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None


class Connection:
    """One transaction: statements, and how to take them back."""

    def __init__(self, tables: Tables, *, locked: bool) -> None:
        self.tables = tables
        self._locked = locked
        self._undo: list[Callable[[], object]] = []
        self.effects: list[Callable[[], object]] = []
        """What happens to the world when this is committed."""

    async def exec_driver_sql(self, statement: str, values: Sequence[Any] = ()) -> _Result:
        """Run a statement of the SDK, or of a handler."""
        if self._locked:
            self._locked = False
            raise DBAPIError(statement, None, Locked())
        return _Result(STATEMENTS[statement](self, *values))

    async def get_raw_connection(self) -> "_Raw":
        """What the driver gives."""
        return _Raw(_Driver(self))

    def mark(self) -> tuple[int, int]:
        """How far the transaction is: a savepoint."""
        return len(self._undo), len(self.effects)

    def roll_back(self, to: tuple[int, int] = (0, 0)) -> None:
        """As if nothing had been done after this mark."""
        statements, effects = to
        for undo in reversed(self._undo[statements:]):
            undo()
        del self._undo[statements:], self.effects[effects:]

    def put(self, table: dict[Any, Any], key: Any, row: Any) -> None:
        """Write a row, so that it can be taken back."""
        if key in table:
            old = table[key]
            self._undo.append(lambda: table.__setitem__(key, old))
        else:
            self._undo.append(lambda: table.pop(key, None))
        table[key] = row

    def delete(self, table: dict[Any, Any], key: Any) -> None:
        """Delete a row, so that it can be taken back."""
        if key in table:
            old = table.pop(key)
            self._undo.append(lambda: table.__setitem__(key, old))

    def change(self, key: str, **columns: Any) -> None:
        """Change columns of a barrier row that is there."""
        row = self.tables.barrier.get(key)
        if row is not None:
            self.put(self.tables.barrier, key, _changed(row, columns))


@dataclass(slots=True)
class _Driver:
    """The driver's connection, as far as the SDK puts savepoints on it."""

    connection: Connection
    mark: tuple[int, int] = (0, 0)

    async def execute(self, statement: str) -> None:
        """One savepoint, which moves along, or back to it."""
        if statement.startswith("ROLLBACK TO SAVEPOINT"):
            self.connection.roll_back(self.mark)
        else:
            assert "SAVEPOINT" in statement, statement
            self.mark = self.connection.mark()


@dataclass(frozen=True, slots=True)
class _Raw:
    driver_connection: _Driver


def _changed(row: _Barrier, columns: Mapping[str, Any]) -> _Barrier:
    new = _Barrier(
        row.key,
        row.service,
        row.command,
        row.op,
        row.state,
        row.attempt_closed,
        row.digest,
        row.undo_key,
        row.outcome,
        row.body,
        row.retry_after_s,
        row.usage,
    )
    for name, value in columns.items():
        setattr(new, name, value)
    return new


NO_ANSWER: Final[Mapping[str, Any]] = {
    "outcome": None,
    "body": None,
    "retry_after_s": None,
    "usage": None,
}


class MemoryDatabase(Database):
    """The SDK's `Database` over tables in memory; its retries are the SDK's own."""

    def __init__(self, tables: Tables, process: Process) -> None:
        super().__init__(cast(AsyncEngine, None))
        self._tables = tables
        self._process = process

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        process, world = self._process, self._tables.world
        async with self._tables.lock:
            process.check()
            fault = world.faults.at(Point.SAVE)
            connection = Connection(self._tables, locked=fault == "locked")
            try:
                result = await work(cast(AsyncConnection, connection))
                process.check()
                if fault == "crash before":
                    process.die()
                if fault == "lost before":
                    raise ConnectionResetError("the server is gone")
            except BaseException:
                connection.roll_back()
                raise
            for effect in connection.effects:
                effect()
            if fault == "crash after":
                process.die()
            if fault == "lost after":
                raise ConnectionResetError("the server is gone")
            return result


# --- the statements ------------------------------------------------------------------------------


def _open_action(c: Connection, key: str, service: str, command: str, digest: str | None) -> Rows:
    if key in c.tables.barrier:
        return ()
    row = _Barrier(key, service, command, "action", "running", digest=digest)
    c.put(c.tables.barrier, key, row)
    return ((key,),)


def _known_keys(c: Connection, keys: list[str]) -> Rows:
    return [(key,) for key in keys if key in c.tables.barrier]


def _record_actions(c: Connection, service: str, *columns: list[Any]) -> Rows:
    """Rows that are new; keys, types, states, attempts, digests, and what was answered."""
    made: list[Any] = []
    for key, command, state, attempt, digest, *told in sorted(zip(*columns, strict=True)):
        if key not in c.tables.barrier:
            row = _Barrier(key, service, command, "action", state, attempt, digest, None, *told)
            c.put(c.tables.barrier, key, row)
            made.append((key,))
    return made


def _record_undos(c: Connection, service: str, *columns: list[Any]) -> Rows:
    """Compensations with their answers, and actions with the key of what has undone them."""
    made: list[Any] = []
    for key, command, state, attempt, *told, undo in sorted(zip(*columns, strict=True)):
        row = c.tables.barrier.get(key)
        if undo is not None:
            assert row is not None, f"{key} is undone and not there"
            c.change(key, state=state, undo_key=undo)
        elif row is None or row.attempt_closed < attempt:
            new = _Barrier(key, service, command, "compensation", state, attempt, None, None, *told)
            c.put(c.tables.barrier, key, new)
        else:
            continue
        made.append((key,))
    return made


def _bury(c: Connection, key: str, service: str, command: str, closed: int, undo: str) -> Rows:
    if key in c.tables.barrier:
        return ()
    row = _Barrier(key, service, command, "action", "tombstone", closed, undo_key=undo)
    c.put(c.tables.barrier, key, row)
    c.effects.append(lambda: c.tables.world.bury(Key(key)))
    return ((key,),)


def _close_absent(c: Connection, key: str, service: str, command: str, attempt: int) -> Rows:
    if key in c.tables.barrier:
        return ()
    c.put(c.tables.barrier, key, _Barrier(key, service, command, "action", "closed", attempt))
    return ((key,),)


def _lock_rows(c: Connection, keys: list[str]) -> Rows:
    there = c.tables.barrier
    return [there[key].columns() for key in sorted(keys) if key in there]


def _read_row(c: Connection, key: str) -> Rows:
    return _lock_rows(c, [key])


def _reopen_action(c: Connection, key: str, digest: str | None) -> Rows:
    row = c.tables.barrier.get(key)
    known = None if row is None else row.digest
    c.change(key, state="running", digest=known or digest, **NO_ANSWER)
    return ()


def _close_attempts(c: Connection, key: str, attempt: int) -> Rows:
    row = c.tables.barrier.get(key)
    if row is not None:
        c.change(key, attempt_closed=max(row.attempt_closed, attempt))
    return ()


def _entomb(c: Connection, key: str, closed: int, undo: str) -> Rows:
    c.change(key, state="tombstone", attempt_closed=closed, undo_key=undo, **NO_ANSWER)
    c.effects.append(lambda: c.tables.world.bury(Key(key)))
    return ()


def _set_undo(c: Connection, key: str, state: str, undo: str | None) -> Rows:
    c.change(key, state=state, undo_key=undo)
    return ()


def _record(
    c: Connection,
    key: str,
    service: str,
    command: str,
    op: str,
    state: str,
    attempt: int,
    digest: str | None,
    outcome: str,
    body: bytes,
    retry_after_s: float | None,
    usage: str | None,
) -> Rows:
    row = c.tables.barrier.get(key) or _Barrier(key, service, command, op, state)
    said = {"state": state, "outcome": outcome, "body": body, "retry_after_s": retry_after_s}
    closed = max(row.attempt_closed, attempt)
    more = {"attempt_closed": closed, "digest": row.digest or digest, "usage": usage}
    c.put(c.tables.barrier, key, _changed(row, said | more))
    return ()


def _open_compensation(c: Connection, key: str, service: str, command: str) -> Rows:
    row = c.tables.barrier.get(key) or _Barrier(key, service, command, "compensation", "running")
    c.put(c.tables.barrier, key, _changed(row, {"state": "running", **NO_ANSWER}))
    return ()


def _put_intent(
    c: Connection, key: str, _: str, instance: Any, attempt: int, started: bool, command: bytes
) -> Rows:
    assert key not in c.tables.intents, f"two intents of {key}"
    made_at = c.tables.world.loop.time()
    c.put(c.tables.intents, key, _Intent(instance, attempt, started, command, made_at))
    return ()


def _again(intent: _Intent, **columns: Any) -> _Intent:
    new = _Intent(
        intent.instance,
        intent.attempt,
        intent.started,
        intent.command,
        intent.made_at,
        intent.takeovers,
    )
    for name, value in columns.items():
        setattr(new, name, value)
    return new


def _start_intent(c: Connection, key: str, instance: Any) -> Rows:
    intent = c.tables.intents.get(key)
    if intent is None or intent.instance != instance:
        return ()
    c.put(c.tables.intents, key, _again(intent, started=True))
    return ((key,),)


def _join_intent(c: Connection, key: str, attempt: int, command: bytes) -> Rows:
    intent = c.tables.intents.get(key)
    if intent is not None and intent.attempt < attempt:
        c.put(c.tables.intents, key, _again(intent, attempt=attempt, command=command))
    return ()


def _take_own_intent(c: Connection, key: str, instance: Any) -> Rows:
    intent = c.tables.intents.get(key)
    if intent is None or intent.instance != instance:
        return ()
    c.delete(c.tables.intents, key)
    return ((intent.attempt, intent.command),)


def _take_dead_intents(c: Connection, _: str, instance: Any, limit: int, active: list[str]) -> Rows:
    tables, found = c.tables, list[Any]()
    for key, intent in list(tables.intents.items()):
        own = intent.instance == instance
        idle = key not in active and intent.made_at < tables.world.loop.time() - 60
        if len(found) < limit and (idle if own else intent.instance not in tables.alive):
            counted = intent.takeovers + (intent.started and not own)
            c.put(tables.intents, key, _again(intent, instance=instance, takeovers=counted))
            found.append((key, intent.started, counted, intent.command))
    return found


def _put_reply(c: Connection, _: str, instance: Any, message: bytes) -> Rows:
    c.tables.replies_made += 1
    number = c.tables.replies_made
    c.put(c.tables.replies, number, (instance, message, c.tables.world.loop.time()))
    return ((number,),)


def _delete_replies(c: Connection, ids: list[int]) -> Rows:
    for number in ids:
        c.delete(c.tables.replies, number)
    return ()


def _take_replies(c: Connection, _: str, instance: Any, own_after_s: float, limit: int) -> Rows:
    tables, found = c.tables, list[Any]()
    old = tables.world.loop.time() - own_after_s
    for number, (owner, message, made_at) in list(tables.replies.items()):
        free = made_at < old if owner == instance else owner not in tables.alive
        if free and len(found) < limit:
            c.put(tables.replies, number, (instance, message, made_at))
            found.append((number, message))
    return found


def _mark_started(c: Connection, key: str, _: str) -> Rows:
    c.put(c.tables.started, key, c.tables.started.get(key, 0) + 1)
    return ((c.tables.started[key],),)


def _clear_started(c: Connection, key: str) -> Rows:
    c.delete(c.tables.started, key)
    return ()


def _nothing(_: Connection, *__: Any) -> Rows:
    return ()


def _take(c: Connection, key: str, tenant: str | None) -> Rows:
    """A handler's own row: the effect itself, there when the transaction is."""
    world = c.tables.world
    receipt = world.new_receipt()
    c.effects.append(lambda: world.take_as(Key(key), tenant, receipt))
    return ((receipt,),)


def _give_back(c: Connection, key: str, tenant: str | None, sure: bool) -> Rows:
    world = c.tables.world
    c.effects.append(lambda: world.give_back(Key(key), tenant, sure=sure))
    return ()


_WITHOUT = ("effects_of_saga", "forget", "purge", "purge_instances", "renew_lease", "end_lease")
_BY_NAME: Final[Mapping[str, Callable[..., Rows]]] = {
    **dict.fromkeys((*_WITHOUT, "tables_there", "disown_intent", "purge_started"), _nothing),
    "open_action": _open_action,
    "known_keys": _known_keys,
    "record_actions": _record_actions,
    "record_undos": _record_undos,
    "bury": _bury,
    "close_absent": _close_absent,
    "lock_rows": _lock_rows,
    "lock_free_rows": _lock_rows,
    "read_row": _read_row,
    "reopen_action": _reopen_action,
    "close_attempts": _close_attempts,
    "entomb": _entomb,
    "set_undo": _set_undo,
    "record": _record,
    "open_compensation": _open_compensation,
    "mark_started": _mark_started,
    "clear_started": _clear_started,
    "put_intent": _put_intent,
    "start_intent": _start_intent,
    "join_intent": _join_intent,
    "take_own_intent": _take_own_intent,
    "take_dead_intents": _take_dead_intents,
    "put_reply": _put_reply,
    "delete_replies": _delete_replies,
    "take_replies": _take_replies,
}
STATEMENTS: Final[Mapping[str, Callable[..., Rows]]] = {
    **{SQL[name]: statement for name, statement in _BY_NAME.items()},
    TAKE: _take,
    GIVE_BACK: _give_back,
}
assert set(_BY_NAME) == set(SQL), "a statement of the barrier that this database does not know"
