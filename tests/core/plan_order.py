"""What a plan sequences: the order that undos and beginnings are held to."""

from amends_contracts.names import StepPath
from amends_orchestrator.core.frames import frames_of, prefix_of
from amends_orchestrator.core.plan import AlternativesNode, EachNode, Plan, RepeatNode, children
from amends_orchestrator.core.state import StepStatus

UNSETTLED = frozenset(
    {
        StepStatus.RUNNING,
        StepStatus.PENDING,
        StepStatus.RETRYING,
        StepStatus.SUCCEEDED,
        StepStatus.UNKNOWN,
        StepStatus.COMPENSATING,
        StepStatus.COMPENSATION_FAILED,
    }
)

DONE = frozenset({StepStatus.SUCCEEDED, StepStatus.SKIPPED})


def bare(path: StepPath) -> str:
    """The id of a path's step."""
    return path[len(prefix_of(path)) :]


def precedes(plan: Plan, first: StepPath, second: StepPath) -> bool:
    """Whether the plan sequences `first` before `second`."""
    for (kind, a), (_, b) in zip(trail(plan, first), trail(plan, second), strict=False):
        if a != b:
            return kind == "sequence" and a < b
    return False


def trail(plan: Plan, path: StepPath) -> list[tuple[str, int]]:
    """The way to a step from the top: its number in each sequence, and which part of a holder."""
    frames = list(frames_of(path))
    name = bare(path)
    way: list[tuple[str, int]] = []
    while True:
        parent = plan.parents[name]
        holder = None if parent is None else plan.nodes[parent]
        bodies = [plan.root] if holder is None else [body for _, body in children(holder)]
        n, body = next((n, b) for n, b in enumerate(bodies) if name in [node.id for node in b])
        way.insert(0, ("sequence", [node.id for node in body].index(name)))
        if holder is None or parent is None:
            return way
        match holder:
            case EachNode():
                free = holder.concurrency > 1
                way.insert(0, ("free" if free else "sequence", frames.pop().number))
            case RepeatNode():
                way.insert(0, ("sequence", frames.pop().number))
            case AlternativesNode():
                way.insert(0, ("sequence", n))
            case _:
                way.insert(0, ("free", n))
        name = parent
