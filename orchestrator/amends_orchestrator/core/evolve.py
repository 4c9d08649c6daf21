"""What each fact changes. `decide` and replay use this and nothing else, so they cannot differ.

`Draft` is a saga's state under construction: facts are applied to it in place, and `freeze` gives
the immutable state. Nothing outside the core sees a draft.
"""

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import assert_never

from amends_contracts.names import StepPath
from amends_contracts.problems import ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core import journal_reviews as r
from amends_orchestrator.core import journal_signals as s
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.evolve_holders import hold
from amends_orchestrator.core.evolve_metered import metered
from amends_orchestrator.core.evolve_permits import give_back, queue
from amends_orchestrator.core.evolve_reviews import apply_review, rolled_back, withdrawn
from amends_orchestrator.core.evolve_saga import apply_saga, grant
from amends_orchestrator.core.evolve_signals import apply_await, receive
from amends_orchestrator.core.evolve_undo import apply_adopted
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.journal_permits import StepHeld, StepPermitted, StepQueued
from amends_orchestrator.core.journal_rows import from_row
from amends_orchestrator.core.journal_undo import StepAdopted
from amends_orchestrator.core.moves import STEP_MOVE_OF
from amends_orchestrator.core.packed import copy_of
from amends_orchestrator.core.state import (
    IDLE,
    Doing,
    Identity,
    OpState,
    Saga,
    State,
    StepState,
    StepStatus,
    replace,
    unpacked,
)


class Draft:
    """A state that facts are applied to."""

    __slots__ = (
        "asked",
        "at",
        "deadline",
        "direction",
        "ended",
        "failure",
        "fault",
        "full",
        "interrupt_at",
        "kept",
        "meter",
        "open",
        "output_seq",
        "pivot",
        "residue",
        "rows_max",
        "signals",
        "steps",
        "stop",
        "stuck",
        "suspended",
        "undoes",
        "undoes_key",
    )

    def __init__(self, state: State) -> None:
        self.at = state.at
        self.steps = copy_of(state.steps)
        self.open: set[StepPath] = {path for path, step in unpacked(self.steps) if step.is_open}
        """Steps that something is still awaited for: few, however many the saga has."""
        self.direction = state.direction
        self.pivot = state.pivot
        self.deadline = state.deadline
        self.interrupt_at = state.interrupt_at
        self.suspended = state.suspended
        self.stuck = state.stuck
        self.fault = state.fault
        self.full = state.full
        self.stop = state.stop
        self.failure = state.failure
        self.rows_max = state.rows_max
        self.residue = state.residue
        self.output_seq = state.output_seq
        self.signals = state.signals
        self.kept = state.kept
        self.undoes, self.undoes_key = state.undoes, state.undoes_key
        self.asked = state.asked
        self.meter = state.meter
        self.ended = state.ended

    def freeze(self) -> State:
        """The immutable state; the draft must not be used afterwards."""
        return State._make(_members(self))

    def apply(self, event: Event, seq: int, at: datetime) -> None:
        """Apply one fact, which stands (or will stand) in row `seq`."""
        self.at = at
        self.meter = metered(self.meter, event)
        match event:
            case (
                j.StepDispatched()
                | j.StepProgressed()
                | j.StepRetrying()
                | j.StepUndeliverable()
                | j.StepDoubted()
                | j.StepProbed()
            ):
                _open(self, event, seq, at)
            case j.StepSucceeded() | j.StepFailed() | j.StepUnknown():
                _settle(self, event, seq)
            case StepQueued() | StepPermitted() | StepHeld():
                self.steps[event.path] = queue(self.steps.get(event.path), event, seq, at)
            case (
                j.UndoDispatched()
                | j.UndoProgressed()
                | j.UndoRetrying()
                | j.UndoUndeliverable()
                | j.UndoDoubted()
                | j.UndoProbed()
                | j.UndoSucceeded()
                | j.UndoFailed()
            ):
                _undo(self, event, seq, at)
            case (
                j.StepEntered()
                | j.StepTurned()
                | j.StepAdvanced()
                | j.StepPlanFailed()
                | j.StepLeft()
            ):
                status = _next(self.steps.get(event.path), event)
                hold(self.steps, event, status, seq)
            case (
                j.StepSkipped()
                | j.StepAlarmed()
                | j.StepLate()
                | j.StepNothingToCompensate()
                | j.StepResidue()
                | j.OperatorRetried()
                | j.OperatorSkipped()
                | j.OperatorResolved()
            ):
                _step(self, event, seq, at)
            case s.StepAwaiting() | s.StepSignalled() | s.StepWithdrawn():
                apply_await(self, event, _next(self.steps.get(event.path), event), at)
            case (
                r.ReviewRequested()
                | r.ReviewDecided()
                | r.ReviewExpired()
                | r.ReviewApproved()
                | r.StepReviewed()
            ):
                apply_review(self, event, _next(self.steps.get(event.path), event), seq, at)
            case StepAdopted():
                apply_adopted(self, event, seq)
            case s.SignalReceived():
                receive(self, event, seq)
                return
            case _:
                apply_saga(self, event, seq)
                return
        (self.open.add if self.steps[event.path].is_open else self.open.discard)(event.path)


