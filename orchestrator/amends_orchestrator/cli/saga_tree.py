"""A saga's view (REST) as a tree for the terminal: what ran, what was undone, what is held.

Pure: a view in, a renderable out. The names of a column start below each other at every depth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from amends_orchestrator.core.view_usage import usage_text

View = Mapping[str, Any]
GUIDE_WIDTH = 4  # of one level of rich's tree


@dataclass(frozen=True, slots=True)
class Look:
    """How a status is shown."""

    mark: str
    style: str
    said: str


STEP: Mapping[str, Look] = {
    "pending": Look("○", "quiet", "waiting"),
    "running": Look("●", "busy", "running"),
    "retrying": Look("↻", "busy", "retrying"),
    "succeeded": Look("✔", "ok", "done"),
    "failed": Look("✘", "bad", "failed"),
    "unknown": Look("?", "bad", "outcome unknown"),
    "skipped": Look("–", "quiet", "skipped"),
    "compensating": Look("↩", "busy", "undoing"),
    "compensated": Look("↩", "undone", "undone"),
    "nothing_to_compensate": Look("–", "quiet", "nothing to undo"),
    "compensation_failed": Look("✘", "bad", "undo failed"),
}
SAGA: Mapping[str, Look] = {
    "running": Look("●", "busy", "running"),
    "compensating": Look("↩", "busy", "undoing"),
    "stuck": Look("✘", "bad", "stuck: needs an operator"),
    "suspended": Look("‖", "quiet", "suspended"),
    "completed": Look("✔", "ok", "completed"),
    "compensated": Look("↩", "undone", "compensated"),
}
NOT_TAKEN = Look("·", "quiet", "not taken")
FAILED_PLAN = Look("↩", "undone", "failed, the next plan was tried")
BRANCH = Look("┐", "quiet", "")
NOT_RUN = Look("·", "quiet", "not run")
UNDOING = frozenset({"compensating", "compensated"})
TERMINAL = frozenset({"completed", "compensated"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tree: its depth and the step it shows."""

    depth: int
    step: View
    look: Look


def render(view: View) -> RenderableType:
    """The whole of a saga."""
    over = view["status"] in TERMINAL
    rows = list(_rows(nodes_of(view), 0, over))
    name_width = max((GUIDE_WIDTH * r.depth + len(_name(r.step)) for r in rows), default=0)
    command_width = max((len(_command(r.step)) for r in rows), default=0)
    tree = Tree(_head(view), guide_style="quiet")
    branches = [tree]
    for row in rows:
        del branches[row.depth + 1 :]
        line = _line(row, name_width - GUIDE_WIDTH * row.depth, command_width)
        branches.append(branches[row.depth].add(line))
    return Group(tree, *_foot(view))


def nodes_of(view: View) -> Sequence[View]:
    """The steps as nested nodes, each with its `children`; flat where the view has no tree."""
    return view.get("tree") or view.get("steps", ())


def _rows(nodes: Sequence[View], depth: int, over: bool, under: str = "") -> Iterator[Row]:
    """Steps in the tree's order. A branch of several steps has a line of its own."""
    for branch, group in groupby(nodes, key=lambda node: node.get("branch")):
        steps = list(group)
        if branch is not None and steps[0].get("failed"):
            yield Row(depth, _branch(branch, "plan"), FAILED_PLAN)
            yield from _steps(steps, depth + 1, over)
        elif branch is not None and steps[0].get("chosen") is False:
            kind = "plan" if under == "alternatives" else "case"
            yield Row(depth, _branch(branch, kind), NOT_TAKEN)
        elif branch is not None and len(steps) > 1:
            kind = "plan" if under == "alternatives" else "branch"
            yield Row(depth, _branch(branch, kind), BRANCH)
            yield from _steps(steps, depth + 1, over)
        else:
            yield from _steps(steps, depth, over)


def _steps(steps: Sequence[View], depth: int, over: bool) -> Iterator[Row]:
    for step in steps:
        yield Row(depth, step, _look(step, over))
        yield from _rows(step.get("children") or (), depth + 1, over, step["kind"])


def _branch(name: str, kind: str) -> View:
    return {"path": name, "kind": kind, "status": ""}


def _look(step: View, over: bool) -> Look:
    if over and step["status"] == "pending":
        return NOT_RUN
    return STEP.get(step["status"], Look("·", "quiet", str(step["status"])))


def _head(view: View) -> Text:
    look = SAGA.get(view["status"], Look("·", "quiet", str(view["status"])))
    head = Text.assemble(
        (f"{view['definition']}@{view['version']}", "name"),
        "  ",
        str(view["key"]),
        "  ",
        (f"{look.mark} {look.said}", look.style),
    )
    took = duration(view.get("started_at"), view.get("ended_at"))
    if took:
        head.append(f" in {took}", "quiet")
    head.append(f"  {view['saga_id']}", "quiet")
    return head


