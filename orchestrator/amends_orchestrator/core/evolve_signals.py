"""What facts of signals change; a part of `evolve`."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from amends_orchestrator.core.journal_signals import (
    SignalReceived,
    StepAwaiting,
    StepSignalled,
    StepWithdrawn,
)
from amends_orchestrator.core.moves import STEP_MOVE_OF
from amends_orchestrator.core.state import IDLE, Doing, OpState, StepState

if TYPE_CHECKING:
    from amends_orchestrator.core.evolve import Draft

SignalEvent: TypeAlias = SignalReceived | StepAwaiting | StepSignalled | StepWithdrawn


def apply_signal(draft: "Draft", event: SignalEvent, seq: int, at: datetime) -> None:
    """Apply one of them."""
    if isinstance(event, SignalReceived):
        draft.signals = {**draft.signals, event.id: seq}
        draft.kept = {**draft.kept, event.event: (*draft.kept.get(event.event, ()), seq)}
        return
    old = draft.steps.get(event.path)
    moves = STEP_MOVE_OF[event.KIND]
    before = None if old is None else old.status
    assert before in moves, f"{event.KIND} for a step that is {before}"
    status = moves[before]
    assert status is not None
    step = old or StepState(status)
    match event:
        case StepAwaiting(due=due):
            waiting = OpState(doing=Doing.AWAITING, due=due, sent_at=at)
            step = replace(step, status=status, action=waiting, problem=None)
        case StepSignalled(signal=signal):
            _take(draft, signal)
            step = replace(step, status=status, action=IDLE, output_seq=signal, known=True)
        case StepWithdrawn():
            step = replace(step, status=status, action=IDLE)
    draft.steps[event.path] = step


def _take(draft: "Draft", signal: int) -> None:
    left = {name: tuple(n for n in rows if n != signal) for name, rows in draft.kept.items()}
    draft.kept = {name: rows for name, rows in left.items() if rows}
