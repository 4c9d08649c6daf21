"""What facts about waiting for others change in a step, and which others give its permit back."""

from datetime import datetime
from typing import assert_never

from amends_orchestrator.core.journal_permits import StepHeld, StepPermitted, StepQueued
from amends_orchestrator.core.moves import STEP_MOVE_OF
from amends_orchestrator.core.state import Doing, StepState, replace


def queue(
    step: StepState | None, event: StepQueued | StepPermitted | StepHeld, seq: int, at: datetime
) -> StepState:
    """It waits: for a permit, for its turn now that it has one, or for its participant."""
    status = STEP_MOVE_OF[event.KIND][None if step is None else step.status]
    assert status is not None
    step = step or StepState(status)
    match event:
        case StepQueued(due=due, since=since):
            op = replace(step.action, doing=Doing.QUEUED, due=due)
            return replace(
                step,
                status=status,
                action=op,
                permit=seq,
                permitted=False,
                asked_at=since,
                held=False,
            )
        case StepPermitted():
            op = replace(step.action, doing=Doing.BACKOFF, due=at)
            return replace(step, status=status, action=op, permitted=True)
        case StepHeld(due=due):
            op = replace(step.action, doing=Doing.BACKOFF, due=due)
            step = replace(step, status=status, action=op, held=True)
            return step if op.doubt else give_back(step)
        case _:
            assert_never(event)


def give_back(step: StepState) -> StepState:
    """Its action is settled, or waits after a failure that changed nothing."""
    if not step.permit:
        return step
    return replace(step, permit=0, permitted=False, asked_at=None)
