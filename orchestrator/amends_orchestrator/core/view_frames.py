"""Long loops in a view: runs of items or iterations that went alike are shown as one line."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from amends_contracts.messages import Json
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.plan import (
    ActionNode,
    AlternativesNode,
    AwaitNode,
    ChoiceNode,
    EachNode,
    Node,
    ParallelNode,
    RepeatNode,
    WaitNode,
)
from amends_orchestrator.core.plan_reviews import ReviewNode
from amends_orchestrator.core.state import StepStatus

FRAMES_SHOWN: Final = 12
"""A loop of at most so many items or iterations is shown whole."""
RUN_SHOWN: Final = 4
"""Of a run that went alike, at most so many are shown one by one."""
SETTLED: Final = frozenset(
    {
        StepStatus.SUCCEEDED.value,
        StepStatus.SKIPPED.value,
        StepStatus.COMPENSATED.value,
        StepStatus.NOTHING_TO_COMPENSATE.value,
    }
)
BEGINS: Final = frozenset(
    {Kind.STEP_DISPATCHED, Kind.STEP_ENTERED, Kind.STEP_AWAITING, Kind.REVIEW_REQUESTED}
)
"""Facts with which a step begins, and those that hold its output."""
OUTPUTS: Final = frozenset(
    {Kind.STEP_SUCCEEDED, Kind.STEP_LATE, Kind.STEP_ADOPTED, Kind.STEP_REVIEWED}
)
_MANY: Final = {"each": "items", "repeat": "iterations"}


def kind_of(node: Node) -> str:
    """The kind of a node, as the document says it."""
    match node:
        case ActionNode():
            return node.kind
        case ParallelNode():
            return "parallel"
        case ChoiceNode():
            return "choice"
        case EachNode():
            return "each"
        case RepeatNode():
            return "repeat"
        case AlternativesNode():
            return "alternatives"
        case WaitNode():
            return "wait"
        case AwaitNode():
            return "await"
        case ReviewNode():
            return "review"


def shortened(node: Json) -> Json:
    """The node with long runs in its loops folded: first, last, and how many lie between."""
    below: Sequence[Json] = node.get("children", ())
    if not below:
        return node
    below = [shortened(child) for child in below]
    if node["kind"] in _MANY and len(below) > FRAMES_SHOWN:
        below = _folded(below, _MANY[node["kind"]])
    return node | {"children": below}


def _folded(frames: Sequence[Json], kind: str) -> list[Json]:
    shown: list[Json] = []
    for status, group in groupby(frames, key=lambda frame: frame["status"]):
        run = list(group)
        if status not in SETTLED or len(run) <= RUN_SHOWN:
            shown += run
            continue
        first, *between, last = run
        path = f"{between[0]['path']} … {between[-1]['path']}"
        line = {"path": path, "kind": kind, "status": status, "attempt": 0, "count": len(between)}
        shown += [first, line, last]
    return shown
