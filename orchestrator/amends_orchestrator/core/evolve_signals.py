"""What facts of signals change; a part of `evolve`."""

from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from amends_orchestrator.core.evolve_reviews import withdrawn
from amends_orchestrator.core.journal_signals import (
    SignalReceived,
    StepAwaiting,
    StepSignalled,
    StepWithdrawn,
)
from amends_orchestrator.core.state import IDLE, Doing, OpState, StepState, StepStatus, replace

if TYPE_CHECKING:
    from amends_orchestrator.core.evolve import Draft

AwaitEvent: TypeAlias = StepAwaiting | StepSignalled | StepWithdrawn


def receive(draft: "Draft", event: SignalReceived, seq: int) -> None:
    """It is kept, until a step takes it."""
    draft.signals = {**draft.signals, event.id: seq}
    draft.kept = {**draft.kept, event.event: (*draft.kept.get(event.event, ()), seq)}


def apply_await(draft: "Draft", event: AwaitEvent, status: StepStatus, at: datetime) -> None:
    """Apply a fact of a step that awaits; `status` is the step's after it."""
    step = draft.steps.get(event.path) or StepState(status)
    match event:
        case StepAwaiting(due=due):
            waiting = OpState(doing=Doing.AWAITING, due=due, sent_at=at)
            step = replace(step, status=status, action=waiting, problem=None)
        case StepSignalled(signal=signal):
            _take(draft, signal)
            step = replace(step, status=status, action=IDLE, output_seq=signal, known=True)
        case StepWithdrawn():
            step = withdrawn(replace(step, status=status, action=IDLE))
    draft.steps[event.path] = step


def _take(draft: "Draft", signal: int) -> None:
    left = {name: tuple(n for n in rows if n != signal) for name, rows in draft.kept.items()}
    draft.kept = {name: rows for name, rows in left.items() if rows}
