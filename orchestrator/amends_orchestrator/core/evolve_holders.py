"""What the facts of steps that hold others, and of waits, change: the part of `evolve` for them."""

from collections.abc import MutableMapping
from datetime import datetime
from typing import TypeAlias, assert_never

from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.state import (
    IDLE,
    Doing,
    LoopState,
    OpState,
    StepState,
    StepStatus,
    replace,
)

HoldingEvent: TypeAlias = (
    j.StepEntered | j.StepTurned | j.StepAdvanced | j.StepPlanFailed | j.StepLeft
)


def hold(
    steps: MutableMapping[StepPath, StepState], event: HoldingEvent, status: StepStatus, seq: int
) -> None:
    """Apply a fact to the steps of a draft; `status` is the step's after it."""
    step = steps.get(event.path) or StepState(status)
    loop = step.loop
    match event:
        case j.StepEntered(case=case, items=items, turn=turn, due=due):
            doing = Doing.IDLE if due is None else Doing.WAITING
            step = replace(
                step,
                status=status,
                chosen=case,
                action=OpState(doing=doing, due=due),
                input_seq=0 if items is None else seq,
                loop=LoopState(
                    count=None if items is None else len(items),
                    turn=turn,
                    failure_seq=loop.failure_seq,
                ),
            )
        case j.StepTurned(turn=turn):
            step = replace(step, loop=replace(loop, turn=turn))
        case j.StepAdvanced(done=done, undone=undone):
            loop = replace(loop, done=max(loop.done, done), undone=max(loop.undone, undone))
            step = replace(step, loop=loop)
        case j.StepPlanFailed(interrupt_at=interrupt_at, awaited=awaited):
            loop = replace(loop, failure_seq=seq, interrupt_at=interrupt_at)
            step = replace(step, status=status, loop=loop)
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
