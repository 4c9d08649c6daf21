"""Deliberate bugs: the engine, the core and the SDK with one rule taken out or turned round.

Each must be found by the simulator; `tests/simulation` holds that. A bug is a patch at run time of
the real code, so that it is always a bug of what ships.
"""

import importlib
import random
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from unittest.mock import patch

from amends_orchestrator.core.outcomes import expire_action, fail
from amends_orchestrator.core.state import Doing, StepStatus
from amends_orchestrator.engine.ports import Conflict, PublishResult, StoreUnavailable
from amends_participants.barrier.rules import TABLE, Move, Revival, State
from amends_participants.outcomes import SUCCEEDED

INTAKE: Final = "amends_orchestrator.engine.intake:Intake"
COMMITTER: Final = "amends_orchestrator.engine.commit:Committer"
MEMORYSTORE: Final = "amends_orchestrator.store.memory:MemoryStore"
RELAY: Final = "amends_orchestrator.engine.relay:Relay"
INBOX: Final = "amends_orchestrator.engine.inbox:Inbox"
LEASES: Final = "amends_orchestrator.engine.leases:Leases"
TOKENS: Final = "amends_orchestrator.engine.tokens:Tokens"
ASSEMBLY: Final = "amends_orchestrator.engine.batch:Assembly"
COMPENSATION: Final = "amends_orchestrator.core.compensation"
DECIDE: Final = "amends_orchestrator.core.decide"
FORWARD: Final = "amends_orchestrator.core.forward"
OPERATOR: Final = "amends_orchestrator.core.operator"
OUTCOMES: Final = "amends_orchestrator.core.outcomes"
REPLIES: Final = "amends_orchestrator.core.replies"
CORE_WORK: Final = "amends_orchestrator.core.work"
BATCH_CORE: Final = "amends_orchestrator.core"
RULES: Final = "amends_participants.barrier.rules"
BARRIER: Final = "amends_participants.barrier.store"
PASSIVE: Final = "amends_participants.runtime.passive"
OUTSIDE: Final = "amends_participants.runtime.outside"

Patch = tuple[str, str, Any]
"""Where it is (`module` or `module:class`), its name, and what it is instead."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug."""

    name: str
    says: str
    """What is wrong with it, in a sentence."""
    patches: Callable[[], Sequence[Patch]]

    @contextmanager
    def applied(self) -> Generator[None]:
        """The code with this bug."""
        with ExitStack() as stack:
            for owner, name, value in self.patches():
                stack.enter_context(patch.object(_owner(owner), name, value))
            yield


def _owner(where: str) -> Any:
    module, _, name = where.partition(":")
    owner = importlib.import_module(module)
    return getattr(owner, name) if name else owner


def _of(where: str, name: str) -> Any:
    """The real thing, to be called by what replaces it."""
    return getattr(_owner(where), name)


MUTANTS: Final[dict[str, Mutant]] = {}


def mutant(make: Callable[[], Sequence[Patch]]) -> Callable[[], Sequence[Patch]]:
    """Add a bug to the table, by the name of its function and what it says."""
    name = make.__name__.replace("_", "-")
    MUTANTS[name] = Mutant(name, (make.__doc__ or "").strip(), make)
    return make


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _async_constant(value: Any) -> Callable[..., Any]:
    async def answer(*_: Any, **__: Any) -> Any:
        return value

    return answer


def _row(state: State, **moves: Move) -> Sequence[Patch]:
    """The participant's table with other moves in one row."""
    columns = ("action", "higher", "compensation", "probe")
    row = [moves.get(column, move) for column, move in zip(columns, TABLE[state], strict=True)]
    return [(RULES, "TABLE", {**TABLE, state: tuple(row)})]


# --- engine --------------------------------------------------------------------------------------


@mutant
def ack_before_commit() -> Sequence[Patch]:
    """Deliveries are acknowledged before their decisions are committed."""
    original = _of(INTAKE, "_commit")

    async def commit(self: Any, works: Sequence[Any]) -> None:
        tags = [work.handle.tag for work in works if work.handle is not None]
        await self._transport.acknowledge(tags)
        await original(self, works)

    return [(INTAKE, "_commit", commit)]


