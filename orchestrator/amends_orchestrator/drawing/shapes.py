"""What of a definition is worth showing, in plain words: a tree of shapes, one per step.

How it looks is not said here; both formats draw the same shapes.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never, cast

from amends_contracts import definition as document
from amends_contracts.definition import Definition
from amends_contracts.messages import Reversal


@dataclass(frozen=True, slots=True)
class Shape:
    """One step."""

    id: str
    kind: str
    does: str
    """What it is about: a command, an event, a duration."""
    facts: tuple[str, ...] = ()
    """What differs from the ordinary, a few words each."""
    when: str | None = None
    undo: str | None = None
    """How it is taken back; None where there is nothing to take back, or nobody has said."""
    final: bool = False
    """It cannot be taken back."""
    pivot: bool = False
    lanes: tuple["Lane", ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """Steps within a step, one after the other; lanes stand side by side."""

    label: str
    steps: tuple[Shape, ...]


def shapes_of(definition: Definition) -> tuple[Shape, ...]:
    """The top sequence."""
    return _steps(definition.steps)


def heading(definition: Definition) -> tuple[str, str]:
    """`book-trip@1`, and a line below it."""
    facts = [definition.description] if definition.description else []
    if definition.deadline is not None:
        facts.append(f"within {duration(definition.deadline)}")
    properties = definition.input.get("properties")
    if isinstance(properties, dict) and properties:
        facts.append(f"from {', '.join(cast('dict[str, Any]', properties))}")
    return f"{definition.name}@{definition.version}", " · ".join(facts)


def duration(value: timedelta) -> str:
    """`1 h 30 min`."""
    seconds = value.total_seconds()
    parts: list[str] = []
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        whole, seconds = divmod(seconds, unit)
        if whole:
            parts.append(f"{whole:g} {name}")
    if seconds or not parts:
        parts.append(f"{seconds:g} s")
    return " ".join(parts)


def _steps(steps: document.Steps) -> tuple[Shape, ...]:
    return tuple(_shape(step) for step in steps)


def _shape(step: document.Step) -> Shape:
    when = None if step.when is None else expression(step.when)
    match step:
        case document.Action():
            return _dispatched(step, step.command, when)
        case document.Tool():
            return _dispatched(step, step.tool, when)
        case document.Llm() | document.Agent() | document.ChildSaga():
            return _thinking(step, when)
        case document.Review() | document.Wait() | document.Await():
            return _waiting(step, when)
        case _:
            return _holding(step, when)


def _dispatched(step: document.Action | document.Tool, does: str, when: str | None) -> Shape:
    facts: list[str] = []
    if step.review is not None:
        facts.append("after a review")
    if step.retry.max_attempts is None:
        facts.append("tried until it succeeds")
    elif step.retry.max_attempts != document.Retry().max_attempts:
        facts.append(_times(step.retry.max_attempts, "attempt"))
    if step.timeout != document.TIMEOUT_DEFAULT:
        facts.append(f"{duration(step.timeout)} each")
    if step.on_failure == "ignore":
        facts.append("may fail")
    undo = None
    if step.compensation is not None:
        undo = step.compensation.command or does
        undo += ", verified" if step.compensation.verify else ""
        undo += f", for {duration(step.compensable_for)}" if step.compensable_for else ""
    final = step.reversal is Reversal.IRREVERSIBLE
    return Shape(step.id, step.kind, does, tuple(facts), when, undo, final, step.pivot)


def _thinking(step: document.Llm | document.Agent | document.ChildSaga, when: str | None) -> Shape:
    match step:
        case document.Llm():
            return Shape(step.id, step.kind, " or ".join(step.models), when=when)
        case document.Agent():
            tools = [tool if isinstance(tool, str) else tool.name for tool in step.tools]
            facts = [f"tools: {', '.join(tools)}"] if tools else []
            if step.limits.turns is not None:
                facts.append(f"at most {_times(step.limits.turns, 'turn')}")
            undo = "every call, latest first" if tools else None
            return Shape(step.id, step.kind, step.decider, tuple(facts), when, undo)
        case document.ChildSaga():
            version = "" if step.version is None else f"@{step.version}"
            return Shape(step.id, step.kind, step.definition + version, (), when, "the whole of it")


def _waiting(step: document.Review | document.Wait | document.Await, when: str | None) -> Shape:
    match step:
        case document.Review():
            facts = [f"asks {', '.join(step.assignees)}"] if step.assignees else []
            if step.quorum > 1:
                facts.append(f"{step.quorum} must agree")
            if step.expires is not None:
                facts.append(f"within {duration(step.expires)}, else {step.on_expiry}")
            return Shape(step.id, step.kind, step.title, tuple(facts), when)
        case document.Wait():
            until = f"until {text(step.until)}"
            does = until if step.for_ is None else duration(step.for_)
            return Shape(step.id, step.kind, does, when=when)
        case document.Await():
            limit: tuple[str, ...] = ()
            if step.timeout is not None:
                otherwise = "goes on" if step.on_timeout == "ignore" else "turns back"
                limit = (f"after {duration(step.timeout)} it {otherwise}",)
            return Shape(step.id, step.kind, step.event, limit, when)


def _holding(
    step: document.Parallel
    | document.Choice
    | document.Each
    | document.Repeat
    | document.Alternatives,
    when: str | None,
) -> Shape:
    does = ""
    match step:
        case document.Parallel():
            lanes = [Lane(name, _steps(body)) for name, body in step.branches.items()]
        case document.Choice():
            lanes = [Lane(f"if {expression(c.when)}", _steps(c.steps)) for c in step.cases]
            lanes.append(Lane("otherwise", _steps(step.otherwise)))
        case document.Each():
            does = f"of {text(step.items)}"
            does += f", {step.concurrency} at a time" if step.concurrency > 1 else ""
            lanes = [Lane("", _steps(step.steps))]
        case document.Repeat():
            does = f"until {expression(step.until)}, at most {_times(step.max, 'time')}"
            lanes = [Lane("", _steps(step.steps))]
        case document.Alternatives():
            lanes = [
                Lane(f"{n}. {plan.name}", _steps(plan.steps))
                for n, plan in enumerate(step.plans, 1)
            ]
        case _:
            assert_never(step)
    return Shape(step.id, step.kind, does, when=when, lanes=tuple(lanes))


def expression(value: str) -> str:
    """What stands between the braces, on one line."""
    inner = value.strip()
    if inner.startswith("${") and inner.endswith("}"):
        inner = inner[2:-1]
    return " ".join(inner.split())


def text(value: Any) -> str:
    """An expression's inside, or how many items are listed."""
    if isinstance(value, list):
        return _times(len(cast("list[Any]", value)), "item")
    return expression(str(value))


def _times(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
