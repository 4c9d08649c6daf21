"""The preview: what a compensation would do at this moment, in order, and what would stay."""

from dataclasses import dataclass
from datetime import datetime

from amends_contracts.messages import Json, Reversal
from amends_contracts.names import StepPath
from amends_orchestrator.core.frames import item_prefix, turn_prefix
from amends_orchestrator.core.plan import (
    ActionNode,
    AlternativesNode,
    AwaitNode,
    ChoiceNode,
    EachNode,
    Node,
    ParallelNode,
    Plan,
    RepeatNode,
    Sequence,
    WaitNode,
    path_of,
)
from amends_orchestrator.core.plan_reviews import ReviewNode
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
    until: datetime | None = None
    """When its undo window closes, if it has one."""

    def to_json(self) -> Json:
        """As REST shows it."""
        until = {} if self.until is None else {"until": self.until.isoformat()}
        return {
            "order": self.order,
            "path": self.path,
            "command": self.command,
            "why": self.why,
            "residue": self.residue,
            **until,
        }


def undo_plan(plan: Plan, saga: Saga) -> tuple[UndoItem, ...]:
    """Latest first. Past the pivot it says what an undo asked for explicitly would do."""
    items: list[UndoItem] = []
    _sequence(plan, saga, plan.root, "", 1, items)
    items.sort(key=lambda item: item.order)
    return tuple(items)


def _sequence(
    plan: Plan, saga: Saga, sequence: Sequence, prefix: str, order: int, items: list[UndoItem]
) -> int:
    """The order number that follows."""
    for node in reversed(sequence):
        order = _visit(plan, saga, node, prefix, order, items)
    return order


def _visit(
    plan: Plan, saga: Saga, node: Node, prefix: str, order: int, items: list[UndoItem]
) -> int:
    path = path_of(prefix, node)
    step = saga.state.steps.get(path)
    match node:
        case ActionNode():
            item = None if step is None else _item(saga, node, path, step, order)
            if item is None:
                return order
            items.append(item)
            return order if item.residue else order + 1
        case AwaitNode() | ReviewNode():
            return order
        case ParallelNode():
            bodies = [(body, prefix) for _, body in node.branches]
        case ChoiceNode() | AlternativesNode():
            if step is None or step.chosen is None:
                return order
            return _sequence(plan, saga, node.body(step.chosen), prefix, order, items)
        case EachNode():
            count = 0 if step is None or step.loop.count is None else step.loop.count
            bodies = [(node.body, item_prefix(path, n)) for n in reversed(range(count))]
            if node.sequential:
                return _in_turn(plan, saga, bodies, order, items)
        case RepeatNode():
            turns = range(0 if step is None else step.loop.turn, 0, -1)
            bodies = [(node.body, turn_prefix(path, n)) for n in turns]
            return _in_turn(plan, saga, bodies, order, items)
        case WaitNode():
            return order
    ends = [_sequence(plan, saga, body, inside, order, items) for body, inside in bodies]
    return max([order, *ends])


def _in_turn(
    plan: Plan, saga: Saga, bodies: list[tuple[Sequence, str]], order: int, items: list[UndoItem]
) -> int:
    for body, prefix in bodies:
        order = _sequence(plan, saga, body, prefix, order, items)
    return order


_IN_FLIGHT = (StepStatus.RUNNING, StepStatus.PENDING, StepStatus.RETRYING)


def _item(
    saga: Saga, node: ActionNode, path: StepPath, step: StepState, order: int
) -> UndoItem | None:
    def stays(why: str) -> UndoItem:
        return UndoItem(order=order, path=path, command=None, why=why, residue=True)

    def undoes(why: str) -> UndoItem:
        assert node.undo is not None
        return UndoItem(
            order=order,
            path=path,
            command=node.undo.command,
            why=why,
            until=step.retained_until,
        )

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
