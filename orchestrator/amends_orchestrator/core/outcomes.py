"""What became of an action, and what follows: succeeded, failed, in doubt, unknown, turned back.

The order for a doubt is the specification's: probe where possible, retry under the same key with
a higher attempt (not for effect `none`), compensate as unknown, ask a person.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Final, Literal

from amends_contracts.messages import Effect, Json, Reversal
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decision import Send
from amends_orchestrator.core.journal_signals import StepWithdrawn
from amends_orchestrator.core.metering import LOST
from amends_orchestrator.core.plan import (
    ActionNode,
    AlternativesNode,
    AwaitNode,
    Node,
)
from amends_orchestrator.core.plan_reviews import ReviewNode
from amends_orchestrator.core.retries import PROBE, PROBE_TIMEOUT, attempts_left
from amends_orchestrator.core.state import UNSENT, Doing, Failure, StepStatus
from amends_orchestrator.core.work import Work, node_at, render

HALTING: Final = frozenset({ProblemType.KEY_REUSED.value, ProblemType.FORGOTTEN.value})
"""Problems that stop the saga at once: what the participant remembers is not what we did."""
_SENT_NO_MORE: Final = UNSENT | {Doing.DOUBT}
"""What a saga, or a plan of alternatives, that turns back sends no more."""
Via = Literal["engine", "reply", "probe", "operator"]


def succeed(
    work: Work,
    node: ActionNode,
    path: StepPath,
    attempt: int,
    output: Json,
    *,
    bad_output: Problem | None = None,
    via: Literal["reply", "probe", "operator"] = "reply",
    usage: Json = None,
) -> None:
    """The effect is there. An output that violates its schema is dropped, the effect is not."""
    draft = work.draft
    pivot = node.pivot and work.forward
    past_pivot = pivot or draft.pivot is not None
    wrong = bad_output is not None and not node.ignore and work.onward(path)
    if bad_output is not None:
        output = None
    undo, mapped, undo_problem = map_undo(work, node, path, output)
    window = node.compensable_for
    work.emit(
        j.StepSucceeded(
            path=path,
            attempt=attempt,
            output=output,
            undo=undo,
            mapped=mapped,
            undo_problem=undo_problem,
            problem=bad_output,
            pivot=pivot,
            blocked=wrong and past_pivot,
            retained_until=None if window is None else work.now + window,
            via=via,
            usage=usage,
        )
    )
    if pivot and draft.stop is not None:
        work.emit(j.SagaStopLapsed())
    if wrong and not past_pivot and bad_output is not None:
        give_up(work, bad_output, path)


def map_undo(
    work: Work, node: ActionNode, path: StepPath, output: Json
) -> tuple[Json, bool, Problem | None]:
    """The compensation's own mapping, evaluated now: (input, is there one, why it failed)."""
    if node.undo is None or node.undo.input is None:
        return None, False, None
    given = work.action_input(work.draft.steps[path])
    value = work.evaluate(node.undo.input, path, (given, output))
    body = render(value, "the compensation's input")
    if isinstance(body, Problem):
        problem = Problem(type=ProblemType.UNDO_MAPPING, title=body.title, detail=body.detail)
        return None, False, problem
    return value, True, None


def fail(
    work: Work,
    node: Node,
    path: StepPath,
    problem: Problem,
    *,
    via: Via = "reply",
    usage: Json = None,
) -> None:
    """Nothing changed, for good: the saga turns back, goes on (`ignore`), or asks an operator."""
    step = work.draft.steps.get(path)
    onward = work.onward(path)
    ignored = isinstance(node, ActionNode | AwaitNode) and node.ignore and onward
    blocked = onward and work.draft.pivot is not None and not ignored
    work.emit(
        j.StepFailed(
            path=path,
            attempt=0 if step is None else step.action.attempt,
            problem=problem,
            ignored=ignored,
            blocked=blocked,
            via=via,
            usage=usage,
        )
    )
    if onward and not ignored and not blocked:
        give_up(work, problem, path)


def retry_or_fail(
    work: Work,
    node: ActionNode,
    path: StepPath,
    problem: Problem,
    *,
    retryable: bool,
    retry_after: timedelta | None = None,
    probed: bool = False,
    usage: Json = None,
) -> None:
    """Nothing changed so far: the next attempt, if there is one and the saga still goes forward."""
    op = work.draft.steps[path].action
    may = work.onward(path) and work.draft.stop is None and retryable
    if may and problem.type not in node.retry.except_ and attempts_left(node.retry, op):
        due = work.later(node.retry, path, Op.ACTION, op, retry_after)
        work.emit(
            j.StepRetrying(
                path=path,
                attempt=op.attempt,
                due=due,
                problem=problem,
                probed=probed,
                usage=usage,
            )
        )
    else:
        fail(work, node, path, problem, via="probe" if probed else "reply", usage=usage)


