"""Signals, and the steps that await them.

A signal is recorded when it comes and kept until a step takes it; each step takes one, the oldest
of its event. A saga that turns back withdraws its waiting steps.
"""

from amends_contracts.names import StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal_signals as j
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import Signalled
from amends_orchestrator.core.outcomes import fail
from amends_orchestrator.core.plan import AwaitNode
from amends_orchestrator.core.state import SIGNALS_MAX, Doing
from amends_orchestrator.core.work import Work


def on_signal(work: Work, message: Signalled) -> Refused | None:
    """Record the event, once; a step that awaits it takes it when the saga goes on."""
    row = work.draft.signals.get(message.id)
    if row is not None:
        return _repeated(work, message, row)
    awaited = work.plan.awaited
    if message.event not in awaited:
        known = f"it awaits {', '.join(sorted(awaited))}" if awaited else "it awaits no event"
        detail = (
            f"no step of {work.plan.name}@{work.plan.version} awaits {message.event!r}: {known}"
        )
        return Refused(type=ProblemType.BAD_REQUEST, detail=detail)
    if not work.forward:
        detail = "the saga has turned back: no step of it takes an event any more"
        return Refused(type=ProblemType.WRONG_STATE, detail=detail)
    if len(work.draft.signals) >= SIGNALS_MAX:
        detail = f"the saga has had {SIGNALS_MAX} signals: it takes no more"
        return Refused(type=ProblemType.OVERLOADED, detail=detail)
    work.emit(
        j.SignalReceived(event=message.event, id=message.id, data=message.data, by=message.by)
    )
    return None


def _repeated(work: Work, message: Signalled, row: int) -> Refused:
    """The same signal again is no concern; another one under its id is."""
    first = work.row_data(row)
    if (first["event"], first.get("data")) != (message.event, message.data):
        detail = f"signal {message.id!r} was sent before, with another event or other data"
        return Refused(type=ProblemType.KEY_CONFLICT, detail=detail)
    detail = f"signal {message.id!r} came before"
    return Refused(type=ProblemType.WRONG_STATE, detail=detail, duplicate=True)


def begin_awaiting(work: Work, node: AwaitNode, path: StepPath) -> None:
    """The step waits from now on, perhaps for an event that is here already."""
    due = None if node.timeout is None else work.now + node.timeout
    work.emit(j.StepAwaiting(path=path, event=node.event, due=due))


def take_signal(work: Work, node: AwaitNode, path: StepPath) -> None:
    """The oldest signal of its event that no step has taken, if there is one."""
    kept = work.draft.kept.get(node.event)
    if kept and work.draft.steps[path].action.doing is Doing.AWAITING:
        work.emit(j.StepSignalled(path=path, signal=kept[0]))


def expire_await(work: Work, path: StepPath) -> None:
    """The event did not come in time."""
    node = work.plan.node_of(path)
    assert isinstance(node, AwaitNode), f"{path} awaits nothing"
    title = f"event {node.event!r} did not come in time"
    fail(work, node, path, Problem(type=ProblemType.TIMEOUT, title=title), via="engine")
