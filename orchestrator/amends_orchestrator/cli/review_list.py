"""Reviews for the terminal: a line each, or one with what it asks for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amends_orchestrator.cli.saga_list import ago

View = Mapping[str, Any]


def table(items: Sequence[View], status: str, *, more: bool) -> RenderableType:
    """Reviews, one line each."""
    if not items:
        return Text(f"No {status} reviews.", "quiet")
    lines = Table(box=None, pad_edge=False, header_style="quiet")
    for title in ("review", "title", "for", "saga", "asked", "until"):
        lines.add_column(title, no_wrap=title == "review", overflow="fold")
    for item in items:
        lines.add_row(
            item["review_id"],
            Text(str(item["title"])),
            Text(", ".join(item["assignees"]) or "any reviewer"),
            Text(f"{item['definition']} {item['key']}"),
            ago(item["requested_at"]),
            (item["due"] or "")[:16].replace("T", " "),
        )
    return Group(lines, Text("There are more: --limit", "quiet")) if more else lines


def one(item: View) -> RenderableType:
    """A review with what it shows."""
    what = f"would send {item['command']}" if item["command"] else "asks"
    approved = f"{len(item['approved_by'])} of {item['quorum']} approved"
    head = Text.assemble(
        (str(item["title"]), "name"),
        f"\n{item['status']}, {approved}; for {', '.join(item['assignees']) or 'any reviewer'}",
        (f"\n{item['definition']} {item['key']}, step {item['step']} {what}", "quiet"),
    )
    shown = item["show"]
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    said = [
        Text(f"{one['by']}: {one['decision']}  {one['comment'] or ''}".rstrip(), "quiet")
        for one in item["decisions"]
    ]
    return Group(head, Text(text), *said, Text(f"digest {item['digest']}", "quiet"))


def decided(decision: str, answer: View) -> RenderableType:
    """The answer to a decision."""
    past = {"approve": "approved", "reject": "rejected", "edit": "edited"}[decision]
    return Text.assemble(
        (past, "ok"),
        f": the review is {answer['status']}, the saga {answer['saga_status']}",
        (f"  amends show {answer['saga_id']}", "quiet"),
    )
