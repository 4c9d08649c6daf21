"""A step's review in a view of its saga."""

from datetime import datetime
from typing import Protocol

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.reviews import review_id
from amends_orchestrator.core.state import OpState, Saga, StepState, StepStatus


def waits_for(step: StepState) -> str:
    """Whom it waits for, and until when."""
    who = ", ".join(step.review.assignees) or "any reviewer"
    return f"waits for a review by {who}{until(step.action)}"


def until(op: OpState) -> str:
    """How long it waits, if not for ever."""
    return "" if op.due is None else f" until {op.due.isoformat(timespec='milliseconds')}"


def review_of(saga: Saga, step: StepState) -> Json:
    """Its latest review; of an undo saga that of the original, which asked."""
    review = step.review
    if not review.seq:
        return None
    owner = saga.state.undoes or saga.identity.saga_id
    return {"review_id": review_id(owner, review.seq), "status": review.stage.value}


class Told(Protocol):
    """What the journal tells of a step."""

    started_at: datetime | None
    ended_at: datetime | None
    problem: Json
    output: Json


def review_step(saga: Saga, path: StepPath, step: StepState | None, story: Told) -> dict[str, Json]:
    """A review that is a step of its own."""
    status = StepStatus.PENDING if step is None else step.status
    began, ended = story.started_at, story.ended_at
    data: dict[str, Json] = {
        "path": path,
        "kind": "review",
        "status": status.value,
        "attempt": 0,
        "started_at": None if began is None else began.isoformat(),
        "ended_at": None if ended is None else ended.isoformat(),
    }
    waits = step is not None and step.review.is_open
    optional = {
        "reason": waits_for(step) if step is not None and waits else None,
        "review": None if step is None else review_of(saga, step),
        "problem": story.problem,
        "output": story.output,
    }
    return data | {name: value for name, value in optional.items() if value is not None}
