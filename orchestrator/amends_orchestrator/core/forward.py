"""Forward: one question, asked anew after every message: which steps are next?

The answer is a walk over the plan. What is done is passed by, what is under way is left alone
unless its time has come, what is next begins. A walk that gets through the whole plan has found
the saga completed.
"""

from typing import TypeAlias

from amends_contracts.messages import Json
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.awaiting import begin_awaiting, take_signal
from amends_orchestrator.core.compensation import undo_sequence
from amends_orchestrator.core.conditions import condition
from amends_orchestrator.core.decision import Send
from amends_orchestrator.core.expressions import ExpressionError
from amends_orchestrator.core.loops import enter_each, go_each, go_repeat
from amends_orchestrator.core.metering import amount_to_json, exceeded
from amends_orchestrator.core.outcomes import fail, send_probe
from amends_orchestrator.core.plan import (
    OTHERWISE,
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
from amends_orchestrator.core.queueing import ask as ask_permit
from amends_orchestrator.core.queueing import hold, needs_permit
from amends_orchestrator.core.reviewing import ask, holds_back, shown_in
from amends_orchestrator.core.reviews import ReviewStage
from amends_orchestrator.core.savepoints import go_alternatives
from amends_orchestrator.core.state import UNSENT, Doing, StepState, StepStatus
from amends_orchestrator.core.waits import enter_wait, go_wait
from amends_orchestrator.core.work import Work, all_of, render

_Holder: TypeAlias = ParallelNode | ChoiceNode | EachNode | RepeatNode | AlternativesNode | WaitNode


def go_forward(work: Work) -> None:
    """Begin and continue whatever can be; complete the saga if nothing is left."""
    if go_sequence(work, work.plan.root, ""):
        _complete(work)


def _complete(work: Work) -> None:
    """The saga has done its work: an output that cannot be made is shown, and undoes nothing."""
    output: Json = None
    problem: Problem | None = None
    if work.plan.output is not None:
        value = work.evaluate(work.plan.output, "")
        if isinstance(value, ExpressionError):
            title = "the saga's output could not be evaluated"
            problem = Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=value.text)
        else:
            output = value
    work.emit(j.SagaCompleted(output=output, problem=problem))


def go_sequence(work: Work, sequence: Sequence, prefix: str) -> bool:
    """Whether every step is done. A step that turns the saga, or its plan, back ends the walk."""
    known, savepoints = work.draft.steps, work.plan.savepoints
    for node in sequence:
        path = path_of(prefix, node)
        if not savepoints and known.is_done(path):
            continue
        if not work.forward or not _visit(work, node, path, prefix):
            return False
        if savepoints and not work.onward(path):
            return False
    return work.forward


def _visit(work: Work, node: Node, path: StepPath, prefix: str) -> bool:
    step = work.draft.steps.get(path)
    if isinstance(node, ActionNode):
        return _action(work, node, path, step)
    if isinstance(node, AwaitNode):
        return _await(work, node, path, step)
    if isinstance(node, ReviewNode):
        return _review(work, node, path, step)
    if not _enter(work, node, path, step):
        return False
    entered = work.draft.steps.get(path)
    if entered is not None and entered.status in _OVER:
        return True
    match node:
        case ParallelNode():
            return _parallel(work, node, path, prefix)
        case ChoiceNode():
            return _choice(work, node, path, prefix)
        case EachNode():
            return go_each(work, node, path, go_sequence)
        case RepeatNode():
            return go_repeat(work, node, path, go_sequence)
        case AlternativesNode():
            return go_alternatives(work, node, path, prefix, go_sequence, undo_sequence)
        case WaitNode():
            return go_wait(work, path)


_OVER = frozenset({StepStatus.SKIPPED, StepStatus.SUCCEEDED})


def is_done(step: StepState) -> bool:
    """Whether what follows in the plan may begin."""
    if step.action.doing is Doing.BLOCKED:
        return False
    match step.status:
        case StepStatus.SUCCEEDED | StepStatus.SKIPPED:
            return True
        case StepStatus.FAILED:
            return step.ignored
        case StepStatus.UNKNOWN:
            return step.ignored and step.action.doing in (Doing.IDLE, Doing.CLOSED)
        case _:
            return False


# --- actions -------------------------------------------------------------------------------------


def _action(work: Work, node: ActionNode, path: StepPath, step: StepState | None) -> bool:
    if step is None:
        if _holds(work, node, path):
            dispatch(work, node, path)
        return _is_done_now(work, path)
    if is_done(step):
        return True
    op = step.action
    if op.due is not None and op.due <= work.now:
        if op.doing in UNSENT:
            begun = step.input_seq or step.review.seq
            if begun or _holds(work, node, path):  # an operator retries its condition
                dispatch(work, node, path)
        elif op.doing is Doing.DOUBT:
            send_probe(work, node, path, undo=False)
    return _is_done_now(work, path)


def _is_done_now(work: Work, path: StepPath) -> bool:
    return is_done(work.draft.steps[path])


