"""Blocks of a plan: parallel, choice, each, repeat, alternatives. Each is a `with`."""

# ruff: noqa: A002  # keywords of the public API are named for what they are

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from amends_contracts.plan import types
from amends_contracts.plan.origins import PlanError
from amends_contracts.plan.proxies import Expr, Loop, Proxy, expr_of
from amends_contracts.plan.recorder import Block, Node, Recorder
from amends_contracts.plan.types import kind
from amends_contracts.problems import Problem

T = TypeVar("T")


class Choice:
    """What `with plan.choice() as c:` gives: cases, tried in the order they are written in."""

    def __init__(self, recorder: "Blocks", node: Node) -> None:
        self._recorder = recorder
        self._node = node
        self._has_otherwise = False

    @contextmanager
    def when(self, condition: bool) -> Generator[None]:
        """The steps inside run if this is the first case whose condition holds."""
        if self._has_otherwise:
            raise PlanError("a case after otherwise() would never run", "put otherwise() last")
        cases: list[Any] = self._node.members["cases"]
        cases.append({"when": self._recorder.condition(condition), "steps": []})
        block = Block()
        self._node.inner.append((("cases", len(cases) - 1, "steps"), block))
        with self._recorder.opened(block):
            yield

    @contextmanager
    def otherwise(self) -> Generator[None]:
        """The steps inside run if no case's condition holds."""
        if self._has_otherwise:
            raise PlanError("there is an otherwise() already")
        self._has_otherwise = True
        block = Block()
        self._node.inner.append((("otherwise",), block))
        with self._recorder.opened(block):
            yield


class Repeat:
    """What `with plan.repeat(max=…) as loop:` gives."""

    def __init__(self, recorder: "Blocks", node: Node, loop: Loop) -> None:
        self._recorder = recorder
        self._node = node
        self._loop = loop

    @property
    def turn(self) -> int:
        """The number of the iteration, from 1."""
        return cast(int, Proxy(Expr("turn", int, plan=self._recorder, loop=self._loop)))

    def until(self, condition: bool) -> None:
        """Looked at after each iteration: if it holds, the loop is done."""
        self._node.members["until"] = self._recorder.condition(condition)


class Alternatives:
    """What `with plan.alternatives() as options:` gives: plans in order of preference."""

    def __init__(self, recorder: "Blocks", node: Node) -> None:
        self._recorder = recorder
        self._node = node

    @property
    def failure(self) -> Problem:
        """Why the plan before this one failed; for plans after the first."""
        if len(self._node.members["plans"]) < 2:
            raise PlanError("before the first plan nothing has failed")
        return cast(Problem, Proxy(Expr("failure", Problem, plan=self._recorder)))

    @contextmanager
    def plan(self, name: str) -> Generator[None]:
        """One way to do it; if it fails, it alone is undone and the next is tried."""
        plans: list[Any] = self._node.members["plans"]
        if any(plan["name"] == name for plan in plans):
            raise PlanError(f"there is a plan {name!r} already")
        plans.append({"name": name, "steps": []})
        block = Block()
        self._node.inner.append((("plans", len(plans) - 1, "steps"), block))
        with self._recorder.opened(block):
            yield


