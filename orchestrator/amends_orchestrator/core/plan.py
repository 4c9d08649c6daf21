"""The compiled plan: a definition as a tree of nodes with everything that does not change.

A node stands for a step of the document; its instances in one saga are named by step paths, and
only what repeats adds a prefix to them. Walks therefore carry a prefix and ask `path_of`. A kind
that this version cannot run has no node: `UnsupportedKind` (the verifier says it with a remedy).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from amends_contracts import definition as document
from amends_contracts.definition import Definition, Rate, Retry, Schema
from amends_contracts.expressions import parse_expression, parse_template
from amends_contracts.messages import Effect, Json, Reversal
from amends_contracts.names import StepPath, service_of
from amends_orchestrator.core.expressions import (
    CompiledTemplate,
    Expressions,
    compile_template,
)

STEP_NAMES: Final = frozenset({"input", "steps", "saga"})
UNDO_NAMES: Final = STEP_NAMES | {"action"}


class UnsupportedKind(ValueError):
    """This version cannot run a step of this kind."""

    def __init__(self, step: str, kind: str) -> None:
        self.step = step
        self.kind = kind
        super().__init__(f"step {step!r}: kind {kind!r} cannot be run by this version")


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
    probe: bool
    timeout: timedelta
    retry: Retry
    ignore: bool
    """`on_failure: ignore`."""
    pivot: bool
    undo: Undo | None
    """There exactly if the action is compensatable."""
    compensable_for: timedelta | None
    limit: LimitNode | None


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


OTHERWISE: Final = -1
Node: TypeAlias = ActionNode | ParallelNode | ChoiceNode
Sequence: TypeAlias = tuple[Node, ...]


def children(node: Node) -> tuple[tuple[str, Sequence], ...]:
    """The named sequences under a node."""
    match node:
        case ActionNode():
            return ()
        case ParallelNode():
            return node.branches
        case ChoiceNode():
            cases = tuple((f"case {n + 1}", body) for n, (_, body) in enumerate(node.cases))
            return (*cases, ("otherwise", node.otherwise))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A definition, ready to be decided by. Shared by all its sagas."""

    name: str
    version: int
    root: Sequence
    nodes: Mapping[str, Node]
    """By step id."""
    parents: Mapping[str, str | None]
    input_schema: Schema
    output: CompiledTemplate | None
    deadline: timedelta | None
    interrupt_after: timedelta
    events: bool
    pivots: tuple[str, ...]
    """Steps marked as pivot, in the order of the document."""

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


def compile_plan(definition: Definition, expressions: Expressions) -> Plan:
    """The plan of a verified and resolved definition; UnsupportedKind, ExpressionSyntaxError."""
    compiler = _Compiler(expressions)
    root = compiler.sequence(definition.steps, None)
    output = None
    if definition.output is not None:
        output = compiler.template(definition.output, STEP_NAMES)
    pivots = [n.id for n in walk(root) if isinstance(n, ActionNode) and n.pivot]
    return Plan(
        name=definition.name,
        version=definition.version,
        root=root,
        nodes={node.id: node for node in walk(root)},
        parents=compiler.parents,
        input_schema=definition.input,
        output=output,
        deadline=definition.deadline,
        interrupt_after=definition.interrupt_after,
        events=definition.events,
        pivots=tuple(pivots),
    )


class _Compiler:
    def __init__(self, expressions: Expressions) -> None:
        self.engine = expressions
        self.parents: dict[str, str | None] = {}

    def template(self, value: Json, names: frozenset[str]) -> CompiledTemplate:
        return compile_template(parse_template(value), names, self.engine)

    def condition(self, text: str) -> CompiledTemplate:
        return compile_template(parse_expression(text), STEP_NAMES, self.engine)

    def when(self, text: str | None) -> CompiledTemplate | None:
        return None if text is None else self.condition(text)

    def sequence(self, steps: document.Steps, parent: str | None) -> Sequence:
        return tuple(self.node(step, parent) for step in steps)

    def node(self, step: document.Step, parent: str | None) -> Node:
        self.parents[step.id] = parent
        match step:
            case document.Action():
                return self.action(step)
            case document.Parallel():
                branches = tuple(
                    (name, self.sequence(body, step.id)) for name, body in step.branches.items()
                )
                return ParallelNode(step.id, self.when(step.when), branches)
            case document.Choice():
                cases = tuple(
                    (self.condition(case.when), self.sequence(case.steps, step.id))
                    for case in step.cases
                )
                otherwise = self.sequence(step.otherwise, step.id)
                return ChoiceNode(step.id, self.when(step.when), cases, otherwise)
            case _:
                raise UnsupportedKind(step.id, step.kind)

    def action(self, step: document.Action) -> ActionNode:
        reversal = reversal_of(step)
        return ActionNode(
            id=step.id,
            when=self.when(step.when),
            command=step.command,
            service=service_of(step.command),
            input=self.template(step.input, STEP_NAMES),
            effect=step.effect or Effect.KEYED,
            reversal=reversal,
            probe=bool(step.probe),
            timeout=step.timeout,
            retry=step.retry,
            ignore=step.on_failure == "ignore",
            pivot=step.pivot,
            undo=self.undo(step) if reversal is Reversal.COMPENSATABLE else None,
            compensable_for=step.compensable_for,
            limit=None if step.limit is None else self.limit(step.limit, service_of(step.command)),
        )

    def limit(self, limit: document.Limit, service: str) -> LimitNode:
        return LimitNode(
            pool=limit.name or service,
            key=None if limit.key is None else self.template(limit.key, STEP_NAMES),
            concurrency=limit.concurrency,
            rate=limit.rate,
            total=limit.total,
        )

    def undo(self, step: document.Action) -> Undo:
        compensation = step.compensation or document.Compensation()
        mapping = compensation.input
        return Undo(
            command=compensation.command or step.command,
            input=None if mapping is None else self.template(mapping, UNDO_NAMES),
            retry=compensation.retry,
            timeout=compensation.timeout,
            verify=compensation.verify,
        )


def reversal_of(step: document.Action) -> Reversal:
    """Said, or by its compensation; without either nothing is known to take it back."""
    if step.reversal is not None:
        return step.reversal
    return Reversal.IRREVERSIBLE if step.compensation is None else Reversal.COMPENSATABLE
