"""`wait`: nothing but time, by the database's clock. There is nothing to compensate."""

from datetime import datetime, timedelta

from amends_contracts.definition import DURATION_MAX
from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.expressions import ExpressionError
from amends_orchestrator.core.outcomes import fail
from amends_orchestrator.core.plan import WaitNode
from amends_orchestrator.core.work import Work


def enter_wait(work: Work, node: WaitNode, path: StepPath) -> bool:
    """Settle its end once: from now on it is a fact."""
    due = work.now + (node.duration or timedelta())
    if node.until is not None:
        until = moment(work.evaluate(node.until, path))
        if isinstance(until, str):
            problem = Problem(type=ProblemType.BAD_EXPRESSION, title=until)
            fail(work, node, path, problem, via="engine")
            return False
        if until - work.now > DURATION_MAX:
            title = f"{until.isoformat()} is more than {DURATION_MAX.days} days away"
            problem = Problem(type=ProblemType.BAD_EXPRESSION, title=title)
            fail(work, node, path, problem, via="engine")
            return False
        due = max(until, work.now)
    work.emit(j.StepEntered(path=path, due=due))
    return True


def moment(value: Json | ExpressionError) -> datetime | str:
    """The time that `until` gives, or why it is none."""
    if isinstance(value, ExpressionError):
        return f"`until` could not be evaluated: {value.text}"
    if not isinstance(value, str):
        return f"`until` must be a time such as 2030-01-31T09:00:00Z, not {type(value).__name__}"
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return f"`until` must be a time such as 2030-01-31T09:00:00Z, not {value[:40]!r}"
    if time.tzinfo is None:
        return f"`until` needs an offset, as in 2030-01-31T09:00:00Z: {value[:40]!r} has none"
    return time


def go_wait(work: Work, path: StepPath) -> bool:
    """Whether its time has come."""
    due = work.draft.steps[path].action.due
    assert due is not None, f"{path} waits for nothing"
    if due > work.now:
        return False
    work.emit(j.StepLeft(path=path))
    return True