def doubt(
    work: Work,
    node: ActionNode,
    path: StepPath,
    problem: Problem,
    *,
    retry_after: timedelta | None = None,
    probe: bool = True,
    usage: Json = None,
) -> None:
    """Something may have changed: find out, in the specification's order."""
    op = work.draft.steps[path].action
    usage = usage_in_doubt(work, path, usage)
    if problem.type in HALTING:
        work.emit(
            j.StepUnknown(
                path=path,
                attempt=op.attempt,
                problem=problem,
                blocked=True,
                halts=True,
                usage=usage,
            )
        )
    elif not work.onward(path):
        settle_unknown(work, node, path, problem, usage)
    elif probe and node.probe and op.probes < (PROBE.max_attempts or 0):
        due = work.now
        if op.probes or retry_after is not None:
            due = work.after_try(PROBE, path, f"probe/{op.attempt}", op.probes, retry_after)
        work.emit(
            j.StepDoubted(path=path, attempt=op.attempt, due=due, problem=problem, usage=usage)
        )
    elif (
        node.effect is not Effect.NONE
        and problem.type not in node.retry.except_
        and attempts_left(node.retry, op)
    ):
        due = work.later(node.retry, path, Op.ACTION, op, retry_after)
        work.emit(
            j.StepRetrying(
                path=path,
                attempt=op.attempt,
                due=due,
                problem=problem,
                doubt=True,
                usage=usage,
            )
        )
    else:
        settle_unknown(work, node, path, problem, usage)


def usage_in_doubt(work: Work, path: StepPath, usage: Json) -> Json:
    """What an attempt has used of which nobody says so: it may have been paid for."""
    return LOST if usage is None and path in work.draft.meter.reserved else usage


def settle_unknown(
    work: Work, node: ActionNode, path: StepPath, problem: Problem, usage: Json = None
) -> None:
    """Nothing automatic is left: compensate as unknown, go on (`ignore`), or ask a person."""
    usage = usage_in_doubt(work, path, usage)
    if node.reversal is Reversal.READ_ONLY:  # whatever happened, nothing changed
        fail(work, node, path, problem, via="engine", usage=usage)
        return
    unknown = j.StepUnknown(
        path=path, attempt=work.draft.steps[path].action.attempt, problem=problem, usage=usage
    )
    if not work.onward(path):
        work.emit(unknown)
    elif node.ignore:
        work.emit(replace(unknown, ignored=True))
    elif work.draft.pivot is not None:
        work.emit(replace(unknown, blocked=True))
    elif node.undo is not None:
        work.emit(unknown)
        give_up(work, problem, path)
    else:  # what comes next depends on a person: start nothing that may have to be undone
        work.emit(replace(unknown, blocked=True, halts=True))


# --- turning back --------------------------------------------------------------------------------


def give_up(work: Work, problem: Problem, path: StepPath) -> None:
    """A step failed for good: the nearest plan that has another behind it fails, else the saga."""
    for around, step, number in work.savepoints(path):
        node = work.plan.node_of(around)
        assert isinstance(node, AlternativesNode), f"{around} holds plans"
        assert step is not None, f"{around} was never entered"
        if number + 1 < len(node.plans):
            _fail_plan(work, around, number, problem, path)
            return
    turn_back(work, problem, path)


def _fail_plan(work: Work, around: StepPath, number: int, problem: Problem, path: StepPath) -> None:
    """Back to the savepoint: only what the plan did is undone; the saga goes on forward."""
    inside = [p for p, _ in work.open() if any(a == around for a, _, _ in work.savepoints(p))]
    work.emit(
        j.StepPlanFailed(
            path=around,
            case=number,
            failure=failure_of(problem, path),
            problem=problem,
            interrupt_at=work.now + work.plan.interrupt_after,
            awaited=tuple(inside),
        )
    )
    _start_nothing_more(work, inside, "its plan failed")