_members = attrgetter(*State._fields)


def _next(step: StepState | None, event: Event) -> StepStatus:
    """The status after a fact; the table of moves decides."""
    status = None if step is None else step.status
    moves = STEP_MOVE_OF[event.KIND]
    assert status in moves, f"{event.KIND} for a step that is {status}"
    target = moves[status]
    assert target is not None
    return target


_OpenEvent = (
    j.StepDispatched
    | j.StepProgressed
    | j.StepRetrying
    | j.StepUndeliverable
    | j.StepDoubted
    | j.StepProbed
)
_SettlingEvent = j.StepSucceeded | j.StepFailed | j.StepUnknown


def _open(draft: Draft, event: _OpenEvent, seq: int, at: datetime) -> None:
    """The action is under way."""
    path = event.path
    old = draft.steps.get(path)
    status = _next(old, event)
    step = old or StepState(status)
    op = step.action
    match event:
        case j.StepDispatched(attempt=attempt, due=due, first=first):
            again = attempt == op.attempt
            op = OpState(
                attempt,
                op.base,
                Doing.SENT,
                due,
                op.doubt,
                returns=op.returns if again else 0,
                sent_at=at,
            )
            input_seq = seq if first else step.input_seq
            step = replace(step, status=status, action=op, input_seq=input_seq, held=False)
        case j.StepProgressed(due=due):
            op = replace(op, due=due, progress=op.progress + 1, progress_at=at, returns=0)
            step = replace(step, status=status, action=op)
        case j.StepRetrying(due=due, doubt=doubt, probed=probed, problem=problem):
            op = replace(
                op, doing=Doing.BACKOFF, due=due, doubt=doubt, returns=0, probes=0, resend=False
            )
            step = replace(
                step,
                status=status,
                action=op,
                probed=step.probed or probed,
                problem=problem.type,
                halts=False,
            )
            step = step if doubt else give_back(step)
        case j.StepUndeliverable(due=due, doubt=doubt):
            op = replace(
                op, doing=Doing.BACKOFF, due=due, doubt=doubt, returns=op.returns + 1, resend=True
            )
            step = replace(step, status=status, action=op, problem=ProblemType.UNDELIVERABLE.value)
        case j.StepDoubted(due=due, problem=problem, returned=returned):
            returns = op.returns + 1 if returned else 0
            op = replace(op, doing=Doing.DOUBT, due=due, doubt=True, returns=returns)
            step = replace(step, status=status, action=op, problem=problem.type)
        case j.StepProbed(due=due):
            op = replace(op, doing=Doing.PROBING, due=due, probes=op.probes + 1)
            step = replace(step, status=status, action=op)
        case _:
            assert_never(event)
    draft.steps[path] = step


