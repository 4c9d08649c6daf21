"""The compiled plan: a definition as a tree of nodes with everything that does not change.

A node stands for a step of the document; its instances in one saga are named by step paths, and
only what repeats adds a prefix to them. Walks therefore carry a prefix and ask `path_of`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeAlias

from amends_contracts import definition as document
from amends_contracts.definition import Rate, Retry, Schema
from amends_contracts.messages import Effect, Reversal
from amends_contracts.names import StepPath
from amends_orchestrator.core.expressions import (
    CompiledTemplate,
)
from amends_orchestrator.core.metering import Amount
from amends_orchestrator.core.plan_reviews import (
    Review,
    ReviewNode,
)

STEP_NAMES: Final = frozenset({"input", "steps", "saga"})
"""What every expression may name."""


@dataclass(frozen=True, slots=True)
class Undo:
    """How an action is taken back."""

    command: str
    input: CompiledTemplate | None
    """None: the default body `{"input", "output"}`."""
    retry: Retry
    timeout: timedelta
    verify: bool


@dataclass(frozen=True, slots=True)
class LimitNode:
    """Which permit each attempt of an action needs."""

    pool: str
    key: CompiledTemplate | None
    concurrency: int | None
    rate: Rate | None
    total: int | None


@dataclass(frozen=True, slots=True, eq=False)
class ActionNode:
    """A command to a participant."""

    id: str
    when: CompiledTemplate | None
    command: str
    service: str
    input: CompiledTemplate
    effect: Effect
    reversal: Reversal
    timeout: timedelta
    retry: Retry
    probe: bool = False
    ignore: bool = False
    """`on_failure: ignore`."""
    pivot: bool = False
    undo: Undo | None = None
    """There exactly if the action is compensatable."""
    compensable_for: timedelta | None = None
    limit: LimitNode | None = None
    kind: str = "action"
    """As the document says it."""
    reserve: Amount | None = None
    """Of metered work, the most that an attempt may use."""
    guard: Review | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ParallelNode:
    """Named branches, free of each other."""

    id: str
    when: CompiledTemplate | None
    branches: tuple[tuple[str, "Sequence"], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceNode:
    """The first case whose condition holds; `cases[i]` is chosen by index, `otherwise` by -1."""

    id: str
    when: CompiledTemplate | None
    cases: tuple[tuple[CompiledTemplate, "Sequence"], ...]
    otherwise: "Sequence"

    def body(self, case: int) -> "Sequence":
        """The steps of the chosen case."""
        return self.otherwise if case == OTHERWISE else self.cases[case][1]


@dataclass(frozen=True, slots=True, eq=False)
class AwaitNode:
    """A signal to come, or one that is here already."""

    id: str
    when: CompiledTemplate | None
    event: str
    timeout: timedelta | None
    ignore: bool
    """`on_timeout: ignore`."""


OTHERWISE: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class EachNode:
    """The body once per item, at most `concurrency` of them at a time, begun in their order."""

    id: str
    when: CompiledTemplate | None
    items: CompiledTemplate
    concurrency: int
    body: "Sequence"

    @property
    def sequential(self) -> bool:
        """Whether an item begins only after the one before it: then it is undone before it, too."""
        return self.concurrency == 1


@dataclass(frozen=True, slots=True, eq=False)
class RepeatNode:
    """The body until a condition holds after it; failed if it does not after `max` iterations."""

    id: str
    when: CompiledTemplate | None
    until: CompiledTemplate
    max: int
    body: "Sequence"


@dataclass(frozen=True, slots=True, eq=False)
class AlternativesNode:
    """Plans in order of preference; when one fails it alone is undone, and the next is tried."""

    id: str
    when: CompiledTemplate | None
    plans: tuple[tuple[str, "Sequence"], ...]

    def body(self, number: int) -> "Sequence":
        """The steps of a plan, by its index."""
        return self.plans[number][1]


@dataclass(frozen=True, slots=True, eq=False)
class WaitNode:
    """For a duration, or until a time: exactly one of the two is there."""

    id: str
    when: CompiledTemplate | None
    duration: timedelta | None
    until: CompiledTemplate | None


Node: TypeAlias = (
    ActionNode
    | ParallelNode
    | ChoiceNode
    | AwaitNode
    | EachNode
    | RepeatNode
    | AlternativesNode
    | WaitNode
    | ReviewNode
)
Sequence: TypeAlias = tuple[Node, ...]


def children(node: Node) -> tuple[tuple[str, Sequence], ...]:
    """The named sequences under a node."""
    match node:
        case ActionNode() | AwaitNode() | WaitNode() | ReviewNode():
            return ()
        case ParallelNode():
            return node.branches
        case ChoiceNode():
            cases = tuple((f"case {n + 1}", body) for n, (_, body) in enumerate(node.cases))
            return (*cases, ("otherwise", node.otherwise))
        case EachNode() | RepeatNode():
            return ((node.id, node.body),)
        case AlternativesNode():
            return node.plans


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step stands in the document."""

    parent: str | None = None
    """The step that holds it."""
    repeats: tuple[str, ...] = ()
    """Ids of the `each` and `repeat` around it, outermost first: one frame of its path each."""
    plans: tuple[tuple[str, int], ...] = ()
    """The alternatives around it and which plan of each it belongs to, outermost first."""
    names: frozenset[str] = STEP_NAMES
    """What its expressions may name."""

    def in_loop(self, step_id: str, names: frozenset[str]) -> "Place":
        """Inside the `each` or `repeat` that stands here; its steps may name these too."""
        return replace(
            self,
            parent=step_id,
            repeats=(*self.repeats, step_id),
            names=self.names | names,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A definition, ready to be decided by. Shared by all its sagas."""

    name: str
    version: int
    root: Sequence
    nodes: Mapping[str, Node]
    """By step id."""
    parents: Mapping[str, str | None]
    places: Mapping[str, "Place"]
    """By step id."""
    input_schema: Schema
    output: CompiledTemplate | None
    deadline: timedelta | None
    budget: document.Budget | None
    interrupt_after: timedelta
    events: bool
    savepoints: bool
    """Whether there are alternatives anywhere."""
    pivots: tuple[str, ...]
    """Steps marked as pivot, in the order of the document."""
    awaited: frozenset[str]
    """Events that some step awaits."""
    reviews: bool
    """Whether people are asked anywhere."""
    limited: bool
    """Whether any step needs a permit."""

    def node_of(self, path: str) -> Node | None:
        """The node of a step path: what stands after the last dot, without its instance."""
        node = self.nodes.get(path)
        if node is None:
            node = self.nodes.get(_INSTANCE.sub("", path.rpartition(".")[2]))
        return node

    def action_of(self, path: str) -> ActionNode | None:
        """The action of a step path."""
        node = self.node_of(path)
        return node if isinstance(node, ActionNode) else None

    def review_of(self, path: str) -> Review | None:
        """The review of a step path: a step's own, or the guard of an action."""
        match self.node_of(path):
            case ReviewNode(review=review):
                return review
            case ActionNode(guard=guard):
                return guard
            case _:
                return None


_INSTANCE: Final = re.compile(r"(\[\d+\]|#\d+(\.\d+)?)$")


def path_of(prefix: str, node: Node) -> StepPath:
    """The step path of a node's instance under `prefix` (empty at the top)."""
    return StepPath(prefix + node.id)


def walk(sequence: Sequence) -> Iterator[Node]:
    """Every node under a sequence, in the order of the document."""
    for node in sequence:
        yield node
        for _, body in children(node):
            yield from walk(body)