def dispatch(work: Work, node: ActionNode, path: StepPath) -> None:
    """Send the next attempt (or, after a return, the same one again) with the one body."""
    if _is_reviewed_first(work, node, path) or hold(work, node, path):
        return
    step = work.draft.steps.get(path)
    if needs_permit(node, step):
        problem = ask_permit(work, node, path)
        if problem is not None:
            fail(work, node, path, problem, via="engine")
        return
    first = step is None or not step.input_seq
    value = _input(work, node, path, step)
    body = render(value, "the input")
    if isinstance(body, Problem):
        fail(work, node, path, body, via="engine")
        return
    over = over_budget(work, node, path)
    if over is not None:
        fail(work, node, path, over, via="engine")
        return
    attempt = 1
    if step is not None:
        attempt = step.action.attempt + (not step.action.resend)
    due = work.now + node.timeout
    work.emit(
        j.StepDispatched(
            path=path,
            attempt=attempt,
            due=due,
            first=first,
            input=value if first else None,
            reserved=None if node.reserve is None else amount_to_json(node.reserve),
        )
    )
    work.sends.append(
        Send(
            path=path,
            op=Op.ACTION,
            attempt=attempt,
            command=node.command,
            body=body,
            deadline=due,
        )
    )


def _input(
    work: Work, node: ActionNode, path: StepPath, step: StepState | None
) -> Json | ExpressionError:
    """What was sent before, what was approved, or what the plan says."""
    if step is not None and step.input_seq:
        return work.action_input(step)
    if step is not None and step.review.stage is ReviewStage.APPROVED:
        return shown_in(work, step.review)
    return work.evaluate(node.input, path)


def _is_reviewed_first(work: Work, node: ActionNode, path: StepPath) -> bool:
    """Whether people are asked, before it takes a place that others wait for."""
    step = work.draft.steps.get(path)
    if node.guard is None or (step is not None and step.input_seq):
        return False
    value = _input(work, node, path, step)
    body = render(value, "the input")
    if isinstance(body, Problem):
        fail(work, node, path, body, via="engine")
        return True
    return holds_back(work, node, path, value, body)


def over_budget(work: Work, node: ActionNode, path: StepPath) -> Problem | None:
    """Why metered work cannot be begun. What a returned attempt had reserved counts once."""
    budget, more = work.plan.budget, node.reserve
    if budget is None or more is None:
        return None
    meter = work.draft.meter.settle(path, None)
    why = exceeded(budget, meter, more)
    if why is None:
        return None
    title = f"the budget is exhausted: with this call it could come to {why}"
    return Problem(type=ProblemType.OVER_BUDGET, title=title)


# --- signals -------------------------------------------------------------------------------------


def _await(work: Work, node: AwaitNode, path: StepPath, step: StepState | None) -> bool:
    begins = step is None or step.status is StepStatus.RETRYING  # an operator has it wait anew
    if begins and _holds(work, node, path):
        begin_awaiting(work, node, path)
    if work.onward(path):
        take_signal(work, node, path)
    return _is_done_now(work, path)


def _review(work: Work, node: ReviewNode, path: StepPath, step: StepState | None) -> bool:
    begins = step is None or step.status is StepStatus.RETRYING  # an operator has it begin anew
    if begins and _holds(work, node, path):
        ask(work, node, path)
    return _is_done_now(work, path)


# --- what holds others ---------------------------------------------------------------------------


def _holds(work: Work, node: Node, path: StepPath) -> bool:
    """Whether the step's `when` lets it run; else it was skipped, or it failed."""
    if node.when is None:
        return True
    holds = condition(work, node.when, "`when`", path)
    if isinstance(holds, Problem):
        fail(work, node, path, holds, via="engine")
        return False
    if not holds:
        work.emit(j.StepSkipped(path=path))
    return holds


def _enter(work: Work, node: _Holder, path: StepPath, step: StepState | None) -> bool:
    """Whether to look inside, or to pass it by because it is over."""
    if step is not None and step.status is not StepStatus.RETRYING:
        return step.status in _INSIDE
    if not _holds(work, node, path):
        return _is_done_now(work, path)
    match node:
        case ChoiceNode():
            return _choose(work, node, path)
        case EachNode():
            return enter_each(work, node, path)
        case WaitNode():
            return enter_wait(work, node, path)
        case RepeatNode():
            work.emit(j.StepEntered(path=path, turn=1))
        case AlternativesNode():
            work.emit(j.StepEntered(path=path, case=0))
        case ParallelNode() if node.when is not None or step is not None:
            work.emit(j.StepEntered(path=path))
        case ParallelNode():
            pass
    return True


_INSIDE = _OVER | {StepStatus.RUNNING, StepStatus.COMPENSATING}


def _choose(work: Work, node: ChoiceNode, path: StepPath) -> bool:
    """Settle the case once: from now on it is a fact."""
    chosen = OTHERWISE
    for n, (when, _) in enumerate(node.cases):
        holds = condition(work, when, f"the condition of case {n + 1}", path)
        if isinstance(holds, Problem):
            fail(work, node, path, holds, via="engine")
            return False
        if holds:
            chosen = n
            break
    work.emit(j.StepEntered(path=path, case=chosen))
    return True


def _parallel(work: Work, node: ParallelNode, path: StepPath, prefix: str) -> bool:
    def part(work: Work, branch: Sequence, prefix: str) -> bool:
        return work.onward(path) and go_sequence(work, branch, prefix)

    walk = part if work.plan.savepoints else go_sequence
    return all_of(work, walk, [(branch, prefix) for _, branch in node.branches])


def _choice(work: Work, node: ChoiceNode, path: StepPath, prefix: str) -> bool:
    step = work.draft.steps[path]
    assert step.chosen is not None, f"{path} was entered without a choice"
    return go_sequence(work, node.body(step.chosen), prefix)
