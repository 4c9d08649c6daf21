"""What comes from participants and from the broker: which replies count, and what they say.

`succeeded` of any attempt settles an action; `failed` and `unknown` count only from its latest.
Everything that does not count is refused and writes nothing.
"""

from datetime import timedelta
from typing import Final, assert_never, cast

from amends_contracts.messages import Json, Outcome, ProbeEffect
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.compensation import (
    ask_again,
    give_up_asking,
    undo_acknowledged,
    undo_again,
    undo_in_doubt,
)
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import DeadLettered, ReplyReceived, Returned
from amends_orchestrator.core.outcomes import (
    HALTING,
    doubt,
    fail,
    map_undo,
    retry_or_fail,
    succeed,
    usage_in_doubt,
)
from amends_orchestrator.core.plan import ActionNode
from amends_orchestrator.core.retries import UNDELIVERABLE
from amends_orchestrator.core.state import UNSENT, Doing, OpState, StepState, StepStatus
from amends_orchestrator.core.work import Work

PROGRESS_MAX: Final = 10
PROGRESS_EVERY: Final = timedelta(seconds=10)
"""At most one journal row of progress in this time."""
_ASKING: Final = frozenset({Doing.DOUBT, Doing.PROBING})
_UNDOING: Final = frozenset({StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED})
_UNDONE: Final = frozenset({StepStatus.COMPENSATED, StepStatus.NOTHING_TO_COMPENSATE})


def on_reply(work: Work, reply: ReplyReceived) -> Refused | None:
    """Judge a reply and apply what it says."""
    step = work.draft.steps.get(reply.path)
    node = work.plan.action_of(reply.path)
    if step is None or node is None:
        return _refuse(ProblemType.NOT_FOUND, f"no step {reply.path} was dispatched")
    if reply.service != node.service:
        detail = f"{reply.path} belongs to {node.service}, not to {reply.service}"
        return _refuse(ProblemType.FORBIDDEN, detail)
    match reply.op:
        case Op.ACTION:
            return _on_action(work, node, step, reply)
        case Op.COMPENSATION:
            return _on_undo(work, node, step, reply)
        case Op.PROBE:
            return _on_probe(work, node, step, reply)
        case _:
            return _refuse(ProblemType.WRONG_STATE, f"{reply.op} of {reply.path} is not open")


def _refuse(kind: ProblemType, detail: str) -> Refused:
    return Refused(type=kind, detail=detail)


def _settled(path: StepPath, what: str) -> Refused:
    """A repetition, or news that has been overtaken."""
    return Refused(type=ProblemType.WRONG_STATE, detail=f"{path}: {what}", duplicate=True)


def _usage(reply: ReplyReceived) -> Json:
    return None if reply.usage is None else reply.usage.to_json()


def _problem(reply: ReplyReceived) -> Problem:
    return reply.problem or Problem(title=f"{reply.outcome} without a reason")


# --- actions -------------------------------------------------------------------------------------


def _on_action(
    work: Work, node: ActionNode, step: StepState, reply: ReplyReceived
) -> Refused | None:
    path, op = reply.path, step.action
    if op.doing is Doing.CLOSED:
        return _settled(path, "an operator closed its action")
    if not 1 <= reply.attempt <= op.attempt:
        return _refuse(ProblemType.WRONG_STATE, f"{path}: attempt {reply.attempt} was never sent")
    if step.status in _UNDOING or step.status in _UNDONE:
        return _on_late(work, node, step, reply)
    if step.status is StepStatus.SUCCEEDED:
        return _settled(path, "its action is settled")
    if step.status is StepStatus.FAILED:
        if reply.outcome is not Outcome.SUCCEEDED or step.alarmed:
            return _settled(path, "its action is settled")
        work.emit(
            j.StepAlarmed(
                path=path, attempt=reply.attempt, output=reply.output, usage=_usage(reply)
            )
        )
        return None
    if reply.outcome is Outcome.SUCCEEDED:
        succeed(
            work,
            node,
            path,
            reply.attempt,
            reply.output,
            bad_output=reply.bad_output,
            usage=usage_in_doubt(work, path, _usage(reply)),
        )
        return None
    return _on_bad_news(work, node, step, reply)


