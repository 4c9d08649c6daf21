"""One transaction for several commands of one lane: rows, handlers, answers.

Optimistic: only what is simply to be run is run here (an action without a row, the undo of an
action that succeeded); for whatever else is found in the rows `transactional` has the rules. The
rows of actions are written at the end: whoever was there first, the unique key tells then, and
nothing of this transaction stays.

A handler that does not succeed spoils the transaction (Spoiled), unless it ran behind a savepoint:
then only what it did is rolled back, and its answer is stored beside those of the others.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.messages import Command, Effect
from amends_contracts.names import Key, Op
from amends_participants.app import Registration
from amends_participants.barrier import rules, store
from amends_participants.barrier.rules import Answer, Move, Row
from amends_participants.effects import effect_of
from amends_participants.runtime import invoke, passive
from amends_participants.runtime.database import HandlerRaised
from amends_participants.runtime.invoke import Ended
from amends_participants.runtime.scope import Scope
from amends_participants.runtime.taken import Taken, within
from amends_participants.runtime.transactional import output_of

GROUP_S: Final = 0.2
"""A group goes on for so long; who has not had his turn by then comes first in the next one."""


@dataclass(slots=True, eq=False)
class Member:
    """One command of a group."""

    registration: Registration
    taken: Taken
    key: Key
    """Of the action that is done or undone: nobody else in a group has it."""

    @property
    def command(self) -> Command:
        """What it is told to do."""
        return self.taken.command


@dataclass(slots=True)
class Settled:
    """What a group has come to; who is neither here nor there is to be answered alone."""

    answers: list[tuple[Member, Answer]] = field(default_factory=list[tuple[Member, Answer]])
    late: Sequence[Member] = ()
    """Those whose turn did not come."""
    opening_s: float = 0.0
    """What one statement of ours took."""
    handlers_s: float = 0.0


class Spoiled(HandlerRaised):
    """A member did not succeed, without a savepoint: nobody's effect is committed."""

    def __init__(self, member: Member, *, by_database: bool) -> None:
        super().__init__(member.key)
        self.member = member
        self.by_database = by_database
        """Something was in its way that may be gone a moment later."""


class Overtaken(HandlerRaised):
    """Rows have come up that were not there when the group began."""


async def settle(
    scope: Scope,
    tx: AsyncConnection,
    members: Sequence[Member],
    is_guarded: Callable[[Member], bool],
) -> Settled:
    """Answer these, all of one lane and in the order of their keys; the caller commits."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    is_undo = members[0].command.op is Op.COMPENSATION
    turns = await (_undos(scope, tx, members) if is_undo else _actions(tx, members))
    begun = clock()
    settled, savepoint = Settled(opening_s=begun - asked), _Savepoint(tx)
    for n, (member, action) in enumerate(turns):
        guarded = is_guarded(member)
        answer = await _turn(scope, tx, member, action, savepoint, guarded=guarded)
        if answer is not None:
            settled.answers.append((member, answer))
        if clock() - begun > GROUP_S:
            settled.late = [late for late, _ in turns[n + 1 :]]
            break
    settled.handlers_s = clock() - begun
    if settled.answers:
        told = [(member.command, answer) for member, answer in settled.answers]
        record = store.record_undos if is_undo else store.record_actions
        if not await record(tx, scope.service, told):
            raise Overtaken
    return settled


async def _actions(
    tx: AsyncConnection, members: Sequence[Member]
) -> list[tuple[Member, Row | None]]:
    """Those that nobody knows yet."""
    known = await store.known_keys(tx, [member.key for member in members])
    return [(member, None) for member in members if member.key not in known]


async def _undos(
    scope: Scope, tx: AsyncConnection, members: Sequence[Member]
) -> list[tuple[Member, Row | None]]:
    """Those whose action has succeeded, with its row, locked; a row that others hold is left."""
    own_keys = [key for member in members if (key := member.command.key) is not None]
    keys = [*own_keys, *(member.key for member in members)]
    rows = await store.lock_free_rows(tx, keys)
    return [
        (member, rows[member.key])
        for member, own_key in zip(members, own_keys, strict=True)
        if _undo_move(scope, member.command, rows.get(own_key), rows.get(member.key)) is Move.UNDO
    ]


def _undo_move(scope: Scope, command: Command, own: Row | None, action: Row | None) -> Move:
    assert command.key is not None
    return rules.on_compensation(
        own,
        action,
        key=command.key,
        attempt=command.attempt,
        action_outcome=command.action_outcome,
        effect=Effect.TRANSACTIONAL,
        forgotten=passive.is_forgotten(scope, command),
    )


async def _turn(
    scope: Scope,
    tx: AsyncConnection,
    member: Member,
    action: Row | None,
    savepoint: "_Savepoint",
    *,
    guarded: bool,
) -> Answer | None:
    """Run its handler; None: the database was in its way, and it is better tried alone."""
    if member.command.op is Op.ACTION and passive.is_expired(scope, member.command):
        return passive.EXPIRED
    if guarded:
        await savepoint.put()
    savepoint.leave()
    try:
        return await _handler(tx, member, action)
    except Ended as ended:
        if not guarded:
            raise Spoiled(member, by_database=ended.worth_repeating) from ended
        await savepoint.go_back()
        return None if ended.worth_repeating else ended.answer


async def _handler(tx: AsyncConnection, member: Member, action: Row | None) -> Answer:
    command, registration = member.command, member.registration
    effect = effect_of(command)
    if action is None:
        work = invoke.act(registration, command, effect, tx)
    else:
        work = invoke.undo(registration, command, effect, output_of(action), tx)
    return await within(member.taken.context, work)


class _Savepoint:
    """One savepoint that moves along, on the driver's connection: SQLAlchemy's costs four times as
    much. The transaction has begun before, with a statement of ours.

    A handler that has ended the transaction by itself makes `go_back` fail, and with it the group.
    """

    def __init__(self, tx: AsyncConnection) -> None:
        self._tx = tx
        self._driver: Any = None
        self._is_here = False
        """Nothing was done since it was put, or gone back to."""

    async def put(self) -> None:
        """Here. The one before, of which nothing is to be rolled back, is given up."""
        if self._driver is None:
            self._driver = (await self._tx.get_raw_connection()).driver_connection
            await self._driver.execute("SAVEPOINT amends_member")
        elif not self._is_here:
            await self._driver.execute("RELEASE SAVEPOINT amends_member; SAVEPOINT amends_member")

    def leave(self) -> None:
        """Something is done after it."""
        self._is_here = False

    async def go_back(self) -> None:
        """Roll back what was done since."""
        await self._driver.execute("ROLLBACK TO SAVEPOINT amends_member")
        self._is_here = True
