"""What facts of the saga as a whole change; a part of `evolve`."""

from typing import TYPE_CHECKING, TypeAlias, assert_never

from amends_orchestrator.core import journal as j
from amends_orchestrator.core.evolve_holders import interrupted
from amends_orchestrator.core.evolve_undo import asked_by
from amends_orchestrator.core.state import ROWS_GRANT, ROWS_MAX, Direction, SagaStatus

if TYPE_CHECKING:
    from amends_orchestrator.core.evolve import Draft


def grant(draft: "Draft", seq: int) -> None:
    """An operator acts: the journal may grow by some more rows."""
    if draft.full:
        draft.full = False
        draft.rows_max = seq + ROWS_GRANT


SagaEvent: TypeAlias = (
    j.SagaStarted
    | j.SagaCompensating
    | j.SagaStopping
    | j.SagaStopLapsed
    | j.SagaOverdue
    | j.SagaStuck
    | j.SagaUnstuck
    | j.SagaSuspended
    | j.SagaResumed
    | j.SagaCompleted
    | j.SagaCompensated
    | j.SagaAsked
)


def apply_saga(draft: "Draft", event: SagaEvent, seq: int) -> None:
    """Apply one of them."""
    match event:
        case j.SagaStarted():
            draft.deadline = event.deadline
            draft.undoes, draft.undoes_key = event.undoes, event.undoes_key
            draft.asked = () if event.asked is None else (event.asked,)
        case j.SagaAsked(asker=asker):
            draft.asked = asked_by(draft.asked, asker)
        case j.SagaCompensating(failure=failure, interrupt_at=interrupt_at):
            draft.direction = Direction.BACK
            draft.failure = failure
            draft.deadline = draft.stop = None
            draft.interrupt_at = interrupt_at
            draft.rows_max = seq + ROWS_MAX
            draft.full = False
            for path in draft.open:
                draft.steps[path] = interrupted(draft.steps[path], interrupt_at)
        case j.SagaStopping(failure=failure):
            draft.stop = failure
        case j.SagaStopLapsed():
            draft.stop = None
        case j.SagaOverdue():
            draft.deadline = None
        case j.SagaStuck(fault=fault, full=full):
            draft.stuck = True
            draft.fault = draft.fault or fault
            draft.full = draft.full or full
        case j.SagaUnstuck():
            draft.stuck = draft.fault = False
            if draft.full:
                grant(draft, seq)
        case j.SagaSuspended():
            draft.suspended = True
        case j.SagaResumed():
            draft.suspended = False
        case j.SagaCompleted(output=output):
            _end(draft, SagaStatus.COMPLETED)
            draft.output_seq = 0 if output is None else seq
        case j.SagaCompensated():
            _end(draft, SagaStatus.COMPENSATED)
        case _:
            assert_never(event)


def _end(draft: "Draft", status: SagaStatus) -> None:
    draft.ended = status
    draft.deadline = draft.interrupt_at = None