def _settle(draft: Draft, event: _SettlingEvent, seq: int) -> None:
    """The action is settled, or as settled as it will be without a person."""
    path = event.path
    old = draft.steps.get(path)
    status = _next(old, event)
    step = old or StepState(status)
    op = step.action
    match event:
        case j.StepSucceeded():
            step = _succeeded(draft, step, status, event, seq)
        case j.StepFailed(problem=problem, blocked=blocked, ignored=ignored):
            step = replace(
                step,
                status=status,
                action=_settled(op, blocked=blocked, doubt=False),
                problem=problem.type,
                ignored=ignored,
                halts=False,
            )
        case j.StepUnknown(problem=problem, blocked=blocked, ignored=ignored, halts=halts):
            step = replace(
                step,
                status=status,
                action=_settled(op, blocked=blocked, doubt=True),
                problem=problem.type,
                ignored=ignored,
                halts=halts,
            )
        case _:
            assert_never(event)
    draft.steps[path] = give_back(step)


def _settled(op: OpState, *, blocked: bool, doubt: bool) -> OpState:
    """Nothing is under way any more. A closed operation stays closed."""
    doing = Doing.BLOCKED if blocked else Doing.IDLE
    if op.doing is Doing.CLOSED and not blocked:
        doing = Doing.CLOSED
    return OpState(op.attempt, op.base, doing, None, doubt, sent_at=op.sent_at)


def _succeeded(
    draft: Draft, step: StepState, status: StepStatus, event: j.StepSucceeded, seq: int
) -> StepState:
    if event.pivot:
        draft.pivot = event.path
    return replace(
        step,
        status=status,
        action=_settled(step.action, blocked=event.blocked, doubt=False),
        output_seq=0 if event.output is None else seq,
        undo_seq=seq if event.mapped else 0,
        undo_bad=event.undo_problem is not None,
        known=True,
        ignored=False,
        halts=False,
        problem=None if event.problem is None else event.problem.type,
        retained_until=event.retained_until,
    )


_UndoEvent = (
    j.UndoDispatched
    | j.UndoProgressed
    | j.UndoRetrying
    | j.UndoUndeliverable
    | j.UndoDoubted
    | j.UndoProbed
    | j.UndoSucceeded
    | j.UndoFailed
)


def _undo(draft: Draft, event: _UndoEvent, seq: int, at: datetime) -> None:
    step = draft.steps[event.path]
    status = _next(step, event)
    op = step.undo
    match event:
        case j.UndoDispatched(attempt=attempt, due=due, mapped=mapped):
            returns = op.returns if attempt == op.attempt else 0
            op = OpState(attempt, op.base, Doing.SENT, due, op.doubt, returns=returns, sent_at=at)
            undo_seq = seq if mapped else step.undo_seq
            step = replace(step, status=status, undo=op, undo_seq=undo_seq)
        case j.UndoProgressed(due=due):
            op = replace(op, due=due, progress=op.progress + 1, progress_at=at, returns=0)
            step = replace(step, status=status, undo=op)
        case j.UndoRetrying(due=due, doubt=doubt, problem=problem):
            op = OpState(op.attempt, op.base, Doing.BACKOFF, due, doubt, sent_at=op.sent_at)
            step = replace(step, status=status, undo=op, problem=problem.type)
        case j.UndoUndeliverable(due=due):
            op = replace(op, doing=Doing.BACKOFF, due=due, returns=op.returns + 1, resend=True)
            problem = ProblemType.UNDELIVERABLE.value
            step = replace(step, status=status, undo=op, problem=problem)
        case j.UndoDoubted(due=due, acknowledged=acknowledged, problem=problem, returned=returned):
            op = replace(
                op,
                doing=Doing.DOUBT,
                due=due,
                doubt=True,
                acknowledged=acknowledged,
                returns=op.returns + 1 if returned else 0,
            )
            kind = step.problem if problem is None else problem.type
            step = replace(step, status=status, undo=op, problem=kind, halts=False)
        case j.UndoProbed(due=due):
            op = replace(op, doing=Doing.PROBING, due=due, probes=op.probes + 1)
            step = replace(step, status=status, undo=op)
        case j.UndoSucceeded():
            op = _settled(op, blocked=False, doubt=False)
            step = rolled_back(replace(step, status=status, undo=op, halts=False))
        case j.UndoFailed(problem=problem, acknowledged=acknowledged, halts=halts):
            op = replace(_settled(op, blocked=True, doubt=op.doubt), acknowledged=acknowledged)
            step = replace(step, status=status, undo=op, problem=problem.type, halts=halts)
        case _:
            assert_never(event)
    draft.steps[event.path] = step


