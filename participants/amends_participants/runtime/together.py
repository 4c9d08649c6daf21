"""Transactional commands that arrive faster than they can be answered share transactions.

Each lane has its groups: actions never keep an undo waiting. A group is optimistic (see `group`);
whatever it does not settle is answered alone, by the rules of `transactional`. Nobody is waited
for: a command that comes alone goes at once, and alone; those that come together begin at a pace.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from contextvars import Context
from typing import Any, Final, Protocol

from amends_contracts.messages import Command, Outcome
from amends_contracts.names import Key, Op
from amends_participants.app import Registration
from amends_participants.barrier.rules import Answer
from amends_participants.runtime import group
from amends_participants.runtime.group import Member, Settled, Spoiled
from amends_participants.runtime.pace import Pace
from amends_participants.runtime.scope import Scope
from amends_participants.runtime.slots import Slots
from amends_participants.runtime.taken import Taken

log = logging.getLogger(__name__)

TRIES: Final = 2
"""Of a group: as it is, and, if a handler has failed, with a savepoint before each."""
GUARDED_FROM: Final = 0.4
"""A command's handlers run behind savepoints from the start, if so many of its latest groups had
one that failed. A savepoint costs a third of a short handler, a second try half a group."""
LATEST: Final = 0.3
"""The weight of the latest group in that."""
SLOW_S: Final = 0.02
"""Handlers that take longer, in the mean of a group, keep their commands out of groups: others
would wait for them. So does one statement of ours where the machine is busy: what takes no more
than SLOW_STATEMENTS of these is not the handler's fault."""
SLOW_STATEMENTS: Final = 5
SLOW_APART_S: Final = 10.0
"""How long commands stay out of groups that were slow in one."""
SPOILED_APART_S: Final = 1.0
"""And those that spoiled one in spite of a savepoint."""
LONE_S: Final = 0.02
"""How long a group is not begun because a single command is at work."""