def turn_back(
    work: Work, problem: Problem, step: StepPath | None = None, by: str | None = None
) -> None:
    """Forward to back: what is in flight is awaited for a while, nothing new starts."""
    assert work.forward, "a saga turns back once"
    assert work.draft.pivot is None, "a saga that is past its pivot does not turn back"
    stopped = work.draft.stop
    failure = stopped or failure_of(problem, step, by)
    if stopped is not None:  # it was cancelled or overdue before: that is why
        problem = Problem(type=stopped.type, title=stopped.detail)
    until = work.now + work.plan.interrupt_after
    work.emit(j.SagaCompensating(failure=failure, problem=problem, interrupt_at=until))
    _start_nothing_more(work, [path for path, _ in work.open()], "the saga turned back")


def _start_nothing_more(work: Work, paths: list[StepPath], because: str) -> None:
    """No attempt starts any more, and nothing is waited for but what is in flight."""
    for path in paths:
        state = work.draft.steps[path]
        node = work.plan.node_of(path)
        op = state.action
        if isinstance(node, ActionNode) and op.doing in _SENT_NO_MORE:
            title = f"not {'tried again' if op.attempt else 'begun'}: {because}"
            why = Problem(type=state.problem or ProblemType.INTERRUPTED, title=title)
            if op.doubt:
                settle_unknown(work, node, path, why)
            else:
                fail(work, node, path, why, via="engine")
        elif op.doing is Doing.REVIEWING or (
            isinstance(node, AwaitNode | ReviewNode) and op.doing in _WITHDRAWN
        ):
            work.emit(StepWithdrawn(path=path))
        elif node is not None and op.doing in _WITHDRAWN:
            why = Problem(type=ProblemType.INTERRUPTED, title=f"withdrawn: {because}")
            fail(work, node, path, why, via="engine")


_WITHDRAWN: Final = frozenset({Doing.AWAITING, Doing.WAITING, Doing.BACKOFF})
"""What a step that sends nothing may be doing; BACKOFF: an operator had it begin anew."""


def failure_of(problem: Problem, step: StepPath | None, by: str | None = None) -> Failure:
    """The summary that the state keeps."""
    detail = ": ".join(text for text in (problem.title, problem.detail) if text)
    return Failure(problem.type, detail[:300], step, by)


def stop(work: Work, problem: Problem, by: str | None = None) -> None:
    """Cancel, deadline or a full journal before the pivot: turn back as soon as that is known."""
    for pivot in work.plan.pivots:
        step = work.draft.steps.get(StepPath(pivot))
        if step is None or step.status in (StepStatus.FAILED, StepStatus.SKIPPED):
            continue
        if step.action.doing is Doing.REVIEWING:
            continue
        if step.action.doing in UNSENT and not step.action.doubt:
            continue  # nothing of it has changed anything
        work.emit(j.SagaStopping(failure=failure_of(problem, None, by)))
        return
    turn_back(work, problem, None, by)


# --- probes --------------------------------------------------------------------------------------


def send_probe(work: Work, node: ActionNode, path: StepPath, *, undo: bool) -> None:
    """Ask the participant what became of the action; it closes the attempts so far."""
    step = work.draft.steps[path]
    body = render({"input": work.action_input(step)}, "the probe's body")
    attempt = step.action.attempt
    due = work.now + PROBE_TIMEOUT
    if isinstance(body, Problem):  # only by the few bytes around the action's own body
        if undo:
            work.emit(j.UndoFailed(path=path, attempt=step.undo.attempt, problem=body))
        else:
            doubt(work, node, path, body, probe=False)
        return
    if undo:
        work.emit(j.UndoProbed(path=path, attempt=attempt, due=due))
    else:
        work.emit(j.StepProbed(path=path, attempt=attempt, due=due))
    work.sends.append(
        Send(
            path=path,
            op=Op.PROBE,
            attempt=attempt,
            command=node.command,
            body=body,
            deadline=due,
            compensates=Op.ACTION,
        )
    )


def expire_action(work: Work, path: StepPath) -> None:
    """The reply to an attempt or to a probe did not come in time."""
    step = work.draft.steps[path]
    node = node_at(work, path)
    op = step.action
    ends = [step and step.loop.interrupt_at for _, step, _ in work.savepoints(path)]
    interrupted = not work.onward(path) and op.due in (work.draft.interrupt_at, *ends)
    kind = ProblemType.INTERRUPTED if interrupted else ProblemType.TIMEOUT
    what = "probe" if op.doing is Doing.PROBING else f"attempt {op.attempt}"
    doubt(work, node, path, Problem(type=kind, title=f"no reply to {what} in time"))
