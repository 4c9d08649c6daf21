"""What the plan says of step instances: which comes before which, which plan of alternatives holds
it. Read off the plan and the step paths alone, and of nothing that the engine walks by.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from amends_contracts.names import StepPath
from amends_orchestrator.core.frames import frames_of, prefix_at
from amends_orchestrator.core.plan import EachNode, Plan, RepeatNode, Sequence, children


def precedes(plan: Plan, path: StepPath, other: StepPath) -> bool:
    """Whether the plan sequences one step instance before another.

    Where both lie in the body of a loop, its iterations, and the items of a sequential `each`, are
    in their order; items of any other `each` are free of each other, as parallel branches are.
    """
    one, two = plan.node_of(path), plan.node_of(other)
    if one is None or two is None:
        return False
    frames, others = frames_of(path), frames_of(other)
    shared = sum(a == b for a, b in zip(frames, others, strict=False))
    here = [*((frame.id, frame.number) for frame in frames[shared:]), (one.id, 0)][0]
    there = [*((frame.id, frame.number) for frame in others[shared:]), (two.id, 0)][0]
    if here[0] == there[0]:
        return here[1] < there[1] and is_ordered(plan, here[0])
    return there[0] in followers(plan)[here[0]]


def is_ordered(plan: Plan, loop: str) -> bool:
    """Whether the frames of a loop come one after the other."""
    node = plan.nodes.get(loop)
    return isinstance(node, RepeatNode) or (isinstance(node, EachNode) and node.concurrency == 1)


def plans_around(plan: Plan, path: StepPath) -> Iterator[tuple[StepPath, int]]:
    """The instances of alternatives that a step lies in, and in which plan of each, outermost
    first.
    """
    node = plan.node_of(path)
    if node is None:
        return
    for name, number in plan.places[node.id].plans:
        yield StepPath(prefix_at(path, len(plan.places[name].repeats)) + name), number


@lru_cache(maxsize=512)
def followers(plan: Plan) -> Mapping[str, frozenset[str]]:
    """By step id, the steps that stand behind it in some sequence, with all that they hold."""
    found: dict[str, frozenset[str]] = {}
    _follow(plan.root, frozenset(), found)
    return found


def _follow(
    sequence: Sequence, after: frozenset[str], found: dict[str, frozenset[str]]
) -> frozenset[str]:
    """Note what follows each step of a sequence; all steps in it."""
    inside: frozenset[str] = frozenset()
    for node in reversed(sequence):
        later = inside | after
        found[node.id] = later
        bodies = [_follow(body, later, found) for _, body in children(node)]
        inside = inside.union({node.id}, *bodies)
    return inside