class Desk(Protocol):
    """Who takes what becomes of commands."""

    def answered(self, answers: Sequence[tuple[Taken, Answer]]) -> None:
        """These are committed: publish the replies, acknowledge."""
        ...

    def alone(self, taken: Taken) -> asyncio.Task[None]:
        """Answer this one by itself."""
        ...

    def begin(
        self, work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> asyncio.Task[None]:
        """Start a task that a runtime waits for, or cancels, before it ends."""
        ...

    def slow(self) -> None:
        """Handlers take long: what is taken in advance waits long."""
        ...


class Together:
    """Answers transactional commands, those that wait together in one transaction."""

    def __init__(self, scope: Scope, slots: Slots, desk: Desk) -> None:
        self._scope = scope
        self._lanes = {undo: _Lane(scope, slots, desk, undo=undo) for undo in (False, True)}

    def take(self, registration: Registration, taken: Taken) -> bool:
        """Leave an action or a compensation to the groups of its lane; False: they are not for it.

        What is taken goes to the desk, as answered or to be answered alone.
        """
        command = taken.command
        lane = self._lanes[command.op is Op.COMPENSATION]
        if self._scope.settings.group_max <= 1 or lane.is_apart(command):
            return False
        key = command.key if command.compensates is None else command.compensates
        assert key is not None
        lane.put(Member(registration, taken, key))
        return True

    def close(self) -> None:
        """Leave off; what waits is not answered."""
        for lane in self._lanes.values():
            lane.close()


class _Lane:
    """The groups of one lane."""

    def __init__(self, scope: Scope, slots: Slots, desk: Desk, *, undo: bool) -> None:
        self._scope = scope
        self._slots = slots
        self._desk = desk
        self._undo = undo
        settings = scope.settings
        self._pace = Pace(settings.group_pace_ms / 1000, settings.group_pace_busy_ms / 1000)
        self._between_s = self._pace.between_s
        self._members_max = settings.group_max
        """Halved when others are in the way of a group: a small one has few locks, and briefly."""
        self._not_before = 0.0
        self._waiting: deque[Member] = deque()
        self._is_led = False
        self._single: set[Key] = set()
        """Keys answered alone; another delivery of one is answered alone, too."""
        self._apart_until: dict[str, float] = {}
        """By command: when it may be in a group again."""
        self._failing: dict[str, float] = {}
        """By command: the share of its latest groups that had a failure."""

    def put(self, member: Member) -> None:
        """Let it wait for the next group; what is put in the same turn of the loop goes along."""
        self._waiting.append(member)
        if not self._is_led:
            self._is_led = True
            self._desk.begin(self._lead())

    def is_apart(self, command: Command) -> bool:
        """Whether a command is to be answered alone for now."""
        until = self._apart_until.get(command.type)
        return until is not None and until > _now()

    def close(self) -> None:
        """Nobody is led any more."""
        while self._waiting:
            self._waiting.popleft().taken.end()

    async def _lead(self) -> None:
        """Group after group, for as long as anybody waits.

        One at a time: two would wait for each other's locks where many change the same rows.
        """
        try:
            while self._waiting:
                if (rest := self._not_before - _now()) > 0:
                    await asyncio.sleep(rest)
                members = self._next()
                self._between_s = self._pace.after(len(members), self._between_s)
                self._not_before = _now() + self._between_s
                if len(members) > 1:
                    # its own statements are seen below the span of one of its deliveries
                    context = members[0].taken.context.copy()
                    await self._desk.begin(self._settle(members), context)
                elif members:
                    await asyncio.wait({self._alone(members[0])}, timeout=LONE_S)
        finally:
            self._is_led = False

    def _next(self) -> list[Member]:
        """Those that wait longest. What cannot be in a group by now goes alone."""
        members: dict[Key, Member] = {}
        later: list[Member] = []
        while self._waiting and len(members) < self._members_max:
            member = self._waiting.popleft()
            if member.key in self._single or self.is_apart(member.command):
                self._alone(member)
            elif members.setdefault(member.key, member) is not member:
                later.append(member)
        self._waiting.extendleft(reversed(later))
        return sorted(members.values(), key=lambda member: member.key)

    def _alone(self, member: Member) -> asyncio.Task[None]:
        task = self._desk.alone(member.taken)
        self._single.add(member.key)
        task.add_done_callback(lambda _: self._single.discard(member.key))
        return task

    async def _settle(self, members: Sequence[Member]) -> None:
        """Commit a group and tell its answers; what it does not settle goes alone."""
        settled = Settled()
        try:
            settled = await self._tried(members)
        except asyncio.CancelledError:
            for member in members:
                member.taken.end()
            raise
        except Exception:
            log.info("a group of %d is answered one by one", len(members), exc_info=True)
        self._desk.answered([(member.taken, answer) for member, answer in settled.answers])
        self._waiting.extendleft(reversed(settled.late))
        kept = {*(member.key for member, _ in settled.answers), *(m.key for m in settled.late)}
        for member in members:
            if member.key not in kept:
                self._alone(member)

    async def _tried(self, members: Sequence[Member]) -> Settled:
        """One transaction, or a second one where a handler has spoiled the first."""
        has_failed = False
        for _ in range(TRIES):
            is_guarded = _always if has_failed else self._is_guarded
            try:
                async with self._slots.taken(undo=self._undo):
                    settled = await self._scope.database.transact(
                        lambda tx, guarded=is_guarded: group.settle(
                            self._scope, tx, members, guarded
                        )
                    )
            except Spoiled as spoiled:
                has_failed = not spoiled.by_database
                if spoiled.by_database:
                    self._members_max = max(2, self._members_max // 2)
            except Exception:
                if has_failed:
                    self._set_apart(members, SPOILED_APART_S)
                raise
            else:
                room = self._members_max + self._members_max // 8 + 1
                self._members_max = min(self._scope.settings.group_max, room)
                self._note(settled)
                return settled
        return Settled()

    def _note(self, settled: Settled) -> None:
        """Learn from a group how the next ones are run."""
        if not settled.answers:
            return
        slow_s = max(SLOW_S, settled.opening_s * SLOW_STATEMENTS)
        if settled.handlers_s / len(settled.answers) > slow_s:
            self._set_apart([settled.answers[-1][0]], SLOW_APART_S)
            self._desk.slow()
        failed = {m.command.type for m, a in settled.answers if a.outcome is not Outcome.SUCCEEDED}
        for command in {member.command.type for member, _ in settled.answers}:
            share = self._failing.get(command, 0.0)
            self._failing[command] = share + LATEST * ((command in failed) - share)

    def _is_guarded(self, member: Member) -> bool:
        return self._failing.get(member.command.type, 0.0) > GUARDED_FROM

    def _set_apart(self, members: Sequence[Member], seconds: float) -> None:
        for member in members:
            self._apart_until[member.command.type] = _now() + seconds


def _always(_: Member) -> bool:
    return True


def _now() -> float:
    return asyncio.get_running_loop().time()
