"""The notebook behind a plan: open blocks, ids, nodes with their places, and their document."""

# ruff: noqa: A002  # keywords of the public API are named for what they are

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from amends_contracts.messages import Json
from amends_contracts.names import is_name
from amends_contracts.plan import types
from amends_contracts.plan.origins import Origin, PlanError, assigned_name, here
from amends_contracts.plan.proxies import Expr, Loop, Proxy, expr_of
from amends_contracts.plan.recorded import Recorded
from amends_contracts.plan.types import Type, kind
from amends_contracts.plan.values import render, template

Path = tuple[str | int, ...]
BLOCKS = frozenset({"parallel", "choice", "each", "repeat", "alternatives"})
"""Kinds whose `as` names what is inside, not the step."""


@dataclass(slots=True)
class Block:
    """A sequence of steps that is being written."""

    steps: "list[Node]" = field(default_factory=list["Node"])
    refuses: tuple[str, str] | None = None
    """Why steps may not stand in it directly, and the advice."""
    branches_of: "Node | None" = None
    """A parallel: each step that stands in it directly becomes a branch."""


@dataclass(slots=True)
class Node:
    """A step: its own members, and where its inner sequences belong."""

    members: dict[str, Any]
    origin: Origin
    inner: list[tuple[Path, Block]] = field(default_factory=list[tuple[Path, Block]])

    def to_json(self, pointer: str, origins: dict[str, Origin]) -> dict[str, Json]:
        """The step as the document has it; notes the place of each step by its JSON pointer."""
        origins[pointer] = self.origin
        written: dict[str, Any] = dict(self.members)
        for path, block in self.inner:
            container: Any = written
            for part in path[:-1]:
                container = container[part]
            at = f"{pointer}/{'/'.join(map(str, path))}"
            container[path[-1]] = [
                node.to_json(f"{at}/{index}", origins) for index, node in enumerate(block.steps)
            ]
        return written


class Recorder:
    """What all builders of steps share."""

    def __init__(self) -> None:
        self._stack = [Block()]
        self._loops: list[Loop] = []
        self._ids: set[str] = set()

    # --- what builders call

    def _add(
        self,
        kind_: str,
        members: Mapping[str, Json],
        *,
        id: str | None,
        fallback: str,
        when: object,
    ) -> Node:
        """Append a step to the open block; its id: the one given, the variable's, a fallback."""
        block = self._stack[-1]
        if block.refuses is not None:
            raise PlanError(*block.refuses)
        name = self._new_id(kind_, id, fallback)
        step: dict[str, Any] = {"id": name, "kind": kind_}
        if when is not None:
            step["when"] = self._condition(when)
        node = Node(step | dict(members), here())
        if block.branches_of is not None:
            self._branch(block.branches_of, name).steps.append(node)
        else:
            block.steps.append(node)
        return node

    def _output(self, node: Node, annotation: Type) -> Proxy:
        """The proxy of a step's output."""
        text = f"{types.member_text('steps', node.members['id'])}.output"
        each = next((loop for loop in reversed(self._loops) if loop.kind == "each"), None)
        return Proxy(Expr(text, annotation, plan=self, loop=each, root=text))

    def _condition(self, value: object) -> str:
        """A condition as an expression."""
        if not isinstance(value, Proxy):
            raise PlanError(
                f"a condition is made of what the plan knows, got {value!r}",
                "compare a field of plan.input or of a step's output",
            )
        self._check_here(value)
        expr = expr_of(value)
        if kind(expr.type) not in (None, "boolean"):
            raise PlanError(f"{expr.text} is {types.shown(expr.type)}, not a condition")
        return template(expr)

    def _rendered(self, value: object) -> Json:
        """A value for the document; every proxy in it may stand here."""
        self._check_here(value)
        return value.input() if isinstance(value, Recorded) else render(value)

    @contextmanager
    def _open(self, block: Block, loop: Loop | None = None) -> Generator[None]:
        """Steps recorded inside go to `block`."""
        self._stack.append(block)
        if loop is not None:
            self._loops.append(loop)
        try:
            yield
        finally:
            self._stack.pop()
            if loop is not None:
                self._loops.pop()

    def _branch(self, parallel: Node, name: str) -> Block:
        branches: dict[str, Any] = parallel.members["branches"]
        if name in branches:
            raise PlanError(f"there is a branch {name!r} already")
        branches[name] = []
        block = Block()
        parallel.inner.append((("branches", name), block))
        return block

    def _new_id(self, kind_: str, id: str | None, fallback: str) -> str:
        if id is not None:
            if not is_name(id):
                raise PlanError(f"{id!r} is no id", "lower case letters, digits, _ and -")
            if id in self._ids:
                raise PlanError(f"there is a step {id!r} already", "ids are unique in a plan")
            self._ids.add(id)
            return id
        variable = (assigned_name() or "").strip("_").lower() if kind_ not in BLOCKS else ""
        base = variable if is_name(variable) else fallback
        name, number = base, 1
        while name in self._ids:
            number += 1
            name = f"{base}_{number}"
        self._ids.add(name)
        return name

    # --- where a proxy may stand

    def _check_here(self, value: object) -> None:
        if isinstance(value, Proxy):
            self._check_expr(expr_of(value))
        elif isinstance(value, Recorded):
            for member in value.values.values():
                self._check_here(member)
        elif isinstance(value, Mapping):
            for member in cast(Mapping[str, object], value).values():
                self._check_here(member)
        elif isinstance(value, list | tuple):
            for item in cast(Sequence[object], value):
                self._check_here(item)

    def _check_expr(self, expr: Expr) -> None:
        if expr.plan is not None and expr.plan is not self:
            raise PlanError(f"{expr.text} belongs to another plan")
        loop = expr.loop
        if loop is None:
            return
        if loop not in self._loops:
            raise PlanError(
                f"{expr.text} belongs to the loop {loop.id!r}, which is closed",
                "after an each, plan.collect(…) gives the values of all items as a list",
            )
        if not expr.root and loop is not self._innermost(loop.kind):
            raise PlanError(
                f"{expr.text} is that of the outer loop {loop.id!r}, hidden by the inner one",
                "hand it to a step of the outer loop, or make the inner loop a saga of its own",
            )

    def _innermost(self, kind_: str) -> Loop | None:
        return next((loop for loop in reversed(self._loops) if loop.kind == kind_), None)
