"""The one question: given a saga and one message, what happens?

`decide` is pure. It answers with journal rows and commands to be made durable as a whole, or
refuses, or says which recorded values it lacks. After every message the saga goes on as far as it
can: what is next is asked of the plan (`forward`, `compensation`), never remembered.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import assert_never

from amends_contracts.messages import Json
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.awaiting import expire_await, on_signal
from amends_orchestrator.core.children import on_asked
from amends_orchestrator.core.compensation import expire_undo, go_back
from amends_orchestrator.core.decision import Answer, Decision, Missing, Refused
from amends_orchestrator.core.forward import go_forward
from amends_orchestrator.core.inputs import (
    Asked,
    CancelRequested,
    DeadLettered,
    Fault,
    Granted,
    Input,
    ReplyReceived,
    ResolveRequested,
    ResumeRequested,
    RetryRequested,
    Returned,
    ReviewDecision,
    Signalled,
    SkipRequested,
    StartRequested,
    SuspendRequested,
    Woke,
)
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.operator import (
    on_cancel,
    on_fault,
    on_resolve,
    on_resume,
    on_retry,
    on_skip,
    on_suspend,
)
from amends_orchestrator.core.outcomes import expire_action, stop
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.queueing import on_granted
from amends_orchestrator.core.replies import on_dead_lettered, on_reply, on_returned
from amends_orchestrator.core.reviewing import expire_review, on_decision
from amends_orchestrator.core.state import TERMINAL, Doing, Identity, Saga, State
from amends_orchestrator.core.work import Need, Work

Values = Mapping[int, Json]
"""Data of journal rows, by seq."""
_EXPIRES = frozenset({Doing.SENT, Doing.PROBING})
_SENT = frozenset({Kind.STEP_DISPATCHED.value, Kind.UNDO_DISPATCHED.value})
"""What makes nothing else possible: another look at the plan would find nothing to do."""


Sick = Mapping[str, timedelta]
"""Services that do not answer, and for how long nothing is to be sent to them."""


def start(
    plan: Plan,
    identity: Identity,
    request: StartRequested,
    now: datetime,
    sick: Sick | None = None,
) -> Decision | Refused:
    """The first decision of a saga: it is there, and its first steps are dispatched."""
    work = Work(plan, identity, 0, State(at=now), {}, now, sick)
    work.emit(
        j.SagaStarted(
            key=request.key,
            input=request.input,
            by=request.by,
            labels=dict(request.labels),
            deadline=None if plan.deadline is None else now + plan.deadline,
            asked=request.asked,
            requested_by=request.requested_by,
        )
    )
    advance(work)
    return work.decision()


def decide(
    plan: Plan,
    saga: Saga,
    values: Values,
    message: Input,
    now: datetime,
    sick: Sick | None = None,
) -> Answer:
    """What `message` causes at `now`. What an operator asks for is sent to whomever, also `sick`.

    `Missing` names journal rows whose data must be put into `values` for another try. A `Woke`
    that finds nothing due is a Decision without rows: re-arm with `wake_at(saga, now)`.
    """
    if saga.status in TERMINAL:
        return _after_the_end(saga, message)
    if isinstance(message, _OPERATOR) and not isinstance(message, ReviewDecision):
        sick = None  # who acts on a step wants it tried
    work = Work(plan, saga.identity, saga.seq, saga.state, values, now, sick)
    try:
        refused = _receive(work, message)
        if refused is not None:
            return refused
        advance(work)
    except Need as need:
        return Missing(need.seqs)
    return work.decision()


def _after_the_end(saga: Saga, message: Input) -> Refused:
    """Nothing is decided any more; what comes from a person or a client is told so."""
    match message:
        case Signalled(id=id_):
            repeated = id_ in saga.state.signals
        case _:
            repeated = not isinstance(message, _OPERATOR)
    detail = f"the saga has ended: {saga.status}"
    return Refused(type=ProblemType.WRONG_STATE, detail=detail, duplicate=repeated)


_OPERATOR = (
    CancelRequested,
    SuspendRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    ResolveRequested,
    ReviewDecision,
)


def _receive(work: Work, message: Input) -> Refused | None:
    match message:
        case ReplyReceived():
            return on_reply(work, message)
        case Woke():
            _on_woke(work)
            return None
        case Granted():
            return on_granted(work, message)
        case Returned():
            return on_returned(work, message)
        case DeadLettered():
            return on_dead_lettered(work, message)
        case CancelRequested():
            return on_cancel(work, message)
        case SuspendRequested():
            return on_suspend(work, message)
        case ResumeRequested():
            return on_resume(work, message)
        case RetryRequested():
            return on_retry(work, message)
        case SkipRequested():
            return on_skip(work, message)
        case ResolveRequested():
            return on_resolve(work, message)
        case Signalled():
            return on_signal(work, message)
        case ReviewDecision():
            return on_decision(work, message)
        case Asked():
            return on_asked(work, message)
        case Fault():
            return on_fault(work, message)
        case _:
            assert_never(message)


def _on_woke(work: Work) -> None:
    """Whatever is due by now: timeouts of what was sent, then the deadline."""
    draft = work.draft
    if draft.fault:
        return
    for path, _ in work.open():
        step = draft.steps[path]  # what expired before it may have changed it
        for op, expire in ((step.action, expire_action), (step.undo, expire_undo)):
            if op.doing in _EXPIRES and op.due is not None and op.due <= work.now:
                expire(work, path)
        op = step.action
        if op.doing is Doing.AWAITING and op.due is not None and op.due <= work.now:
            expire_await(work, path)
        if op.doing is Doing.REVIEWING and op.due is not None and op.due <= work.now:
            expire_review(work, path)


def advance(work: Work) -> None:
    """Go on until nothing more can happen now, and say whether an operator is needed."""
    draft = work.draft
    _check_deadline(work)
    _say_whether_stuck(work)
    while draft.ended is None and not draft.suspended:
        if draft.fault or draft.full or (draft.stuck and work.halted()):
            break
        if work.seq >= draft.rows_max:
            _on_full_journal(work)
            continue
        before = len(work.rows)
        if work.forward:
            go_forward(work)
        else:
            go_back(work)
        if len(work.rows) == before:
            break
        _say_whether_stuck(work)
        if work.seq < draft.rows_max and all(row.kind in _SENT for row in work.rows[before:]):
            break
    assert draft.ended is not None or draft.suspended or draft.stuck or work.active(), (
        "a saga that nothing moves"
    )


def _check_deadline(work: Work) -> None:
    draft = work.draft
    due = draft.deadline is not None and draft.deadline <= work.now
    if not due or draft.fault or not work.forward:
        return
    if draft.pivot is not None:
        work.emit(j.SagaOverdue())
    elif draft.stop is None and not (draft.stuck and work.halted()):
        title = "the saga did not end before its deadline"
        stop(work, Problem(type=ProblemType.DEADLINE, title=title))


def _on_full_journal(work: Work) -> None:
    """A clear end: forward it turns back; where there is no way back, an operator must look."""
    title = f"the journal has {work.seq} rows"
    problem = Problem(type=ProblemType.JOURNAL_FULL, title=title)
    turn = work.forward and work.draft.pivot is None and work.draft.stop is None
    if turn:
        stop(work, problem)
    if not turn or work.forward:
        work.emit(j.SagaStuck(problem=problem, full=True))


def _say_whether_stuck(work: Work) -> None:
    """Stuck: halted as a whole, or somebody must act and nothing else goes on."""
    draft = work.draft
    if draft.ended is not None or draft.fault or draft.full:
        return
    blocked = work.blocked()
    stuck = bool(blocked) and (work.halted() or not work.working())
    if stuck and not draft.stuck:
        path, step = blocked[0]
        title = f"{path} needs an operator: retry, resolve or skip it"
        kind = step.problem or ProblemType.EFFECT_IN_DOUBT
        work.emit(j.SagaStuck(problem=Problem(type=kind, title=title)))
    elif draft.stuck and not stuck:
        work.emit(j.SagaUnstuck())