def _on_bad_news(
    work: Work, node: ActionNode, step: StepState, reply: ReplyReceived
) -> Refused | None:
    """All but `succeeded`: it counts from the latest attempt while that is still awaited."""
    path, op = reply.path, step.action
    if reply.attempt != op.attempt:
        return _settled(path, f"attempt {reply.attempt} is not the latest")
    open_ended = op.doing is Doing.SENT
    waiting = op.doing not in UNSENT or op.doubt or op.resend
    match reply.outcome:
        case Outcome.FAILED if waiting:
            _on_failed(work, node, step, reply)
        case Outcome.UNKNOWN if open_ended:
            problem = _problem(reply)
            after = reply.retry_after
            doubt(work, node, path, problem, retry_after=after, usage=_usage(reply))
        case Outcome.FENCED if waiting and step.probed:
            # a probe had found nothing and closed the attempts: this is the end of it
            fail(work, node, path, _fenced(reply), usage=_usage(reply))
        case Outcome.FENCED if open_ended:
            doubt(work, node, path, _fenced(reply))
        case Outcome.PROGRESS if open_ended:
            return _on_action_progress(work, node, op, reply)
        case _:
            return _settled(path, f"{reply.outcome} changes nothing any more")
    return None


def _fenced(reply: ReplyReceived) -> Problem:
    return reply.problem or Problem(type=ProblemType.FENCED, title="its compensation came first")


def _on_failed(work: Work, node: ActionNode, step: StepState, reply: ReplyReceived) -> None:
    problem = _problem(reply)
    if problem.type in HALTING:
        doubt(work, node, reply.path, problem, usage=_usage(reply))
    elif step.status is StepStatus.UNKNOWN and step.ignored:
        fail(work, node, reply.path, problem, usage=_usage(reply))
    else:
        retry_or_fail(
            work,
            node,
            reply.path,
            problem,
            retryable=reply.retryable,
            retry_after=reply.retry_after,
            usage=_usage(reply),
        )


def _on_late(work: Work, node: ActionNode, step: StepState, reply: ReplyReceived) -> Refused | None:
    """The compensation was dispatched: only the news that the effect is there still counts."""
    late = reply.outcome is Outcome.SUCCEEDED and not step.known
    if not late or step.status in _UNDONE or step.undo.doing is Doing.CLOSED:
        return _settled(reply.path, "its compensation was dispatched")
    output = None if reply.bad_output is not None else reply.output
    undo, mapped, problem = map_undo(work, node, reply.path, output)
    work.emit(
        j.StepLate(
            path=reply.path,
            attempt=reply.attempt,
            output=output,
            undo=undo,
            mapped=mapped,
            undo_problem=problem,
            usage=_usage(reply),
        )
    )
    return None


def _progress_refused(work: Work, op: OpState, reply: ReplyReceived) -> Refused | None:
    if op.progress >= PROGRESS_MAX:
        return _settled(reply.path, f"progress extends a timeout at most {PROGRESS_MAX} times")
    if op.progress_at is not None and work.now - op.progress_at < PROGRESS_EVERY:
        return _settled(reply.path, "progress was noted a moment ago")
    return None


def _on_action_progress(
    work: Work, node: ActionNode, op: OpState, reply: ReplyReceived
) -> Refused | None:
    if not work.onward(reply.path):
        return _settled(reply.path, "the saga turned back: progress extends nothing")
    refused = _progress_refused(work, op, reply)
    if refused is not None:
        return refused
    due = work.now + extension(node.timeout)
    if work.draft.deadline is not None:
        due = min(due, work.draft.deadline)
    assert op.due is not None
    work.emit(j.StepProgressed(path=reply.path, attempt=op.attempt, due=max(due, op.due)))
    return None


def extension(timeout: timedelta) -> timedelta:
    """How long a progress report extends a timeout.

    Reports within PROGRESS_EVERY of the last are not noted; a participant that reports in time
    must not expire by that, so a short timeout gets as much more.
    """
    return timeout if timeout >= 2 * PROGRESS_EVERY else timeout + PROGRESS_EVERY


# --- compensations -------------------------------------------------------------------------------


