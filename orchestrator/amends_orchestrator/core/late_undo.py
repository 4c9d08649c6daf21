"""Late undo: a saga of its own that takes a completed one back.

Its first rows copy what it needs of the original (state, input, output and mapped undo of each
step): it is decided and replayed from its own journal alone, whatever becomes of the original's.
Then it turns back, and is from there on a saga like any other. The original stays `completed`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from amends_contracts.messages import Json, Reversal
from amends_contracts.names import StepPath
from amends_contracts.problems import FieldError, Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decide import advance
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.journal_undo import StepAdopted
from amends_orchestrator.core.outcomes import turn_back
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.scope import output_in
from amends_orchestrator.core.state import (
    Asker,
    Identity,
    Saga,
    SagaStatus,
    State,
    StepState,
    StepStatus,
)
from amends_orchestrator.core.state_json import step_to_json
from amends_orchestrator.core.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequested:
    """Somebody wants a completed saga undone."""

    original: Saga
    values: Mapping[int, Json]
    """The data of its rows that `adopted_rows` names."""
    reason: str
    by: str
    across_pivot: bool = False
    asked: Asker | None = None
    """The step of another saga whose child this is."""


_WHY_NOT: Final = {
    SagaStatus.COMPENSATED: "it has been undone",
    SagaStatus.COMPENSATING: "it is being undone",
}


def adopted_rows(original: Saga) -> frozenset[int]:
    """The journal rows of a completed saga that its undo copies from."""
    steps = [step for _, step in _adopted(original)]
    rows = {
        seq
        for step in steps
        for seq in (step.input_seq, step.output_seq, step.undo_seq, step.loop.failure_seq)
    }
    return frozenset({1, *rows} - {0})


def _adopted(original: Saga) -> Iterator[tuple[StepPath, StepState]]:
    """What has left an effect stays out: it is nobody's to undo, it has an owner."""
    return (item for item in original.state.steps.items() if not item[1].residue)


def start_undo(
    plan: Plan, identity: Identity, request: UndoRequested, now: datetime
) -> Decision | Refused:
    """The first decision of an undo saga: everything is adopted, the last effects are undone."""
    refused = _refused(plan, request, now)
    if refused is not None:
        return refused
    original, values = request.original, request.values
    work = Work(plan, identity, 0, State(at=now), {}, now)
    work.emit(
        j.SagaStarted(
            key=identity.key,
            input=values[1].get("input"),
            by=request.by,
            labels=values[1].get("labels") or {},
            undoes=original.identity.saga_id,
            undoes_key=original.identity.key,
            asked=request.asked,
        )
    )
    for path, step in _adopted(original):
        work.emit(_copy(path, step, values))
    title = f"undone by {request.by}"
    problem = Problem(type=ProblemType.UNDO_REQUESTED, title=title, detail=request.reason)
    turn_back(work, problem, by=request.by)
    advance(work)
    return work.decision()


def _copy(path: StepPath, step: StepState, values: Mapping[int, Json]) -> StepAdopted:
    def data(seq: int) -> dict[str, Json]:
        return values[seq] if seq else {}

    failed = data(step.loop.failure_seq)
    return StepAdopted(
        path=path,
        state=step_to_json(step),
        input=data(step.input_seq).get("input"),
        output=output_in(data(step.output_seq)),
        undo=data(step.undo_seq).get("undo"),
        items=data(step.input_seq).get("items"),
        problem=failed.get("problem"),
        failure=failed.get("failure"),
    )


# --- may it be undone? ---------------------------------------------------------------------------


def _refused(plan: Plan, request: UndoRequested, now: datetime) -> Refused | None:
    saga = request.original
    if saga.state.undoes is not None:
        detail = f"it is itself the undo of saga {saga.state.undoes}"
        return Refused(type=ProblemType.WRONG_STATE, detail=detail)
    if saga.status is not SagaStatus.COMPLETED:
        why = _WHY_NOT.get(saga.status, f"it is {saga.status}: cancel it")
        return Refused(type=ProblemType.WRONG_STATE, detail=f"the saga has not completed: {why}")
    closed = tuple(_closed(saga, now))
    if closed:
        detail = f"the undo window of {len(closed)} steps has closed: the rest cannot go alone"
        return Refused(type=ProblemType.WINDOW_CLOSED, detail=detail, errors=closed)
    if saga.state.pivot is not None and not request.across_pivot:
        stays = tuple(_stays(plan, saga))
        what = f"{len(stays)} effects would stay" if stays else "everything can be taken back"
        detail = f"it is past its pivot {saga.state.pivot}; ask with `across_pivot: true` ({what})"
        return Refused(type=ProblemType.PAST_PIVOT, detail=detail, errors=stays)
    return None


def _closed(saga: Saga, now: datetime) -> Iterator[FieldError]:
    for path, step in saga.state.steps.items():
        until = step.retained_until
        if step.status is StepStatus.SUCCEEDED and until is not None and until <= now:
            reason = f"its undo window closed at {until.isoformat(timespec='seconds')}"
            yield FieldError(path=f"/steps/{path}", reason=reason)


def _stays(plan: Plan, saga: Saga) -> Iterator[FieldError]:
    """The residue that an undo would leave, beside what is residue already."""
    for path, step in saga.state.steps.items():
        node = plan.action_of(path)
        if node is None or step.status is not StepStatus.SUCCEEDED:
            continue
        if step.residue:
            yield FieldError(path=f"/steps/{path}", reason="it was left in the world already")
        elif node.undo is None and node.reversal is not Reversal.READ_ONLY:
            yield FieldError(path=f"/steps/{path}", reason="it cannot be taken back and would stay")
