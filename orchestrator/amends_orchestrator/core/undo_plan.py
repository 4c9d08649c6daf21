"""The preview: what a compensation would do at this moment, in order, and what would stay."""

from dataclasses import dataclass

from amends_contracts.messages import Json, Reversal
from amends_contracts.names import StepPath
from amends_orchestrator.core.plan import (
    ActionNode,
    ChoiceNode,
    Node,
    ParallelNode,
    Plan,
    Sequence,
    path_of,
)
from amends_orchestrator.core.state import UNSENT, Saga, StepState, StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoItem:
    """One compensation that would be sent, or one effect that would stay."""

    order: int
    """From 1; equal numbers are free of each other."""
    path: StepPath
    command: str | None
    """None: nothing is sent, the effect stays."""
    why: str
    residue: bool = False

    def to_json(self) -> Json:
        """As REST shows it."""
        return {
            "order": self.order,
            "path": self.path,
            "command": self.command,
            "why": self.why,
            "residue": self.residue,
        }


def undo_plan(plan: Plan, saga: Saga) -> tuple[UndoItem, ...]:
    """Latest first. Past the pivot it says what an undo asked for explicitly would do."""
    items: list[UndoItem] = []
    _sequence(plan, saga, plan.root, 1, items)
    items.sort(key=lambda item: item.order)
    return tuple(items)


def _sequence(plan: Plan, saga: Saga, sequence: Sequence, order: int, items: list[UndoItem]) -> int:
    """The order number that follows."""
    for node in reversed(sequence):
        order = _visit(plan, saga, node, order, items)
    return order


def _visit(plan: Plan, saga: Saga, node: Node, order: int, items: list[UndoItem]) -> int:
    path = path_of("", node)
    step = saga.state.steps.get(path)
    match node:
        case ActionNode():
            item = None if step is None else _item(saga, node, path, step, order)
            if item is None:
                return order
            items.append(item)
            return order if item.residue else order + 1
        case ParallelNode():
            ends = [_sequence(plan, saga, body, order, items) for _, body in node.branches]
            return max([order, *ends])
        case ChoiceNode():
            if step is None or step.chosen is None:
                return order
            return _sequence(plan, saga, node.body(step.chosen), order, items)


_IN_FLIGHT = (StepStatus.RUNNING, StepStatus.PENDING, StepStatus.RETRYING)


def _item(
    saga: Saga, node: ActionNode, path: StepPath, step: StepState, order: int
) -> UndoItem | None:
    def stays(why: str) -> UndoItem:
        return UndoItem(order=order, path=path, command=None, why=why, residue=True)

    def undoes(why: str) -> UndoItem:
        assert node.undo is not None
        return UndoItem(order=order, path=path, command=node.undo.command, why=why)

    if step.residue:
        return stays("left in the world")
    if step.status in _IN_FLIGHT and not step.action.attempt:
        return None
    match step.status:
        case StepStatus.SUCCEEDED if node.reversal is Reversal.READ_ONLY:
            return None
        case StepStatus.SUCCEEDED if node.undo is None:
            return stays("it cannot be taken back")
        case StepStatus.SUCCEEDED if step.undo_bad:
            return undoes("it succeeded, but the input of its compensation cannot be made")
        case StepStatus.SUCCEEDED:
            pivot = saga.state.pivot
            past = pivot is not None
            return undoes(
                "it succeeded" + (f"; the saga is past its pivot {pivot}" if past else "")
            )
        case StepStatus.UNKNOWN if node.undo is not None:
            return undoes("whether it took effect is not known")
        case StepStatus.UNKNOWN:
            return stays("whether it took effect is not known, and it cannot be taken back")
        case StepStatus.RUNNING | StepStatus.PENDING | StepStatus.RETRYING:
            if node.reversal is Reversal.READ_ONLY:
                return None
            if step.action.doing in UNSENT and not step.action.doubt:
                return None
            why = "it is under way: if it takes effect, or that stays unknown"
            return undoes(why) if node.undo is not None else stays(why)
        case StepStatus.COMPENSATING:
            return undoes("it is being undone")
        case StepStatus.COMPENSATION_FAILED if node.undo is not None:
            return undoes("its compensation failed: an operator retries, resolves or skips it")
        case StepStatus.COMPENSATION_FAILED:
            return stays("it is in doubt and cannot be taken back: an operator decides")
        case _:
            return None
