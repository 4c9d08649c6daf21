"""What the facts about permits change in a step, and which others give its permit back."""

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from amends_orchestrator.core.journal_permits import StepPermitted, StepQueued
from amends_orchestrator.core.moves import STEP_MOVE_OF
from amends_orchestrator.core.state import Doing, StepState


def queue(
    step: StepState | None, event: StepQueued | StepPermitted, seq: int, at: datetime
) -> StepState:
    """It waits for a permit, or has it and is to be sent at once."""
    status = STEP_MOVE_OF[event.KIND][None if step is None else step.status]
    assert status is not None
    step = step or StepState(status)
    match event:
        case StepQueued(due=due, since=since):
            op = replace(step.action, doing=Doing.QUEUED, due=due)
            return replace(
                step, status=status, action=op, permit=seq, permitted=False, asked_at=since
            )
        case StepPermitted():
            op = replace(step.action, doing=Doing.BACKOFF, due=at)
            return replace(step, status=status, action=op, permitted=True)
        case _:
            assert_never(event)


def give_back(step: StepState) -> StepState:
    """Its action is settled, or waits after a failure that changed nothing."""
    if not step.permit:
        return step
    return replace(step, permit=0, permitted=False, asked_at=None)
