"""What the facts of steps that hold others, and of waits, change: the part of `evolve` for them."""

from collections.abc import MutableMapping
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias, assert_never

from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.state import IDLE, Doing, OpState, StepState, StepStatus

HoldingEvent: TypeAlias = (
    j.StepEntered | j.StepTurned | j.StepAdvanced | j.StepPlanFailed | j.StepLeft
)


def hold(
    steps: MutableMapping[StepPath, StepState], event: HoldingEvent, status: StepStatus, seq: int
) -> None:
    """Apply a fact to the steps of a draft; `status` is the step's after it."""
    step = steps.get(event.path) or StepState(status)
    match event:
        case j.StepEntered(case=case, items=items, turn=turn, due=due):
            doing = Doing.IDLE if due is None else Doing.WAITING
            step = replace(
                step,
                status=status,
                chosen=case,
                action=OpState(doing=doing, due=due),
                input_seq=0 if items is None else seq,
                count=None if items is None else len(items),
                turn=turn,
                done=0,
                interrupt_at=None,
            )
        case j.StepTurned(turn=turn):
            step = replace(step, turn=turn)
        case j.StepAdvanced(done=done, undone=undone):
            step = replace(step, done=max(step.done, done), undone=max(step.undone, undone))
        case j.StepPlanFailed(interrupt_at=interrupt_at, awaited=awaited):
            step = replace(step, status=status, failure_seq=seq, interrupt_at=interrupt_at)
            for path in awaited:
                steps[path] = interrupted(steps[path], interrupt_at)
        case j.StepLeft():
            step = replace(step, status=status, action=IDLE)
        case _:
            assert_never(event)
    steps[event.path] = step


def interrupted(step: StepState, at: datetime) -> StepState:
    """What is in flight of its action is awaited until `at` at most."""
    op = step.action
    if op.doing not in (Doing.SENT, Doing.PROBING) or op.due is None:
        return step
    return replace(step, action=replace(op, due=min(op.due, at)))
