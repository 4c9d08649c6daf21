"""What facts of reviews change; a part of `evolve`."""

from datetime import datetime
from typing import TYPE_CHECKING, assert_never

from amends_orchestrator.core.evolve_permits import give_back
from amends_orchestrator.core.journal_reviews import (
    Event,
    ReviewApproved,
    ReviewDecided,
    ReviewExpired,
    ReviewRequested,
    StepReviewed,
)
from amends_orchestrator.core.reviews import ReviewStage, ReviewState
from amends_orchestrator.core.state import (
    IDLE,
    Doing,
    OpState,
    StepState,
    StepStatus,
    replace,
)

if TYPE_CHECKING:
    from amends_orchestrator.core.evolve import Draft


def apply_review(draft: "Draft", event: Event, status: StepStatus, seq: int, at: datetime) -> None:
    """Apply one of them; `status` is the step's after it."""
    step = draft.steps.get(event.path) or StepState(status)
    op, review = step.action, step.review
    match event:
        case ReviewRequested(digest=digest, assignees=assignees, due=due):
            op = OpState(base=op.base, doing=Doing.REVIEWING, due=due, sent_at=at)
            review = ReviewState(seq=seq, shown_seq=seq, digest=digest, assignees=assignees)
            step = replace(give_back(step), problem=None, held=False)
        case ReviewDecided():
            review = _decided(review, event, seq)
        case ReviewExpired(then=then, assignees=assignees, due=due):
            if then == "escalate":
                review = review._replace(assignees=assignees, escalated=True)
                op = replace(op, due=due)
            elif then == "reject":
                review = review._replace(stage=ReviewStage.EXPIRED)
        case ReviewApproved(valid_until=until):
            review = review._replace(stage=ReviewStage.APPROVED, valid_until=until)
            op = replace(op, doing=Doing.BACKOFF, due=at)
        case StepReviewed():
            op = IDLE
            step = replace(step, output_seq=seq, known=True)
        case _:
            assert_never(event)
    draft.steps[event.path] = replace(step, status=status, action=op, review=review)


def _decided(review: ReviewState, event: ReviewDecided, seq: int) -> ReviewState:
    match event.decision:
        case "approve":
            return review._replace(approved_by=(*review.approved_by, event.by))
        case "reject":
            return review._replace(stage=ReviewStage.REJECTED)
        case "edit":
            assert event.edited is not None, "an edit without a digest"
            return review._replace(shown_seq=seq, digest=event.edited, approved_by=(event.by,))


def withdrawn(step: StepState) -> StepState:
    """The step asks nobody any more."""
    if not step.review.is_open:
        return step
    return replace(step, review=step.review._replace(stage=ReviewStage.WITHDRAWN))


def rolled_back(step: StepState) -> StepState:
    """What the step's review had approved is undone."""
    if step.review.stage is not ReviewStage.APPROVED:
        return step
    return replace(step, review=step.review._replace(stage=ReviewStage.ROLLED_BACK))
