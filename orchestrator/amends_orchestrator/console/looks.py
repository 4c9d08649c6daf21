"""How a status is shown: one table for every page. Shape, word and colour all say the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from amends_orchestrator.core.reviews import ReviewStage
from amends_orchestrator.core.state import SagaStatus, StepStatus
from amends_orchestrator.drills.results import Verdict


@dataclass(frozen=True, slots=True)
class Look:
    """Icon (a symbol of `icons.html`), tone (a colour of `console.css`) and word."""

    icon: str
    tone: str
    word: str
    moving: bool = False


SAGA: Final[Mapping[str, Look]] = {
    SagaStatus.RUNNING: Look("running", "busy", "running", moving=True),
    SagaStatus.COMPENSATING: Look("undo", "undoing", "undoing", moving=True),
    SagaStatus.STUCK: Look("alarm", "bad", "stuck"),
    SagaStatus.SUSPENDED: Look("pause", "quiet", "suspended"),
    SagaStatus.COMPLETED: Look("check", "ok", "completed"),
    SagaStatus.COMPENSATED: Look("undo", "undone", "compensated"),
}
STEP: Final[Mapping[str, Look]] = {
    StepStatus.PENDING: Look("pending", "quiet", "waiting"),
    StepStatus.RUNNING: Look("running", "busy", "running", moving=True),
    StepStatus.RETRYING: Look("retry", "busy", "retrying", moving=True),
    StepStatus.SUCCEEDED: Look("check", "ok", "done"),
    StepStatus.FAILED: Look("cross", "bad", "failed"),
    StepStatus.UNKNOWN: Look("unknown", "bad", "outcome unknown"),
    StepStatus.SKIPPED: Look("dash", "quiet", "skipped"),
    StepStatus.COMPENSATING: Look("undo", "undoing", "undoing", moving=True),
    StepStatus.COMPENSATED: Look("undo", "undone", "undone"),
    StepStatus.NOTHING_TO_COMPENSATE: Look("dash", "quiet", "nothing to undo"),
    StepStatus.COMPENSATION_FAILED: Look("alarm", "bad", "undo failed"),
}
REVIEW: Final[Mapping[str, Look]] = {
    ReviewStage.OPEN: Look("pending", "busy", "waits"),
    ReviewStage.APPROVED: Look("check", "ok", "approved"),
    ReviewStage.REJECTED: Look("cross", "bad", "rejected"),
    ReviewStage.EXPIRED: Look("alarm", "bad", "expired"),
    ReviewStage.WITHDRAWN: Look("dash", "quiet", "withdrawn"),
    ReviewStage.LAPSED: Look("retry", "quiet", "lapsed"),
    ReviewStage.ROLLED_BACK: Look("undo", "undone", "rolled back"),
}
DRILLED: Final[Mapping[str, Look]] = {
    Verdict.PASS: Look("check", "ok", "pass"),
    Verdict.FAIL: Look("cross", "bad", "fail"),
    Verdict.INCONCLUSIVE: Look("unknown", "undoing", "inconclusive"),
}
NOT_RUN: Final = Look("dot", "faint", "not run")
"""A step that an ended saga never came to, or that stands in a case not taken."""


def review_look(stage: str) -> Look:
    """The look of a review."""
    return REVIEW.get(stage, Look("dot", "quiet", stage))


def verdict_look(verdict: str) -> Look:
    """The look of a drill's cell."""
    return DRILLED.get(verdict, Look("dot", "quiet", verdict))


def drill_look(*, over: bool, wrong: bool, proven: bool) -> Look:
    """The look of a drill's run: `wrong`: a cell failed, or something is held; `proven`: all."""
    if wrong:
        return Look("cross", "bad", "something is wrong")
    if not over:
        return Look("pending", "quiet", "not over")
    if proven:
        return Look("check", "ok", "all undone")
    return Look("unknown", "undoing", "not all judged")


def saga_look(status: str) -> Look:
    """The look of a saga."""
    return SAGA.get(status, Look("dot", "quiet", status))


def step_look(status: str, *, over: bool) -> Look:
    """The look of a step; `over`: its saga has ended or its case was not taken."""
    if over and status == StepStatus.PENDING:
        return NOT_RUN
    return STEP.get(status, Look("dot", "quiet", status))
