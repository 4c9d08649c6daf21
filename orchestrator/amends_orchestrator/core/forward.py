"""Forward: one question, asked anew after every message: which steps are next?

The answer is a walk over the plan. What is done is passed by, what is under way is left alone
unless its time has come, what is next begins. A walk that gets through the whole plan has found
the saga completed.
"""

from amends_contracts.messages import Json
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decision import Send
from amends_orchestrator.core.expressions import CompiledTemplate, ExpressionError
from amends_orchestrator.core.outcomes import fail, send_probe
from amends_orchestrator.core.plan import (
    OTHERWISE,
    ActionNode,
    ChoiceNode,
    Node,
    ParallelNode,
    Sequence,
    path_of,
)
from amends_orchestrator.core.queueing import ask, hold, needs_permit
from amends_orchestrator.core.state import UNSENT, Doing, StepState, StepStatus
from amends_orchestrator.core.work import Need, Work, render


def go_forward(work: Work) -> None:
    """Begin and continue whatever can be; complete the saga if nothing is left."""
    if _sequence(work, work.plan.root, ""):
        _complete(work)


def _complete(work: Work) -> None:
    """The saga has done its work: an output that cannot be made is shown, and undoes nothing."""
    output: Json = None
    problem: Problem | None = None
    if work.plan.output is not None:
        value = work.evaluate(work.plan.output)
        if isinstance(value, ExpressionError):
            title = "the saga's output could not be evaluated"
            problem = Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=value.text)
        else:
            output = value
    work.emit(j.SagaCompleted(output=output, problem=problem))


def _sequence(work: Work, sequence: Sequence, prefix: str) -> bool:
    """Whether every step is done. A step that turns the saga back ends the walk."""
    return all(_visit(work, node, prefix) and work.forward for node in sequence)


def _visit(work: Work, node: Node, prefix: str) -> bool:
    path = path_of(prefix, node)
    step = work.draft.steps.get(path)
    match node:
        case ActionNode():
            return _action(work, node, path, step)
        case ParallelNode():
            return _enter(work, node, path, step) and _parallel(work, node, path, prefix)
        case ChoiceNode():
            return _enter(work, node, path, step) and _choice(work, node, path, prefix)


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
            if step.input_seq or _holds(work, node, path):  # an operator retries its condition
                dispatch(work, node, path)
        elif op.doing is Doing.DOUBT:
            send_probe(work, node, path, undo=False)
    return _is_done_now(work, path)


def _is_done_now(work: Work, path: StepPath) -> bool:
    return is_done(work.draft.steps[path])


def dispatch(work: Work, node: ActionNode, path: StepPath) -> None:
    """Send the next attempt (or, after a return, the same one again) with the one body."""
    if hold(work, node, path):
        return
    step = work.draft.steps.get(path)
    if needs_permit(node, step):
        problem = ask(work, node, path)
        if problem is not None:
            fail(work, node, path, problem, via="engine")
        return
    first = step is None or not step.input_seq
    value: Json | ExpressionError
    if step is None or not step.input_seq:
        value = work.evaluate(node.input)
    else:
        value = work.action_input(step)
    body = render(value, "the input")
    if isinstance(body, Problem):
        fail(work, node, path, body, via="engine")
        return
    attempt = 1
    if step is not None:
        attempt = step.action.attempt + (not step.action.resend)
    due = work.now + node.timeout
    work.emit(
        j.StepDispatched(
            path=path, attempt=attempt, due=due, first=first, input=value if first else None
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


# --- what holds others ---------------------------------------------------------------------------


def _condition(work: Work, template: CompiledTemplate, what: str) -> bool | Problem:
    value = work.evaluate(template)
    if isinstance(value, bool) or value is None:
        return bool(value)
    if isinstance(value, ExpressionError):
        title = f"{what} could not be evaluated"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=value.text)
    title = f"{what} must be true or false, not {type(value).__name__}"
    return Problem(type=ProblemType.BAD_EXPRESSION, title=title)


def _holds(work: Work, node: Node, path: StepPath) -> bool:
    """Whether the step's `when` lets it run; else it was skipped, or it failed."""
    if node.when is None:
        return True
    holds = _condition(work, node.when, "`when`")
    if isinstance(holds, Problem):
        fail(work, node, path, holds, via="engine")
        return False
    if not holds:
        work.emit(j.StepSkipped(path=path))
    return holds


def _enter(
    work: Work, node: ParallelNode | ChoiceNode, path: StepPath, step: StepState | None
) -> bool:
    """Whether to look inside; or True for a skipped step, whose inside is found empty."""
    if step is not None and step.status is not StepStatus.RETRYING:
        return step.status in (StepStatus.RUNNING, StepStatus.SKIPPED)
    if not _holds(work, node, path):
        return _is_done_now(work, path)
    if isinstance(node, ChoiceNode):
        return _choose(work, node, path)
    if node.when is not None or step is not None:
        work.emit(j.StepEntered(path=path))
    return True


def _choose(work: Work, node: ChoiceNode, path: StepPath) -> bool:
    """Settle the case once: from now on it is a fact."""
    chosen = OTHERWISE
    for n, (when, _) in enumerate(node.cases):
        holds = _condition(work, when, f"the condition of case {n + 1}")
        if isinstance(holds, Problem):
            fail(work, node, path, holds, via="engine")
            return False
        if holds:
            chosen = n
            break
    work.emit(j.StepEntered(path=path, case=chosen))
    return True


def _parallel(work: Work, node: ParallelNode, path: StepPath, prefix: str) -> bool:
    step = work.draft.steps.get(path)
    if step is not None and step.status is StepStatus.SKIPPED:
        return True
    done = True
    needed: set[int] = set()
    for _, branch in node.branches:
        if not work.forward:
            return False
        try:
            done = _sequence(work, branch, prefix) and done
        except Need as need:  # ask for what all branches lack at once
            needed |= need.seqs
    if needed:
        raise Need(needed)
    return done


def _choice(work: Work, node: ChoiceNode, path: StepPath, prefix: str) -> bool:
    step = work.draft.steps[path]
    if step.status is StepStatus.SKIPPED:
        return True
    assert step.chosen is not None, f"{path} was entered without a choice"
    return _sequence(work, node.body(step.chosen), prefix)
