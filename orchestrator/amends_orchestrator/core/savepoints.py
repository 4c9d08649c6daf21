"""`alternatives`: plans in order of preference, with a savepoint before each.

A plan that fails is undone alone, in the reverse of its own order, while the saga stays on its way
forward; then the next plan begins. That a plan failed is decided where failures are (`outcomes`);
here the plan is carried out, or undone.
"""

from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.plan import AlternativesNode
from amends_orchestrator.core.state import StepStatus
from amends_orchestrator.core.work import Walk, Work


def go_alternatives(
    work: Work, node: AlternativesNode, path: StepPath, prefix: str, walk: Walk, undo: Walk
) -> bool:
    """Go on with the plan; where it has failed, undo it first and enter the next."""
    step = work.draft.steps[path]
    assert step.chosen is not None, f"{path} was entered without a plan"
    if step.status is StepStatus.COMPENSATING:
        if undo(work, node.body(step.chosen), prefix):
            work.emit(j.StepEntered(path=path, case=step.chosen + 1))
        return False
    if not walk(work, node.body(step.chosen), prefix):
        return False
    work.emit(j.StepLeft(path=path))
    return True


def undo_alternatives(
    work: Work, node: AlternativesNode, path: StepPath, prefix: str, undo: Walk
) -> bool:
    """Undo the plan that held, or the one under way: those before it are undone already."""
    step = work.draft.steps.get(path)
    if step is None or step.chosen is None:
        return True
    return undo(work, node.body(step.chosen), prefix)
