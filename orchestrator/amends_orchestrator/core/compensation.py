"""Back: which compensations are next? The reverse of the plan's partial order, by walking the tree.

A sequence is undone from its end, parallel branches freely of each other, of a choice what ran,
of an `each` and a `repeat` the latest first, of alternatives the plan that held.
A step that is still awaited, or whose compensation failed, holds back what precedes it in the
plan and nothing else. A walk that gets through has found the saga compensated.
"""

from datetime import timedelta

from amends_contracts.messages import ActionOutcome, Effect, Json, Reversal
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decision import Send
from amends_orchestrator.core.loops import undo_each, undo_repeat
from amends_orchestrator.core.outcomes import HALTING, map_undo, send_probe
from amends_orchestrator.core.plan import (
    ActionNode,
    AlternativesNode,
    AwaitNode,
    ChoiceNode,
    EachNode,
    Node,
    ParallelNode,
    RepeatNode,
    Sequence,
    WaitNode,
    path_of,
)
from amends_orchestrator.core.plan_reviews import ReviewNode
from amends_orchestrator.core.retries import PROBE, attempts_left
from amends_orchestrator.core.savepoints import undo_alternatives
from amends_orchestrator.core.state import Doing, StepState, StepStatus
from amends_orchestrator.core.work import Work, all_of, node_at, render


def go_back(work: Work) -> None:
    """Undo whatever may be undone now; end the saga if nothing is left."""
    if undo_sequence(work, work.plan.root, ""):
        work.emit(j.SagaCompensated())


def undo_sequence(work: Work, sequence: Sequence, prefix: str) -> bool:
    """Whether nothing of it is left to undo, looking from its end."""
    return all(_visit(work, node, prefix) for node in reversed(sequence))


def _visit(work: Work, node: Node, prefix: str) -> bool:
    path = path_of(prefix, node)
    match node:
        case ActionNode():
            return _action(work, node, path)
        case AwaitNode():
            return True
        case ParallelNode():
            return _parallel(work, node, prefix)
        case ChoiceNode():
            step = work.draft.steps.get(path)
            if step is None or step.chosen is None:
                return True
            return undo_sequence(work, node.body(step.chosen), prefix)
        case EachNode():
            return undo_each(work, node, path, undo_sequence)
        case RepeatNode():
            return undo_repeat(work, node, path, undo_sequence)
        case AlternativesNode():
            return undo_alternatives(work, node, path, prefix, undo_sequence)
        case WaitNode():
            return True  # withdrawn when it turned back
        case ReviewNode():
            _review(work, path)
            return True


def _review(work: Work, path: StepPath) -> None:
    """Nothing to take back; who approved it can be told that what followed is."""
    step = work.draft.steps.get(path)
    if step is not None and step.status is StepStatus.SUCCEEDED:
        work.emit(j.StepNothingToCompensate(path=path))


def _parallel(work: Work, node: ParallelNode, prefix: str) -> bool:
    return all_of(work, undo_sequence, [(branch, prefix) for _, branch in node.branches])


def is_undone(step: StepState) -> bool:
    """Whether nothing of a step is left to undo."""
    if step.residue:
        return True
    match step.status:
        case (
            StepStatus.SKIPPED
            | StepStatus.FAILED
            | StepStatus.COMPENSATED
            | StepStatus.NOTHING_TO_COMPENSATE
        ):
            return True
        case _:
            return False


def _action(work: Work, node: ActionNode, path: StepPath) -> bool:
    step = work.draft.steps.get(path)
    if step is None or is_undone(step):
        return True
    match step.status:
        case StepStatus.SUCCEEDED:
            _begin(work, node, path, step)
        case StepStatus.UNKNOWN if step.action.doing in (Doing.IDLE, Doing.CLOSED):
            _begin(work, node, path, step)
        case StepStatus.COMPENSATING if step.undo.due is not None and step.undo.due <= work.now:
            if step.undo.doing is Doing.BACKOFF:
                dispatch_undo(work, node, path)
            elif step.undo.doing is Doing.DOUBT:
                send_probe(work, node, path, undo=True)
        case _:
            pass
    return is_undone(work.draft.steps[path])


def _begin(work: Work, node: ActionNode, path: StepPath, step: StepState) -> None:
    if node.undo is not None:
        dispatch_undo(work, node, path)
    elif step.status is StepStatus.UNKNOWN:
        title = "its effect is in doubt and it declares no compensation"
        problem = Problem(type=ProblemType.EFFECT_IN_DOUBT, title=title)
        work.emit(j.UndoFailed(path=path, attempt=0, problem=problem))
    elif node.reversal is Reversal.READ_ONLY:
        work.emit(j.StepNothingToCompensate(path=path))
    else:
        work.emit(j.StepResidue(path=path))


def undo_input(work: Work, node: ActionNode, path: StepPath) -> tuple[Json, bool, Problem | None]:
    """The compensation's body: (value, whether it was mapped just now, why there is none)."""
    assert node.undo is not None
    step = work.draft.steps[path]
    if node.undo.input is None:
        work.need(step.input_seq, step.output_seq)
        value = {"input": work.action_input(step), "output": work.action_output(step)}
        return value, False, None
    if step.undo_seq:
        return work.row_data(step.undo_seq).get("undo"), False, None
    output = work.action_output(step) if step.known else None
    return map_undo(work, node, path, output)


