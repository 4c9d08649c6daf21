"""Deliberate bugs of what lies between sagas: signals, children, late undo."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from amends_contracts.messages import Outcome
from amends_orchestrator.core.children import ChildReply
from amends_orchestrator.core.journal import StepSucceeded
from amends_orchestrator.core.journal_signals import SignalReceived
from amends_orchestrator.core.state import Direction, Doing, SagaStatus
from amends_orchestrator.engine.work import ForReply
from amends_simulation.mutants.table import Patch, answers, mutant, real

AWAITING: Final = "amends_orchestrator.core.awaiting"
DECIDE: Final = "amends_orchestrator.core.decide"
EVOLVE_SIGNALS: Final = "amends_orchestrator.core.evolve_signals"
FORWARD: Final = "amends_orchestrator.core.forward"
LATE_UNDO: Final = "amends_orchestrator.core.late_undo"
CHILDREN: Final = "amends_orchestrator.engine.children:Children"
ENGINE_CHILDREN: Final = "amends_orchestrator.engine.children"
WORK: Final = "amends_orchestrator.core.work:Work"
UNDO: Final = "amends_orchestrator.engine.undo"
MEMORYSIGNALS: Final = "amends_orchestrator.store.memory_signals:MemorySignals"


@mutant
def early_signal_lost() -> Sequence[Patch]:
    """What came before its saga is dropped when the saga comes."""
    original = real(MEMORYSIGNALS, "ready")

    def ready(self: Any, starts: Any, limit: int) -> Any:
        for one in original(self, starts, limit):
            self.kept.pop((one.signal.to, one.signal.id))
        return ()

    return [(MEMORYSIGNALS, "ready", ready)]


@mutant
def signal_recorded_twice() -> Sequence[Patch]:
    """A signal that comes again is one more signal."""
    original = real(AWAITING, "on_signal")

    def on_signal(work: Any, message: Any) -> Any:
        work.draft.signals = {}
        return original(work, message)

    return [(DECIDE, "on_signal", on_signal)]


@mutant
def signal_taken_twice() -> Sequence[Patch]:
    """Every step that awaits an event takes the same one."""
    return [(EVOLVE_SIGNALS, "_take", answers(None))]


@mutant
def newest_signal_first() -> Sequence[Patch]:
    """Of several signals the latest is taken."""
    original = real(AWAITING, "take_signal")

    def take(work: Any, node: Any, path: Any) -> None:
        kept = work.draft.kept
        work.draft.kept = {name: tuple(reversed(rows)) for name, rows in kept.items()}
        original(work, node, path)
        work.draft.kept = {name: tuple(sorted(rows)) for name, rows in work.draft.kept.items()}

    return [(FORWARD, "take_signal", take)]


@mutant
def signal_without_its_data() -> Sequence[Patch]:
    """A signal is recorded without what it brings."""
    return _emitting(SignalReceived, data=None)


def _emitting(kind: type[Any], **members: Any) -> Sequence[Patch]:
    """Facts of a kind are written with other members."""
    original = real(WORK, "emit")

    def emit(self: Any, event: Any) -> Any:
        return original(self, replace(event, **members) if isinstance(event, kind) else event)

    return [(WORK, "emit", emit)]


@mutant
def signal_after_the_turn() -> Sequence[Patch]:
    """A saga that has turned back still records events."""
    original = real(AWAITING, "on_signal")

    def on_signal(work: Any, message: Any) -> Any:
        direction = work.draft.direction
        work.draft.direction = Direction.FORWARD
        try:
            return original(work, message)
        finally:
            work.draft.direction = direction

    return [(DECIDE, "on_signal", on_signal)]


@mutant
def impatient_await() -> Sequence[Patch]:
    """Whoever looks at a saga lets its awaited events come too late."""
    expire, original = real(DECIDE, "expire_await"), real(DECIDE, "_on_woke")

    def on_woke(work: Any) -> None:
        for path, step in list(work.draft.steps.items()):
            op = step.action
            if op.doing is Doing.AWAITING and op.due is not None:
                expire(work, path)
        original(work)

    return [(DECIDE, "_on_woke", on_woke)]


@mutant
def childs_tombstone_missing() -> Sequence[Patch]:
    """A child that was never started is called undone, and may still be started."""

    async def never_started(_: Any, order: Any) -> ForReply:
        return _done(order)

    return [(CHILDREN, "_never_started", never_started)]


@mutant
def completed_child_left() -> Sequence[Patch]:
    """A child that has completed is not undone with its parent."""
    original = real(CHILDREN, "_undo")

    async def undo(self: Any, order: Any, known: Any) -> Any:
        child = None if known is None else await self._saga(known.saga_id)
        if child is not None and child.status is SagaStatus.COMPLETED:
            return _done(order)
        return await original(self, order, known)

    return [(CHILDREN, "_undo", undo)]


def _done(order: Any) -> ForReply:
    reply = ChildReply(asker=order.asker, outcome=Outcome.SUCCEEDED, body={})
    return ForReply(saga_id=order.asker.saga_id, reply=reply)


@mutant
def running_child_left() -> Sequence[Patch]:
    """A running child is told nothing, and its parent that it is gone."""
    original = real(CHILDREN, "_undo")

    async def undo(self: Any, order: Any, known: Any) -> Any:
        child = None if known is None else await self._saga(known.saga_id)
        if child is not None and child.status is SagaStatus.RUNNING:
            return _done(order)
        return await original(self, order, known)

    return [(CHILDREN, "_undo", undo)]


@mutant
def child_for_every_attempt() -> Sequence[Patch]:
    """Each attempt of the step starts a child of its own."""
    original = real(ENGINE_CHILDREN, "_order")

    def order(command: Any, asker: Any, parent: Any) -> Any:
        made = original(command, asker, parent)
        key = made.start.key if asker.attempt == 1 else f"{made.start.key}/{asker.attempt}"
        return replace(made, start=replace(made.start, key=key))

    return [(ENGINE_CHILDREN, "_order", order)]


@mutant
def late_undo_twice() -> Sequence[Patch]:
    """Whoever asks for a late undo starts one."""

    def any_key(saga_id: str) -> str:
        return f"undo:{saga_id}:{uuid4()}"

    return [(UNDO, "undo_start_key", any_key)]


@mutant
def undo_of_the_undone() -> Sequence[Patch]:
    """A saga that has been undone is undone once more."""
    original = real(LATE_UNDO, "_refused")

    def refused(plan: Any, request: Any, now: Any) -> Any:
        undone = request.original.status is SagaStatus.COMPENSATED
        return None if undone else original(plan, request, now)

    return [(LATE_UNDO, "_refused", refused)]


@mutant
def window_ignored() -> Sequence[Patch]:
    """A step is undone late although its window has closed."""
    return [(LATE_UNDO, "_closed", answers(()))]


@mutant
def window_never_closes() -> Sequence[Patch]:
    """The window of a step is not noted when it succeeds."""
    return _emitting(StepSucceeded, retained_until=None)
