"""Tables and lines for the terminal: lists of sagas, answers to actions, the undo plan."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli import saga_tree

View = Mapping[str, Any]


def table(items: Sequence[View], more: bool) -> RenderableType:
    """Sagas, one line each."""
    if not items:
        return Text("No sagas.", "quiet")
    lines = Table(box=None, pad_edge=False, header_style="quiet")
    for title in ("saga", "definition", "key", "status", "started", "took"):
        lines.add_column(title, no_wrap=title == "saga", overflow="fold")
    for item in items:
        look = saga_tree.SAGA.get(item["status"], saga_tree.NOT_RUN)
        lines.add_row(
            item["saga_id"],
            f"{item['definition']}@{item['version']}",
            str(item["key"]),
            Text(f"{look.mark} {item['status']}", look.style),
            ago(item.get("started_at")),
            saga_tree.duration(item.get("started_at"), item.get("ended_at")),
        )
    if not more:
        return lines
    return Group(lines, Text("There are more: --limit", "quiet"))


def started(answer: View, body: View) -> RenderableType:
    """The answer to a start."""
    what = "started" if answer["created"] else "was started before with this key:"
    return Text.assemble(
        (f"{body['definition']} ", "name"),
        f"{what} ",
        str(answer["saga_id"]),
        (f"\n  amends show {answer['saga_id']} --watch", "quiet"),
    )


def acted(said: str, saga_id: str, answer: View) -> RenderableType:
    """The answer to an operator's or client's action."""
    shown = str(answer.get("saga_id") or saga_id)
    return Text.assemble((said, "ok"), ("  amends show ", "quiet"), (shown, "quiet"))


def undo_plan(plan: View) -> RenderableType:
    """What an undo would do, in its order; same order number: side by side."""
    items: Sequence[View] = plan["items"]
    if not items:
        return Text("Nothing would be undone.", "quiet")
    lines = Table(box=None, pad_edge=False, header_style="quiet")
    for title in ("order", "step", "command", ""):
        lines.add_column(title)
    for item in items:
        stays = bool(item.get("residue")) or item.get("command") is None
        lines.add_row(
            "" if stays else str(item.get("order", "")),
            str(item.get("path", "")),
            Text("stays", "bad") if stays else Text(str(item["command"])),
            Text(str(item.get("why") or item.get("reason") or ""), "quiet"),
        )
    return lines


def ago(start: str | None, now: datetime | None = None) -> str:
    """`12 s ago`."""
    if not start:
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(start)).total_seconds()
    if seconds < 1:
        return "just now"
    if seconds < 60:
        return f"{round(seconds)} s ago"
    if seconds < 86_400:
        return f"{saga_tree.span(seconds)} ago"
    return start[:16].replace("T", " ")
