"""What people do to a saga: cancel, suspend, resume, retry, skip, resolve."""

from amends_contracts.messages import Effect, Outcome
from amends_contracts.names import StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import (
    CancelRequested,
    Fault,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    SuspendRequested,
)
from amends_orchestrator.core.outcomes import fail, stop, succeed, turn_back
from amends_orchestrator.core.plan import ActionNode, AwaitNode
from amends_orchestrator.core.state import UNSENT, Doing, OpState, StepState, StepStatus
from amends_orchestrator.core.work import Work


def _wrong_state(detail: str, *, duplicate: bool = False) -> Refused:
    return Refused(type=ProblemType.WRONG_STATE, detail=detail, duplicate=duplicate)


def on_cancel(work: Work, message: CancelRequested) -> Refused | None:
    """Turn back; while a pivot is in flight its outcome decides; after it: refused."""
    draft = work.draft
    if draft.pivot is not None:
        detail = f"the pivot {draft.pivot} has succeeded: the saga can only go forward"
        return Refused(type=ProblemType.PAST_PIVOT, detail=detail)
    if not work.forward or draft.stop is not None:
        return _wrong_state("it is being stopped already", duplicate=True)
    _free(work, message.by, message.reason)
    for path, step in work.blocked():
        if step.status is StepStatus.UNKNOWN and not _is_pivot(work, path):
            problem = Problem(type=step.problem or ProblemType.CANCELLED, title="cancelled")
            attempt = step.action.attempt
            work.emit(j.StepUnknown(path=path, attempt=attempt, problem=problem))
    title = f"cancelled by {message.by}"
    problem = Problem(type=ProblemType.CANCELLED, title=title, detail=message.reason or None)
    stop(work, problem, message.by)
    return None


def _is_pivot(work: Work, path: StepPath) -> bool:
    node = work.plan.action_of(path)
    return node is not None and node.pivot


def _free(work: Work, by: str, reason: str) -> None:
    """End a halt of the whole saga (an engine fault, a full journal)."""
    if work.draft.stuck and (work.draft.fault or work.draft.full):
        work.emit(j.SagaUnstuck(by=by, reason=reason))


def on_suspend(work: Work, message: SuspendRequested) -> Refused | None:
    """Dispatch nothing from now on."""
    if work.draft.suspended:
        return _wrong_state("it is suspended already", duplicate=True)
    work.emit(j.SagaSuspended(by=message.by, reason=message.reason))
    return None


def on_resume(work: Work, message: ResumeRequested) -> Refused | None:
    """End a suspension, or let a saga go on that an engine fault or a full journal stopped."""
    draft = work.draft
    if draft.suspended:
        work.emit(j.SagaResumed(by=message.by, reason=message.reason))
        return None
    if not (draft.fault or draft.full):
        return _wrong_state("it is not suspended", duplicate=True)
    _free(work, message.by, message.reason)
    return None


def on_fault(work: Work, message: Fault) -> Refused | None:
    """The engine met an exception while deciding this saga: stuck, shown, not lost."""
    if work.draft.fault:
        return _wrong_state("it is stuck by an engine fault already", duplicate=True)
    if work.draft.stuck:  # say it anew, with the reason that matters more
        work.emit(j.SagaUnstuck())
    work.emit(j.SagaStuck(problem=message.problem, fault=True))
    return None


# --- the open operation of a step ----------------------------------------------------------------

_SETTLED = frozenset({Doing.IDLE, Doing.CLOSED})


def _open_op(work: Work, path: StepPath) -> tuple[StepState, OpState, ActionNode | None] | Refused:
    """The step, its open operation and its node (None: it holds others, or it waits)."""
    step = work.draft.steps.get(path)
    node = work.plan.node_of(path)
    if node is None:
        return Refused(type=ProblemType.NOT_FOUND, detail=f"no step {path}")
    if step is None:
        return _wrong_state(f"{path} has not begun")
    undoing = step.status in (StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED)
    op = step.undo if undoing else step.action
    if op.doing in _SETTLED:
        return _wrong_state(f"{path} is {step.status}: no operation of it is open")
    return step, op, node if isinstance(node, ActionNode) else None