def _on_undo(work: Work, node: ActionNode, step: StepState, reply: ReplyReceived) -> Refused | None:
    path, op = reply.path, step.undo
    if step.status not in _UNDOING or op.doing is Doing.CLOSED:
        return _settled(path, "its compensation is not open")
    if not 1 <= reply.attempt <= op.attempt:
        detail = f"{path}: attempt {reply.attempt} of its compensation was never sent"
        return _refuse(ProblemType.WRONG_STATE, detail)
    if op.acknowledged:
        return _settled(path, "its compensation was acknowledged")
    if reply.outcome is Outcome.SUCCEEDED:
        undo_acknowledged(work, node, path, reply.attempt, reply.output, _usage(reply))
        return None
    if reply.attempt != op.attempt or op.doing is Doing.BLOCKED:
        return _settled(path, f"{reply.outcome} changes nothing any more")
    problem = _problem(reply)
    awaited = op.doing is Doing.SENT
    final = not reply.retryable and (awaited or op.doubt or op.resend)
    match reply.outcome:
        case Outcome.FAILED if problem.type in HALTING:
            undo_in_doubt(work, node, path, problem)
        case Outcome.FAILED | Outcome.FENCED if final or awaited:
            retryable = reply.retryable and reply.outcome is Outcome.FAILED
            undo_again(
                work,
                node,
                path,
                problem,
                retryable=retryable,
                doubt=False,
                retry_after=reply.retry_after,
            )
        case Outcome.UNKNOWN if awaited:
            undo_in_doubt(work, node, path, problem, reply.retry_after)
        case Outcome.PROGRESS if awaited:
            return _on_undo_progress(work, node, op, reply)
        case _:
            return _settled(path, f"{reply.outcome} changes nothing any more")
    return None


def _on_undo_progress(
    work: Work, node: ActionNode, op: OpState, reply: ReplyReceived
) -> Refused | None:
    assert node.undo is not None
    refused = _progress_refused(work, op, reply)
    if refused is not None:
        return refused
    due = work.now + extension(node.undo.timeout)
    assert op.due is not None
    work.emit(j.UndoProgressed(path=reply.path, attempt=op.attempt, due=max(due, op.due)))
    return None


# --- probes --------------------------------------------------------------------------------------


def _on_probe(
    work: Work, node: ActionNode, step: StepState, reply: ReplyReceived
) -> Refused | None:
    path = reply.path
    undo = step.undo.doing in _ASKING
    if not undo and step.action.doing not in _ASKING:
        return _settled(path, "no probe is open")
    if reply.attempt != step.action.attempt:
        return _settled(path, f"a probe of attempt {reply.attempt} says nothing of the latest")
    found, output = _finding(reply)
    if reply.outcome is Outcome.PROGRESS:
        return _settled(path, "progress of a probe extends nothing")
    if undo:
        return _on_verification(work, step, reply, found)
    match found:
        case ProbeEffect.PRESENT:
            succeed(
                work,
                node,
                path,
                step.action.attempt,
                output,
                bad_output=reply.bad_output,
                via="probe",
            )
        case ProbeEffect.ABSENT:
            problem = Problem(
                type=step.problem or ProblemType.TIMEOUT,
                title="a probe found that nothing had changed",
            )
            retry_or_fail(work, node, path, problem, retryable=True, probed=True)
        case ProbeEffect.UNDONE:
            title = "a probe found that the effect had been undone already"
            problem = Problem(type=ProblemType.FENCED, title=title)
            fail(work, node, path, problem, via="probe")
        case None:
            _on_no_answer(work, node, step, reply)
        case _:
            assert_never(found)
    return None


def _finding(reply: ReplyReceived) -> tuple[ProbeEffect | None, Json]:
    """What the probe found, and the action's output; None if it cannot tell."""
    body: Json = reply.output
    if reply.outcome is not Outcome.SUCCEEDED or not isinstance(body, dict):
        return None, None
    members = cast("dict[str, Json]", body)
    effect = members.get("effect")
    return (ProbeEffect(effect) if effect in list(ProbeEffect) else None), members.get("output")


def _on_no_answer(work: Work, node: ActionNode, step: StepState, reply: ReplyReceived) -> None:
    """The probe cannot tell, now or ever."""
    problem = _problem(reply)
    for_good = reply.outcome is Outcome.FAILED and not reply.retryable
    if step.action.doing is Doing.DOUBT and not for_good and problem.type not in HALTING:
        return  # the next probe is on its way already
    if problem.type not in HALTING and step.problem is not None:
        problem = Problem(type=step.problem, title="no probe could tell", detail=problem.title)
    doubt(work, node, reply.path, problem, retry_after=reply.retry_after, probe=not for_good)