@mutant
def publish_before_commit() -> Sequence[Patch]:
    """Messages go out when they are decided, whether or not the decision is committed."""
    original, assemble = _of(INTAKE, "_commit"), _of(COMMITTER, "_assemble")

    async def assembled(self: Any, *arguments: Any) -> Any:
        durable = await assemble(self, *arguments)
        if durable.assembled.messages:
            await self.published(durable.assembled.messages, 1.0)
        return durable

    async def commit(self: Any, works: Sequence[Any]) -> None:
        self._committer.published = self._transport.publish
        await original(self, works)

    return [(INTAKE, "_commit", commit), (COMMITTER, "_assemble", assembled)]


@mutant
def losers_messages_published() -> Sequence[Patch]:
    """Who loses the race for a saga publishes what it had decided."""

    async def until_durable(self: Any, works: Any, settlements: Any) -> Any:
        while True:
            try:
                durable = await self._assemble(works, settlements, await self._load(works))
                if durable.assembled.batch is not None:
                    await self._store.commit(durable.assembled.batch)
            except Conflict:
                return durable  # pyright: ignore[reportPossiblyUnboundVariable] - only a commit conflicts
            except StoreUnavailable:
                self.doubted = True
                await self._back_off(1)
            else:
                return durable

    return [(COMMITTER, "_until_durable", until_durable)]


@mutant
def doubt_taken_for_commit() -> Sequence[Patch]:
    """A commit without an answer is taken for done."""

    async def until_durable(self: Any, works: Any, settlements: Any) -> Any:
        while True:
            try:
                loaded = await self._load(works)
                durable = await self._assemble(works, settlements, loaded)
            except StoreUnavailable:
                await self._back_off(1)
                continue
            try:
                if durable.assembled.batch is not None:
                    await self._store.commit(durable.assembled.batch)
            except Conflict:
                continue
            except StoreUnavailable:
                return durable
            return durable

    return [(COMMITTER, "_until_durable", until_durable)]


@mutant
def doubt_taken_for_loss() -> Sequence[Patch]:
    """A commit without an answer is taken for lost, and its outbox row is not looked for."""
    return [
        (MEMORYSTORE, "committed_batch", _async_constant(False)),
        (MEMORYSTORE, "stray_outbox", _async_constant(())),
    ]


@mutant
def no_fence() -> Sequence[Patch]:
    """A commit does not ask whether somebody else was there first."""
    return [(MEMORYSTORE, "_fence", _constant(None))]


@mutant
def orphans_left() -> Sequence[Patch]:
    """Nobody takes over the outbox rows of the dead."""
    return [(MEMORYSTORE, "claim_outbox", _async_constant(()))]


@mutant
def unknown_taken_for_confirmed() -> Sequence[Patch]:
    """A publication without a confirm is not repeated."""

    async def publish(self: Any, row_id: Any, messages: Any, *, published: bool) -> None:
        results = await self._transport.publish(messages, self._timeout_s)
        for message, result in zip(messages, results, strict=True):
            if result is PublishResult.RETURNED:
                self._returned(message, never_delivered=not published)
        self._settled[row_id] = None
        self._open.discard(row_id)
        self._changed.set()

    return [(RELAY, "_publish", publish)]


@mutant
def swallowed_return() -> Sequence[Patch]:
    """A returned command is forgotten, and its step is sent no more when its time has come."""
    return [(RELAY, "_returned", _constant(None)), (DECIDE, "_on_woke", _constant(None))]


@mutant
def silent_saga() -> Sequence[Patch]:
    """A saga is woken once in its life."""
    return [(INBOX, "looked_at", _constant(None))]


@mutant
def nobody_wakes() -> Sequence[Patch]:
    """What is due is not looked at."""
    return [(LEASES, "_wake", _constant(None))]


@mutant
def token_unchecked() -> Sequence[Patch]:
    """A reply is believed whoever has signed it."""
    return [(TOKENS, "verify", _constant(True))]


@mutant
def tenant_unchecked() -> Sequence[Patch]:
    """Anybody may ask anything of any saga."""
    original = _of(ASSEMBLY, "_enqueue")

    def enqueue(self: Any, work: Any) -> None:
        work.tenant = None
        original(self, work)

    return [(ASSEMBLY, "_enqueue", enqueue)]