class Blocks(Recorder):
    """The blocks of a plan."""

    @contextmanager
    def parallel(self, *, id: str | None = None, when: bool | None = None) -> Generator[None]:
        """Each step inside is a branch of its own; `with plan.branch(name):` makes longer ones.

        All must succeed. If one fails, the others are undone too.
        """
        node = self._add("parallel", {"branches": {}}, id=id, fallback="parallel", when=when)
        with self._open(Block(branches_of=node)):
            yield
        if not node.inner:
            raise PlanError("this parallel has no branch", at=node.origin)

    @contextmanager
    def branch(self, name: str) -> Generator[None]:
        """A branch of the parallel around it, with its steps in sequence."""
        parallel = self._stack[-1].branches_of
        if parallel is None:
            raise PlanError("a branch stands directly in `with plan.parallel():`")
        with self._open(self._branch(parallel, name)):
            yield

    @contextmanager
    def choice(self, *, id: str | None = None, when: bool | None = None) -> Generator[Choice]:
        """`with plan.choice() as c:` with `with c.when(…):` and `with c.otherwise():` inside."""
        node = self._add("choice", {"cases": []}, id=id, fallback="choice", when=when)
        refuses = ("a step directly in a choice belongs to no case", "use `with c.when(…):`")
        with self._open(Block(refuses=refuses)):
            yield Choice(self, node)
        if not node.members["cases"]:
            raise PlanError("this choice has no case", "add `with c.when(…):`", at=node.origin)

    @contextmanager
    def each(
        self,
        items: Sequence[T],
        *,
        concurrency: int = 1,
        id: str | None = None,
        when: bool | None = None,
    ) -> Generator[T]:
        """The steps inside once per item, at most `concurrency` at a time; gives the item.

        After the block `collect` gives the outputs of all items.
        """
        annotation = expr_of(items).type if isinstance(items, Proxy) else None
        if kind(annotation) not in (None, "array"):
            raise PlanError(f"each goes over a list, but this is {types.shown(annotation)}")
        members = {"items": self._rendered(items), "concurrency": concurrency}
        node = self._add("each", members, id=id, fallback="each", when=when)
        loop = Loop("each", node.members["id"], self._loops[-1] if self._loops else None)
        item = Proxy(Expr("item", types.item_of(annotation), plan=self, loop=loop))
        block = Block()
        node.inner.append((("steps",), block))
        with self._open(block, loop):
            yield cast(T, item)
        self._not_empty(node, block)

    @property
    def index(self) -> int:
        """The number of the item in the innermost each, from 0."""
        loop = self._innermost("each")
        if loop is None:
            raise PlanError("plan.index is known in `with plan.each(…):` only")
        return cast(int, Proxy(Expr("index", int, plan=self, loop=loop)))

    def collect(self, output: T) -> list[T]:
        """After an each: what a step inside it gave, for all items in their order."""
        if not isinstance(output, Proxy) or not expr_of(output).root:
            raise PlanError("collect takes the output of a step inside an each, or a part of it")
        expr = expr_of(output)
        loop = expr.loop
        if loop is None or loop in self._loops:
            raise PlanError("collect is for after the each, with a step from inside it")
        if loop.parent is not None and loop.parent not in self._loops:
            raise PlanError(
                f"{expr.text} lies two loops deep", "use plan.cel('…', list) to say what you need"
            )
        part = expr.text[len(expr.root) :]
        text = f"{expr.root}.map(o, o{part})" if part else expr.root
        outer = loop.parent if loop.parent is not None and loop.parent.kind == "each" else None
        of = list[expr.type] if expr.type is not None else list
        return cast(list[T], Proxy(Expr(text, of, plan=self, loop=outer, root=text)))

    @contextmanager
    def repeat(
        self, *, max: int, id: str | None = None, when: bool | None = None
    ) -> Generator[Repeat]:
        """The steps inside until `loop.until(…)` holds; fails after `max` iterations."""
        node = self._add("repeat", {"max": max}, id=id, fallback="repeat", when=when)
        loop = Loop("repeat", node.members["id"], self._loops[-1] if self._loops else None)
        block = Block()
        node.inner.append((("steps",), block))
        with self._open(block, loop):
            yield Repeat(self, node, loop)
        self._not_empty(node, block)
        if "until" not in node.members:
            raise PlanError(
                "this repeat does not say when it is done",
                "`with plan.repeat(max=…) as loop:` and call loop.until(…) inside",
                at=node.origin,
            )

    @contextmanager
    def alternatives(
        self, *, id: str | None = None, when: bool | None = None
    ) -> Generator[Alternatives]:
        """`with plan.alternatives() as options:` with `with options.plan(name):` inside."""
        node = self._add("alternatives", {"plans": []}, id=id, fallback="alternatives", when=when)
        refuses = ("a step directly in alternatives belongs to none", "use `with options.plan(…):`")
        with self._open(Block(refuses=refuses)):
            yield Alternatives(self, node)
        if not node.members["plans"]:
            raise PlanError(
                "there is no alternative", "add `with options.plan('…'):`", at=node.origin
            )

    def condition(self, value: object) -> str:
        """For the blocks' handles: a condition as an expression."""
        return self._condition(value)

    def opened(self, block: Block) -> Any:
        """For the blocks' handles: record into `block`."""
        return self._open(block)

    def _not_empty(self, node: Node, block: Block) -> None:
        if not block.steps:
            raise PlanError(f"this {node.members['kind']} has no steps", at=node.origin)