def _on_verification(
    work: Work, step: StepState, reply: ReplyReceived, found: ProbeEffect | None
) -> Refused | None:
    path = reply.path
    if found in (ProbeEffect.ABSENT, ProbeEffect.UNDONE):
        work.emit(j.UndoSucceeded(path=path, attempt=step.undo.attempt, via="probe"))
        return None
    if step.undo.doing is Doing.DOUBT:
        return _settled(path, "the next probe is on its way")
    problem = reply.problem or Problem(
        type=ProblemType.UNDO_UNVERIFIED, title="a probe found the effect still there"
    )
    if reply.outcome is Outcome.FAILED and not reply.retryable:
        give_up_asking(work, path, problem)
    else:
        ask_again(work, path, problem, reply.retry_after)
    return None


# --- the broker ----------------------------------------------------------------------------------


def on_returned(work: Work, message: Returned) -> Refused | None:
    """Nobody has a queue for it: sent again after a while, without using an attempt."""
    step = work.draft.steps.get(message.path)
    if step is None or not _is_awaited(step, message.op, message.attempt):
        return _settled(message.path, f"{message.op} {message.attempt} is not awaited")
    path, attempt = message.path, message.attempt
    problem = Problem(type=ProblemType.UNDELIVERABLE, title="nobody runs its participant")
    undo = message.op is Op.COMPENSATION or step.undo.doing is Doing.PROBING
    op = step.undo if undo else step.action
    what = f"{message.op}/{attempt}/returned"
    due = work.after_try(UNDELIVERABLE, path, what, op.returns + 1)
    match message.op, undo:
        case Op.ACTION, _:
            maybe = op.doubt or not message.never_delivered
            if not work.onward(path):  # no attempt starts any more
                node = work.plan.action_of(path)
                assert node is not None
                if maybe:
                    doubt(work, node, path, problem)
                else:
                    fail(work, node, path, problem, via="engine")
            else:
                work.emit(j.StepUndeliverable(path=path, attempt=attempt, due=due, doubt=maybe))
        case Op.COMPENSATION, _:
            work.emit(j.UndoUndeliverable(path=path, attempt=attempt, due=due))
        case _, False:
            if not work.onward(path):
                node = work.plan.action_of(path)
                assert node is not None
                doubt(work, node, path, problem)
            else:
                work.emit(
                    j.StepDoubted(
                        path=path, attempt=attempt, due=due, problem=problem, returned=True
                    )
                )
        case _:
            work.emit(
                j.UndoDoubted(
                    path=path,
                    attempt=op.attempt,
                    due=due,
                    acknowledged=op.acknowledged,
                    problem=problem,
                    returned=True,
                )
            )
    return None


def on_dead_lettered(work: Work, message: DeadLettered) -> Refused | None:
    """Its participant could not read it, or died of it too often: the outcome is unknown."""
    step = work.draft.steps.get(message.path)
    node = work.plan.action_of(message.path)
    if step is None or node is None or not _is_awaited(step, message.op, message.attempt):
        return _settled(message.path, f"{message.op} {message.attempt} is not awaited")
    title = "the command was dead-lettered"
    problem = Problem(
        type=ProblemType.DEAD_LETTERED, title=title, detail=message.reason[:300] or None
    )
    if message.op is Op.COMPENSATION:
        undo_in_doubt(work, node, message.path, problem)
    elif step.undo.doing is Doing.PROBING:
        ask_again(work, message.path, problem)
    else:
        doubt(work, node, message.path, problem)
    return None


def _is_awaited(step: StepState, op: Op, attempt: int) -> bool:
    match op:
        case Op.ACTION:
            return step.action.doing is Doing.SENT and step.action.attempt == attempt
        case Op.COMPENSATION:
            return step.undo.doing is Doing.SENT and step.undo.attempt == attempt
        case Op.PROBE:
            asked = Doing.PROBING in (step.action.doing, step.undo.doing)
            return asked and step.action.attempt == attempt
        case _:
            return False