@mutant
def start_key_ignored() -> Sequence[Patch]:
    """Every start makes a saga, whatever its key."""
    original = _of(MEMORYSTORE, "load")

    async def load(self: Any, sagas: Any, starts: Any) -> Any:
        self.starts.clear()
        return replace(await original(self, sagas, starts), starts={})

    return [(MEMORYSTORE, "load", load)]


@mutant
def state_loses_a_member() -> Sequence[Patch]:
    """What is stored is not all that the journal says."""
    original = _of(BATCH_CORE, "state_to_json")

    def lossy(state: Any) -> Any:
        data = original(state)
        for step in data["steps"].values():
            step.pop("undo_seq", None)
            step.pop("problem", None)
        return data

    return [(BATCH_CORE, "state_to_json", lossy)]


# --- core ----------------------------------------------------------------------------------------


@mutant
def wrong_order() -> Sequence[Patch]:
    """Compensation begins with what the plan did first."""
    visit = _of(COMPENSATION, "_visit")

    def sequence(work: Any, nodes: Any, prefix: str) -> bool:
        return all(visit(work, node, prefix) for node in nodes)

    return [(COMPENSATION, "_sequence", sequence)]


@mutant
def all_at_once() -> Sequence[Patch]:
    """Compensation does not wait for what comes later in the plan."""
    visit = _of(COMPENSATION, "_visit")

    def sequence(work: Any, nodes: Any, prefix: str) -> bool:
        done = [visit(work, node, prefix) for node in reversed(nodes)]
        return all(done)

    return [(COMPENSATION, "_sequence", sequence)]


@mutant
def attempt_restarted() -> Sequence[Patch]:
    """Every attempt is called the first."""
    original = _of(FORWARD, "dispatch")

    def dispatch(work: Any, node: Any, path: Any) -> None:
        step = work.draft.steps.get(path)
        if step is not None:
            work.draft.steps[path] = replace(step, action=replace(step.action, attempt=0))
        original(work, node, path)

    return [(FORWARD, "dispatch", dispatch)]


@mutant
def attempts_not_counted() -> Sequence[Patch]:
    """A policy of so many attempts is not kept."""
    return [(OUTCOMES, "attempts_left", _constant(True))]


@mutant
def terminal_goes_on() -> Sequence[Patch]:
    """A saga that has ended still decides."""
    return [(DECIDE, "TERMINAL", frozenset[str]())]


@mutant
def doubt_is_failure() -> Sequence[Patch]:
    """A timeout is taken for proof that nothing happened."""

    def doubt(work: Any, node: Any, path: Any, problem: Any, **_: Any) -> None:
        fail(work, node, path, problem)

    return [(OUTCOMES, "doubt", doubt), (REPLIES, "doubt", doubt)]


@mutant
def exhausted_doubt_is_failure() -> Sequence[Patch]:
    """A doubt that outlives its attempts is taken for a failure."""

    def settle(work: Any, node: Any, path: Any, problem: Any) -> None:
        fail(work, node, path, problem, via="engine")

    return [(OUTCOMES, "settle_unknown", settle)]


@mutant
def unknown_not_compensated() -> Sequence[Patch]:
    """A step whose outcome is unknown is not undone."""
    original = _of(COMPENSATION, "is_undone")

    def is_undone(step: Any) -> bool:
        return step.status is StepStatus.UNKNOWN or original(step)

    return [(COMPENSATION, "is_undone", is_undone)]


@mutant
def cancel_after_the_pivot() -> Sequence[Patch]:
    """A cancel turns a saga back that is past its pivot."""
    original = _of(OPERATOR, "on_cancel")

    def on_cancel(work: Any, message: Any) -> Any:
        work.draft.pivot = None
        return original(work, message)

    return [(DECIDE, "on_cancel", on_cancel)]


@mutant
def impatient_timeout() -> Sequence[Patch]:
    """Whoever looks at a saga lets everything expire that is on its way."""

    def on_woke(work: Any) -> None:
        for path in list(work.draft.steps):
            if work.draft.steps[path].action.doing is Doing.SENT:
                expire_action(work, path)

    return [(DECIDE, "_on_woke", on_woke)]