def on_retry(work: Work, message: RetryRequested) -> Refused | None:
    """Send the open operation again, now, with a new budget of attempts."""
    found = _open_op(work, message.path)
    if isinstance(found, Refused):
        return found
    step, op, node = found
    path = message.path
    if step.status is StepStatus.SUCCEEDED:
        return _wrong_state(f"{path} has succeeded without a usable output: resolve it with one")
    if op.doing is Doing.SENT and node is not None and node.effect is Effect.NONE:
        detail = f"{path} is in flight and must not run twice: resolve or skip it"
        return _wrong_state(detail)
    if step.status is StepStatus.COMPENSATION_FAILED and node is not None and node.undo is None:
        return _wrong_state(f"{path} declares no compensation: resolve or skip it")
    undoing = step.status in (StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED)
    if op.doing is Doing.WAITING:
        return _wrong_state(f"{path} waits for {op.due}: skip it to go on now")
    if op.doing is Doing.REVIEWING:
        return _wrong_state(f"{path} waits for a review: that is to be decided")
    onward = work.onward(path)
    if not onward and not undoing and op.doing is not Doing.BLOCKED:
        return _wrong_state(f"the saga has turned back: no attempt of {path} starts any more")
    _free(work, message.by, message.reason)
    work.emit(j.OperatorRetried(path=path, by=message.by, reason=message.reason))
    if not onward and not undoing:  # there is no way forward: it is compensated as unknown
        problem = Problem(type=step.problem or ProblemType.EFFECT_IN_DOUBT, title=message.reason)
        work.emit(j.StepUnknown(path=path, attempt=step.action.attempt, problem=problem))
    return None


def on_skip(work: Work, message: SkipRequested) -> Refused | None:
    """Close the open operation; an effect that may be there becomes residue with an owner."""
    found = _open_op(work, message.path)
    if isinstance(found, Refused):
        return found
    step, op, node = found
    if op.doing is Doing.REVIEWING and node is None:
        return _wrong_state(f"{message.path} is a review: decide it, or cancel the saga")
    undoing = step.status in (StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED)
    nothing = step.status in (StepStatus.FAILED, StepStatus.SUCCEEDED) or (
        op.doing in UNSENT | {Doing.REVIEWING} and not op.doubt
    )  # a bad output alone was skipped, or nothing changed: no effect without an owner
    _free(work, message.by, message.reason)
    work.emit(
        j.OperatorSkipped(
            path=message.path,
            by=message.by,
            reason=message.reason,
            owner=message.owner,
            residue=undoing
            or (node is not None and not nothing and step.status is not StepStatus.SUCCEEDED),
            evidence=message.evidence,
        )
    )
    stopped = work.draft.stop
    if work.forward and stopped is not None and node is not None and node.pivot:
        # nobody will say any more what became of the pivot that the stop waits for
        turn_back(work, Problem(type=stopped.type, title=stopped.detail))
    return None


def on_resolve(work: Work, message: ResolveRequested) -> Refused | None:
    """Close the open operation with the outcome that an operator knows."""
    found = _open_op(work, message.path)
    if isinstance(found, Refused):
        return found
    step, op, node = found
    path, succeeded = message.path, message.outcome is Outcome.SUCCEEDED
    if op.doing is Doing.REVIEWING:
        return _wrong_state(f"{path} waits for a review: that is to be decided")
    if message.outcome not in (Outcome.SUCCEEDED, Outcome.FAILED):
        return Refused(type=ProblemType.BAD_REQUEST, detail="an outcome is `succeeded` or `failed`")
    if node is None:
        if isinstance(work.plan.node_of(path), AwaitNode):
            return _wrong_state(f"{path} awaits an event: signal it, or skip it")
        if op.doing is Doing.WAITING:
            return _wrong_state(f"{path} waits for {op.due}: skip it to go on now")
        return _wrong_state(f"{path} holds other steps: retry or skip it")
    undoing = step.status in (StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED)
    if not succeeded and not undoing:
        if step.status is StepStatus.SUCCEEDED:
            return _wrong_state(f"{path} has succeeded: give it an output, or skip it")
        if work.draft.pivot is not None and not node.ignore:
            return _wrong_state(f"{path} stands after the pivot: retry, skip, or say it succeeded")
    _free(work, message.by, message.reason)
    work.emit(
        j.OperatorResolved(path=path, by=message.by, reason=message.reason, outcome=message.outcome)
    )
    title = f"resolved by {message.by}"
    problem = Problem(type=ProblemType.RESOLVED, title=title, detail=message.reason or None)
    if undoing:
        if succeeded:
            work.emit(
                j.UndoSucceeded(
                    path=path, attempt=op.attempt, output=message.output, via="operator"
                )
            )
        else:
            work.emit(j.UndoFailed(path=path, attempt=op.attempt, problem=problem))
    elif succeeded:
        succeed(work, node, path, op.attempt, message.output, via="operator")
    else:
        fail(work, node, path, problem, via="operator")
    return None
