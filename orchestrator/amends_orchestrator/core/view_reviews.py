"""A step's review in a view of its saga."""

from amends_contracts.messages import Json
from amends_orchestrator.core.reviews import review_id
from amends_orchestrator.core.state import Saga, StepState


def waits_for(step: StepState) -> str:
    """Whom it waits for, and until when."""
    who = ", ".join(step.review.assignees) or "any reviewer"
    due = step.action.due
    until = "" if due is None else f" until {due.isoformat(timespec='milliseconds')}"
    return f"waits for a review by {who}{until}"


def review_of(saga: Saga, step: StepState) -> Json:
    """Its latest review; of an undo saga that of the original, which asked."""
    review = step.review
    if not review.seq:
        return None
    owner = saga.state.undoes or saga.identity.saga_id
    return {"review_id": review_id(owner, review.seq), "status": review.stage.value}