@mutant
def impatient_deadline() -> Sequence[Patch]:
    """A deadline is over two seconds before its time."""
    original = _of(DECIDE, "_check_deadline")
    soon = timedelta(seconds=2)

    def check(work: Any) -> None:
        deadline = work.draft.deadline
        if deadline is not None:
            work.draft.deadline = deadline - soon
        original(work)
        if work.draft.deadline is not None:
            work.draft.deadline = deadline

    return [(DECIDE, "_check_deadline", check)]


@mutant
def decided_by_chance() -> Sequence[Patch]:
    """A delay is drawn, and not computed from what it is a delay of."""
    return [(CORE_WORK, "fraction", _chance)]


@mutant
def any_attempt_may_fail() -> Sequence[Patch]:
    """A failure of an attempt long given up counts for the latest."""
    original = _of(REPLIES, "_on_bad_news")

    def on_bad_news(work: Any, node: Any, step: Any, reply: Any) -> Any:
        return original(work, node, step, replace(reply, attempt=step.action.attempt))

    return [(REPLIES, "_on_bad_news", on_bad_news)]


# --- participants --------------------------------------------------------------------------------


@mutant
def no_tombstone() -> Sequence[Patch]:
    """A compensation that finds nothing leaves nothing behind."""
    return [(PASSIVE, "bury", _async_constant(SUCCEEDED))]


@mutant
def tombstone_ignored() -> Sequence[Patch]:
    """An action runs although its compensation was there first."""
    return _row(State.TOMBSTONE, action=Move.RUN, higher=Move.RUN)


@mutant
def barrier_purged_early() -> Sequence[Patch]:
    """The row of an action that succeeded is gone when its duplicate comes."""
    return _row(State.SUCCEEDED, action=Move.RUN)


@mutant
def success_repeated() -> Sequence[Patch]:
    """A higher attempt of an action that succeeded runs again."""
    return _row(State.SUCCEEDED, higher=Move.RUN)


@mutant
def failure_repeated() -> Sequence[Patch]:
    """A duplicate of an attempt that failed for good runs again."""
    return _row(State.FAILED, action=Move.RUN, higher=Move.RUN)


@mutant
def running_buried() -> Sequence[Patch]:
    """A compensation buries an action that is still at work."""
    return _row(State.RUNNING, compensation=Move.BURY)


@mutant
def doubt_buried() -> Sequence[Patch]:
    """A compensation buries an action whose outcome is in doubt."""
    return _row(State.UNKNOWN, compensation=Move.BURY)


@mutant
def success_buried() -> Sequence[Patch]:
    """A compensation takes an action that succeeded for one that never was."""
    return _row(State.SUCCEEDED, compensation=Move.BURY)


@mutant
def probe_without_looking() -> Sequence[Patch]:
    """A probe calls absent what is in doubt."""
    return _row(State.UNKNOWN, probe=Move.CLOSE)


@mutant
def probe_without_closing() -> Sequence[Patch]:
    """A probe says absent and leaves the attempts open."""
    return [
        (BARRIER, "close_attempts", _async_constant(None)),
        (BARRIER, "close_absent", _async_constant(True)),
    ]


@mutant
def doubt_repeated() -> Sequence[Patch]:
    """What is in doubt runs again, whether or not the outside honours the key."""
    return [(RULES, "_in_doubt", _constant(Move.RUN))]


@mutant
def dead_intent_repeated() -> Sequence[Patch]:
    """What a dead process had begun runs again, whether or not the outside honours the key."""
    return [(RULES, "on_death", _constant(Revival.RUN))]


@mutant
def intent_ignored() -> Sequence[Patch]:
    """What a dead process had begun is left as it is."""
    return [(OUTSIDE, "revive", _async_constant([]))]


@mutant
def undone_twice() -> Sequence[Patch]:
    """A duplicate of a compensation that succeeded undoes again."""
    return [(RULES, "_own_move", _constant(Move.RUN)), *_row(State.UNDONE, compensation=Move.UNDO)]


def _chance(*_: object) -> float:
    return random.random()


def found(bug: Mutant, seeds: Sequence[int], run: Callable[[int], Any]) -> int | None:
    """The first of these seeds at which the bug breaks a promise."""
    with bug.applied():
        return next((seed for seed in seeds if run(seed).violations), None)