def dispatch_undo(work: Work, node: ActionNode, path: StepPath) -> None:
    """Send the next attempt of a compensation; the body is of what is known now."""
    assert node.undo is not None
    step = work.draft.steps[path]
    op = step.undo
    value, mapped, problem = undo_input(work, node, path)
    body = render(value, "the compensation's input") if problem is None else problem
    if isinstance(body, Problem):
        work.emit(j.UndoFailed(path=path, attempt=op.attempt, problem=body))
        return
    outcome = ActionOutcome.SUCCEEDED if step.known else ActionOutcome.UNKNOWN
    attempt = op.attempt + (not op.resend)
    due = work.now + node.undo.timeout
    work.emit(
        j.UndoDispatched(
            path=path,
            attempt=attempt,
            due=due,
            outcome=outcome,
            undo=value if mapped else None,
            mapped=mapped,
        )
    )
    work.sends.append(
        Send(
            path=path,
            op=Op.COMPENSATION,
            attempt=attempt,
            command=node.undo.command,
            body=body,
            deadline=due,
            compensates=Op.ACTION,
            action_outcome=outcome,
        )
    )


# --- what became of a compensation ---------------------------------------------------------------


def undo_acknowledged(
    work: Work, node: ActionNode, path: StepPath, attempt: int, output: Json, usage: Json = None
) -> None:
    """The participant says it is undone; with `verify`, a probe must say so too."""
    assert node.undo is not None
    if node.undo.verify:
        work.emit(j.UndoDoubted(path=path, attempt=attempt, due=work.now, acknowledged=True))
    else:
        work.emit(j.UndoSucceeded(path=path, attempt=attempt, output=output, usage=usage))


def undo_again(
    work: Work,
    node: ActionNode,
    path: StepPath,
    problem: Problem,
    *,
    retryable: bool,
    doubt: bool,
    retry_after: timedelta | None = None,
) -> None:
    """The next attempt by the compensation's own policy, or `compensation_failed`."""
    assert node.undo is not None
    op = work.draft.steps[path].undo
    retry = node.undo.retry
    if retryable and problem.type not in retry.except_ and attempts_left(retry, op):
        due = work.later(retry, path, Op.COMPENSATION, op, retry_after)
        work.emit(
            j.UndoRetrying(path=path, attempt=op.attempt, due=due, problem=problem, doubt=doubt)
        )
    else:
        work.emit(j.UndoFailed(path=path, attempt=op.attempt, problem=problem))


def undo_in_doubt(
    work: Work,
    node: ActionNode,
    path: StepPath,
    problem: Problem,
    retry_after: timedelta | None = None,
) -> None:
    """No answer, or `unknown`: again under the same key, except where only a person can tell."""
    op = work.draft.steps[path].undo
    if problem.type in HALTING:
        work.emit(j.UndoFailed(path=path, attempt=op.attempt, problem=problem, halts=True))
    elif node.effect is not Effect.NONE:
        undo_again(work, node, path, problem, retryable=True, doubt=True, retry_after=retry_after)
    elif node.probe:
        ask_again(work, path, problem, retry_after)
    else:
        work.emit(j.UndoFailed(path=path, attempt=op.attempt, problem=problem))


def ask_again(
    work: Work, path: StepPath, problem: Problem, retry_after: timedelta | None = None
) -> None:
    """Probe (again) whether the effect is gone, a bounded number of times."""
    op = work.draft.steps[path].undo
    if op.probes >= (PROBE.max_attempts or 0):
        give_up_asking(work, path, problem)
        return
    due = work.now
    if op.probes or retry_after is not None:
        due = work.after_try(PROBE, path, f"undo-probe/{op.attempt}", op.probes, retry_after)
    work.emit(
        j.UndoDoubted(
            path=path,
            attempt=op.attempt,
            due=due,
            acknowledged=op.acknowledged,
            problem=problem,
        )
    )


def give_up_asking(work: Work, path: StepPath, problem: Problem) -> None:
    """No probe says that the effect is gone."""
    op = work.draft.steps[path].undo
    kind = ProblemType.UNDO_UNVERIFIED if op.acknowledged else ProblemType.EFFECT_IN_DOUBT
    title = "no probe confirmed that the effect is gone"
    failed = Problem(type=kind, title=title, detail=problem.title or problem.type)
    work.emit(
        j.UndoFailed(path=path, attempt=op.attempt, problem=failed, acknowledged=op.acknowledged)
    )


def expire_undo(work: Work, path: StepPath) -> None:
    """The reply to a compensation, or to its verification, did not come in time."""
    op = work.draft.steps[path].undo
    if op.doing is Doing.PROBING:
        problem = Problem(type=ProblemType.TIMEOUT, title="no reply to the probe in time")
        ask_again(work, path, problem)
        return
    title = f"no reply to attempt {op.attempt} of the compensation in time"
    undo_in_doubt(work, node_at(work, path), path, Problem(type=ProblemType.TIMEOUT, title=title))
