"""Transactional actions that arrive faster than they can be answered share a transaction.

Optimistic: their rows, their effects one after another and their answers are committed as one, or
not at all. Only what is new and succeeds is settled here; whatever else comes up (a row that is
there, a handler that fails, a lock, a refused commit) rolls the whole back, and is answered alone,
by the rules of `transactional`. Nothing is waited for: who finds nobody at work begins at once.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.messages import Command
from amends_contracts.names import Key
from amends_participants.app import Registration
from amends_participants.barrier import store
from amends_participants.barrier.rules import Answer
from amends_participants.effects import effect_of
from amends_participants.runtime import invoke, passive, transactional
from amends_participants.runtime.database import HandlerRaised
from amends_participants.runtime.invoke import Ended
from amends_participants.runtime.scope import Scope
from amends_participants.runtime.slots import Slots

log = logging.getLogger(__name__)

GROUPS_MAX: Final = 2
"""Groups at work at once: one waits for its commit while the other's handlers run."""
TRIES: Final = 2
"""Of a group: as it is, and without the member that spoiled it."""
GROUP_S: Final = 0.2
"""A group goes on for so long; who has not had his turn by then comes first in the next one."""
SLOW_S: Final = 0.02
"""Handlers that take longer, in the mean of a group, keep their commands out of groups: others
would wait for them. So does one statement of ours where the machine is busy: what takes no more
than SLOW_STATEMENTS of these is not the handler's fault."""
SLOW_STATEMENTS: Final = 5
SLOW_APART_S: Final = 10.0
"""How long commands stay out of groups that were slow in one."""
SPOILED_APART_S: Final = 1.0
"""And those that spoiled one twice."""
LONE_S: Final = 0.05
"""How long a group is not begun because a single command is at work."""


@dataclass(slots=True, eq=False)
class _Member:
    """One action that waits for its group."""

    registration: Registration
    command: Command
    key: Key
    context: contextvars.Context
    """Of its delivery: the handler runs in it, and so under its span."""
    grouped: asyncio.Future[Answer | None]
    """Its answer; None: it is to be answered alone."""
    over: asyncio.Event
    """Set when it has been answered, in whatever way."""

    def tell(self, answer: Answer | None) -> None:
        if not self.grouped.done():
            self.grouped.set_result(answer)


class _Spoiled(HandlerRaised):
    """A member did not succeed: nobody's effect is committed."""

    def __init__(self, member: _Member) -> None:
        super().__init__(member.key)
        self.member = member


