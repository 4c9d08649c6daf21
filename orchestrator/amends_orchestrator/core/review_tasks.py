"""What a decision changes of the reviews that people see in their lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.plan import ActionNode, Plan
from amends_orchestrator.core.plan_reviews import ReviewNode
from amends_orchestrator.core.reviews import ReviewStage
from amends_orchestrator.core.state import Saga, StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """What never changes about a review."""

    step: StepPath
    command: str | None
    """What waits for it; None: it is a step of its own."""
    title: str
    quorum: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewTask:
    """A review as it stands after a decision."""

    saga_id: SagaId
    """The saga that asked: of an undo saga the original."""
    seq: int
    stage: ReviewStage
    shown_seq: int
    digest: str
    assignees: tuple[str, ...]
    approved_by: tuple[str, ...]
    due: datetime | None
    decided_at: datetime | None
    """When it was open no longer; None while it is. A later one does not count."""
    request: ReviewRequest | None = None
    """There exactly if it is new."""


_TELLING = frozenset(
    {
        Kind.REVIEW_REQUESTED,
        Kind.REVIEW_DECIDED,
        Kind.REVIEW_EXPIRED,
        Kind.REVIEW_APPROVED,
        Kind.STEP_WITHDRAWN,
        Kind.STEP_NOTHING_TO_COMPENSATE,
        Kind.OPERATOR_SKIPPED,
        Kind.UNDO_SUCCEEDED,
    }
)


def review_tasks(plan: Plan, saga: Saga, rows: Sequence[JournalRow]) -> tuple[ReviewTask, ...]:
    """Every review that these rows, the latest of the saga, have changed; once each, by seq."""
    if not plan.reviews:
        return ()
    tasks: dict[int, ReviewTask] = {}
    requests = {row.seq: row for row in rows if row.kind == Kind.REVIEW_REQUESTED}
    paths = dict.fromkeys(row.step for row in rows if row.kind in _TELLING and row.step)
    for path in paths:
        step = saga.state.steps[path]
        if step.review.seq:
            new = requests.get(step.review.seq)
            request = None if new is None else _request(plan, path, new)
            task = _task(saga, step, request)
            tasks[task.seq] = task
    for row in requests.values():
        lapsed: int = row.data.get("lapsed", 0)
        if lapsed and lapsed not in requests:
            assert row.step is not None
            step = saga.state.steps[row.step]
            tasks[lapsed] = _lapsed(saga, step, lapsed, row.at)
    return tuple(tasks[seq] for seq in sorted(tasks))


def _task(saga: Saga, step: StepState, request: ReviewRequest | None) -> ReviewTask:
    review = step.review
    return ReviewTask(
        saga_id=saga.state.undoes or saga.identity.saga_id,
        seq=review.seq,
        stage=review.stage,
        shown_seq=review.shown_seq,
        digest=review.digest,
        assignees=review.assignees,
        approved_by=review.approved_by,
        due=step.action.due if review.is_open else None,
        decided_at=None if review.is_open else saga.state.at,
        request=request,
    )


def _lapsed(saga: Saga, step: StepState, seq: int, at: datetime) -> ReviewTask:
    """Of a review in whose place another one is asked for; what it showed is shown again."""
    return ReviewTask(
        saga_id=saga.identity.saga_id,
        seq=seq,
        stage=ReviewStage.LAPSED,
        shown_seq=step.review.seq,
        digest=step.review.digest,
        assignees=step.review.assignees,
        approved_by=(),
        due=None,
        decided_at=at,
    )


def _request(plan: Plan, path: StepPath, row: JournalRow) -> ReviewRequest:
    node = plan.node_of(path)
    assert isinstance(node, ActionNode | ReviewNode), f"{path} is never reviewed"
    review = node.review if isinstance(node, ReviewNode) else node.guard
    assert review is not None, f"{path} has no review"
    return ReviewRequest(
        step=path,
        command=node.command if isinstance(node, ActionNode) else None,
        title=row.data["title"],
        quorum=review.quorum,
        at=row.at,
    )