_StepEvent = (
    j.StepSkipped
    | j.StepAlarmed
    | j.StepLate
    | j.StepNothingToCompensate
    | j.StepResidue
    | j.OperatorRetried
    | j.OperatorSkipped
    | j.OperatorResolved
)


def _step(draft: Draft, event: _StepEvent, seq: int, at: datetime) -> None:
    path = event.path
    old = draft.steps.get(path)
    status = _next(old, event)
    step = old or StepState(status)
    match event:
        case j.StepSkipped():
            step = replace(step, status=status, action=IDLE)
        case j.StepNothingToCompensate():
            step = rolled_back(replace(step, status=status))
        case j.StepAlarmed():
            step = replace(step, alarmed=True)
        case j.StepLate(output=output, mapped=mapped):
            step = replace(
                step,
                known=True,
                output_seq=0 if output is None else seq,
                undo_seq=seq if mapped else step.undo_seq,
            )
        case j.StepResidue():
            draft.residue += 1
            step = replace(step, residue=True)
        case j.OperatorRetried():
            grant(draft, seq)
            if status is StepStatus.COMPENSATING:
                step = replace(step, status=status, undo=_anew(step.undo, at), halts=False)
            else:
                step = replace(step, status=status, action=_anew(step.action, at), halts=False)
        case j.OperatorSkipped(residue=residue):
            grant(draft, seq)
            step = withdrawn(_close(step, status))
            draft.residue += residue
            step = replace(step, status=status, residue=residue)
        case j.OperatorResolved():
            grant(draft, seq)
            step = _close(step, status)
        case _:
            assert_never(event)
    draft.steps[path] = step


def _anew(op: OpState, at: datetime) -> OpState:
    """To be sent at once, with a new budget; attempts go on counting."""
    doubt = op.doubt or op.doing is Doing.SENT  # what was in flight may still take effect
    return OpState(op.attempt, op.attempt, Doing.BACKOFF, at, doubt, sent_at=op.sent_at)


def _close(step: StepState, status: StepStatus) -> StepState:
    undoing = status in (StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED)
    op = step.undo if undoing else step.action
    op = OpState(op.attempt, op.base, Doing.CLOSED, sent_at=op.sent_at)
    if undoing:
        return replace(step, undo=op, halts=False)
    return give_back(replace(step, action=op, halts=False))


def evolve(saga: Saga | None, row: JournalRow, identity: Identity | None = None) -> Saga:
    """The saga after one more row; the first row needs the identity."""
    if saga is None:
        assert identity is not None, "the first row of a saga needs its identity"
        assert row.seq == 1, f"a journal begins with row 1, not {row.seq}"
        saga = Saga(identity=identity, seq=0, state=State(at=row.at))
    assert row.seq == saga.seq + 1, f"row {row.seq} after row {saga.seq}"
    draft = Draft(saga.state)
    draft.apply(from_row(row), row.seq, row.at)
    return Saga(identity=saga.identity, seq=row.seq, state=draft.freeze())


def replay(rows: Iterable[JournalRow], identity: Identity) -> Saga:
    """The saga that a journal tells."""
    saga: Saga | None = None
    for row in rows:
        saga = evolve(saga, row, identity)
    assert saga is not None, "a journal without rows"
    return saga