class Together:
    """Answers transactional actions, those that wait together in one transaction."""

    def __init__(self, scope: Scope, slots: Slots) -> None:
        self._scope = scope
        self._slots = slots
        self._waiting: deque[_Member] = deque()
        self._leading = 0
        """Leaders that will still look for who waits; a task of `_leaders` may be past that."""
        self._leaders: set[asyncio.Task[None]] = set()
        self._apart_until: dict[str, float] = {}
        """By command: when it may be in a group again."""

    async def perform(self, registration: Registration, command: Command) -> Answer | None:
        """Answer an action, as `transactional.perform_action` does."""
        assert command.key is not None
        loop = asyncio.get_running_loop()
        if self._scope.settings.group_max <= 1 or self._is_apart(command.type):
            return await self._alone(registration, command)
        context, over = contextvars.copy_context(), asyncio.Event()
        member = _Member(registration, command, command.key, context, loop.create_future(), over)
        self._waiting.append(member)
        if self._leading < GROUPS_MAX:
            self._leading += 1
            task = loop.create_task(self._lead())
            self._leaders.add(task)
            task.add_done_callback(self._leaders.discard)
        try:
            answer = await member.grouped
            return await self._alone(registration, command) if answer is None else answer
        finally:
            over.set()

    async def close(self) -> None:
        """Leave off; what is not committed is not answered."""
        for task in self._leaders:
            task.cancel()
        await asyncio.gather(*self._leaders, return_exceptions=True)

    async def _alone(self, registration: Registration, command: Command) -> Answer | None:
        async with self._slots.taken(undo=False):
            return await transactional.perform_action(self._scope, registration, command)

    async def _lead(self) -> None:
        """Group after group, for as long as anybody waits."""
        try:
            while self._waiting:
                await self._serve(self._next())
        finally:
            self._leading -= 1

    async def _serve(self, members: Sequence[_Member]) -> None:
        """Answer a group, or wait a while for one who goes alone."""
        try:
            if len(members) == 1:
                members[0].tell(None)
                async with asyncio.timeout(LONE_S):
                    await members[0].over.wait()
            elif members:
                await self._settle(members)
        except TimeoutError:
            return
        finally:
            for member in members:
                if member not in self._waiting:
                    member.tell(None)

    def _next(self) -> list[_Member]:
        """Those that wait longest; of two deliveries of one key the second is told to go alone."""
        members: dict[Key, _Member] = {}
        while self._waiting and len(members) < self._scope.settings.group_max:
            member = self._waiting.popleft()
            if member.grouped.done():
                continue
            if members.setdefault(member.key, member) is not member:
                member.tell(None)
        return list(members.values())

    async def _settle(self, members: Sequence[_Member]) -> None:
        """Commit and tell; what cannot be settled in a group is told to go alone."""
        left = sorted(members, key=lambda member: member.key)
        for n in range(TRIES):
            try:
                async with self._slots.taken(undo=False):
                    answers = await self._committed(left)
            except _Spoiled as spoiled:
                spoiled.member.tell(None)
                left = [member for member in left if member is not spoiled.member]
                if n == TRIES - 1:
                    self._set_apart(spoiled.member.command.type, SPOILED_APART_S)
                if not left:
                    return
            except Exception:
                log.info("a group of %d is answered one by one", len(left), exc_info=True)
                return
            else:
                for member in left:
                    self._tell(member, answers)
                return

    def _tell(self, member: _Member, answers: Mapping[Key, Answer | None]) -> None:
        """Its answer; None stands for a turn that did not come."""
        answer = answers.get(member.key)
        if answer is None and member.key in answers and not self._is_apart(member.command.type):
            self._waiting.appendleft(member)
        else:
            member.tell(answer)

    async def _committed(self, members: Sequence[_Member]) -> dict[Key, Answer | None]:
        """One transaction; in a task, so that its statements are seen below a delivery's span."""
        attempt = self._scope.database.transact(lambda tx: self._in_one(tx, members))
        context = members[0].context.copy()
        return await asyncio.get_running_loop().create_task(attempt, context=context)

    async def _in_one(
        self, tx: AsyncConnection, members: Sequence[_Member]
    ) -> dict[Key, Answer | None]:
        """The answers of those whose rows are new; the others' are for the rules to find."""
        service, clock = self._scope.service, asyncio.get_running_loop().time
        asked = clock()
        opened = await store.open_actions(tx, service, [member.command for member in members])
        new = [member for member in members if member.key in opened]
        done: list[tuple[Command, Answer]] = []
        begun = clock()
        for member in new:
            done.append((member.command, await self._run(tx, member)))
            if clock() - begun > GROUP_S:
                break
        if done:
            if (clock() - begun) / len(done) > max(SLOW_S, (begun - asked) * SLOW_STATEMENTS):
                self._set_apart(done[-1][0].type, SLOW_APART_S)
            await store.record_successes(tx, service, done)
        if late := [member.key for member in new[len(done) :]]:
            await store.close_opened(tx, late)
        answers: dict[Key, Answer | None] = dict.fromkeys(member.key for member in new)
        return answers | {member.key: a for member, (_, a) in zip(new, done, strict=False)}

    async def _run(self, tx: AsyncConnection, member: _Member) -> Answer:
        if passive.is_expired(self._scope, member.command):
            raise _Spoiled(member)
        effect = effect_of(member.command)
        handler = invoke.act(member.registration, member.command, effect, tx)
        try:
            return await asyncio.get_running_loop().create_task(handler, context=member.context)
        except Ended as ended:
            raise _Spoiled(member) from ended

    def _is_apart(self, command: str) -> bool:
        return self._apart_until.get(command, 0.0) > asyncio.get_running_loop().time()

    def _set_apart(self, command: str, seconds: float) -> None:
        self._apart_until[command] = asyncio.get_running_loop().time() + seconds