def _line(row: Row, name_width: int, command_width: int) -> Text:
    step, look = row.step, row.look
    line = Text.assemble(
        (look.mark, look.style), " ", (_name(step).ljust(name_width), "name"), "  "
    )
    line.append(_command(step).ljust(command_width), "quiet")
    line.append("  ")
    line.append(look.said, look.style)
    for part in _details(step):
        line.append(f" · {part}", "quiet")
    why = _why(step)
    if why:
        line.append(f": {why}", look.style)
    return line


def _details(step: View) -> Iterator[str]:
    took = duration(step.get("started_at"), step.get("ended_at"))
    if took:
        yield took
    if (step.get("attempt") or 0) > 1:
        yield f"attempt {step['attempt']}"
    compensation: View = step.get("compensation") or {}
    undo_took = duration(compensation.get("started_at"), compensation.get("ended_at"))
    if undo_took:
        yield f"undo {undo_took}"
    if (compensation.get("attempt") or 0) > 1:
        yield f"undo attempt {compensation['attempt']}"
    if step.get("pivot"):
        yield "pivot"
    if step.get("items") and step["status"] not in UNDOING:
        yield f"{step['items_done']} of {step['items']} items"
    if step.get("turn"):
        yield f"iteration {step['turn']}"
    if step.get("count"):
        yield f"{step['count']} {step['kind']}"
    if step.get("usage"):
        yield usage_text(step["usage"])
    child: View = step.get("child") or {}
    if child.get("saga_id"):
        yield f"{child['status']} {child['saga_id']}"


def _why(step: View) -> str:
    if step["status"] == "succeeded":
        return ""
    compensation: View = step.get("compensation") or {}
    found = compensation.get("problem") or step.get("problem")
    if step["status"] in {"compensated", "nothing_to_compensate"}:
        return ""
    if step["status"] == "pending" and step.get("reason"):
        return str(step["reason"])  # what it waits for, not what became of an earlier attempt
    return problem_text(found) or str(step.get("reason") or "")


def _foot(view: View) -> Iterator[Text]:
    failure = view.get("failure")
    if failure:
        at = f"{failure['step']}: " if failure.get("step") else ""
        said = problem_text(failure.get("problem") or failure)
        yield Text.assemble(("because  ", "quiet"), (f"{at}{said}", "bad"))
    held = [_effect(item) for item in view.get("held", ())]
    if held and view["status"] != "completed":
        yield Text.assemble(("held     ", "quiet"), ", ".join(held))
    if view["status"] == "stuck":
        yield Text("next     amends retry, resolve or skip, with its id and a step's path", "quiet")
    for item in view.get("residue", ()):
        yield Text.assemble(("residue  ", "quiet"), (_effect(item), "bad"))
    if view.get("parent"):
        parent = view["parent"]
        yield Text.assemble(("parent   ", "quiet"), f"{parent['step']} of {parent['saga_id']}")
    if view.get("undoes"):
        yield Text.assemble(("undoes   ", "quiet"), str(view["undoes"]))
    if view.get("undone_by"):
        yield Text.assemble(("undone   ", "quiet"), f"by {view['undone_by']}")
    yield from _used(view)
    if view.get("output"):
        pairs = "  ".join(f"{k}={v}" for k, v in dict(view["output"]).items())
        yield Text.assemble(("output   ", "quiet"), pairs)


def _used(view: View) -> Iterator[Text]:
    """What models were asked for it, if any."""
    usage: View | None = view.get("usage")
    if usage is None:
        return
    yield Text.assemble(("used     ", "quiet"), usage_text(usage))
    if len(usage["models"]) > 1:
        for model in usage["models"]:
            yield Text.assemble((" " * 9, "quiet"), f"{model['model']}: {usage_text(model)}")


def _effect(item: Any) -> str:
    if isinstance(item, str):
        return item
    effect: View = item
    notes = [str(effect[k]) for k in ("command", "reason", "owner") if effect.get(k)]
    return str(effect.get("path", "?")) + (f" ({', '.join(notes)})" if notes else "")


def problem_text(problem: View | None) -> str:
    """`sold-out, no room in Venice`; empty for no problem."""
    if not problem:
        return ""
    kind = str(problem.get("type") or "").removeprefix("amends:")
    said = str(problem.get("detail") or problem.get("title") or "")
    return ", ".join(part for part in (kind if kind != "about:blank" else "", said) if part)


def duration(start: str | None, end: str | None) -> str:
    """`31 ms`, `1.24 s`, `3 min 4 s`; empty unless both ends are known."""
    if not start or not end:
        return ""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return span(seconds)


def span(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _name(step: View) -> str:
    return str(step["path"])


def _command(step: View) -> str:
    """What the second column says: the command, or the kind of a step that holds others."""
    said = str(step.get("command") or step.get("kind") or "")
    return "" if said == step["path"] else said
