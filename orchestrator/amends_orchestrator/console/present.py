"""A saga's view as the template shows it: looks, durations, groups, and which buttons fit.

Pure: the view of REST goes in, frozen facts for the page come out. Nothing here is escaped; the
templates escape everything.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.ports import Caller, SagaRow, Scope
from amends_orchestrator.console.looks import NOT_RUN, Look, saga_look, step_look
from amends_orchestrator.core.state import TERMINAL, SagaStatus, StepStatus
from amends_orchestrator.core.view import NEEDS_OPERATOR
from amends_orchestrator.core.view_usage import usage_text

View = Mapping[str, Any]
JSON_CHARS_MAX: Final = 20_000
_ENDS_WITH_TIME: Final = re.compile(r"(.+) (\d{4}-\d\d-\d\dT\S+)")
OPEN: Final = frozenset(
    {
        StepStatus.PENDING,
        StepStatus.RUNNING,
        StepStatus.RETRYING,
        StepStatus.UNKNOWN,
        StepStatus.FAILED,
        StepStatus.COMPENSATING,
        StepStatus.COMPENSATION_FAILED,
    }
)
"""Statuses of a step that may have an open operation; the core says whether an action fits."""


_ACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "action": ("retry", "skip", "resolve"),
    "llm": ("retry", "skip", "resolve"),
    "tool": ("retry", "skip", "resolve"),
    "saga": ("retry", "skip", "resolve"),
    "await": ("retry", "skip"),
    "wait": ("skip",),
}
"""Which buttons a step of a kind may have; the outcome of an await is a signal's."""
_HOLDER_ACTS: Final = ("retry", "skip")
"""Those of a step that holds others, where it waits for an operator."""


@dataclass(frozen=True, slots=True)
class Said:
    """A problem in a sentence, and its type."""

    text: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How far taking a step back is."""

    look: Look
    attempt: int
    problem: Said | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A step as it stands in the tree."""

    path: str
    kind: str
    look: Look
    status: str
    command: str
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    took: str
    running: bool
    reason: str
    reason_at: datetime | None
    problem: Said | None
    undo: Undo | None
    pivot: bool
    held: bool
    facts: tuple[tuple[str, str], ...]
    output: str
    groups: tuple["Group", ...]
    actions: tuple[str, ...]
    pressing: bool
    """Whether somebody has to act here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Steps in order under a name: a branch of a parallel, a case of a choice."""

    name: str
    chosen: bool | None
    """Of a choice: whether it was taken; None where nothing is chosen (yet)."""
    failed: bool
    """A plan of alternatives that was tried before, and undone."""
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something held, or left as residue, or to be undone."""

    path: str
    command: str
    text: str
    until: datetime | None = None
    """When it can be taken back no longer."""
    stays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPage:
    """Everything one saga's page shows."""

    saga_id: str
    name: str
    definition: str
    version: int
    key: str
    status: str
    look: Look
    over: bool
    started_at: datetime | None
    ended_at: datetime | None
    took: str
    deadline: datetime | None
    labels: tuple[tuple[str, str], ...]
    trace_url: str | None
    failure_at: str
    failure: Said | None
    nodes: tuple[Node, ...]
    held: tuple[Effect, ...]
    residue: tuple[Effect, ...]
    undo_plan: tuple[Effect, ...]
    output: str
    used: str
    """What models were asked for it."""
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRow:
    """One saga of the list."""

    saga_id: str
    name: str
    key: str
    look: Look
    residue: int
    labels: tuple[tuple[str, str], ...]
    started_at: datetime
    ended_at: datetime | None
    took: str


def duration(span: timedelta | None) -> str:
    """`240 ms`, `1.3 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`; empty for None."""
    if span is None:
        return ""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, size, smaller, small in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _took(began: datetime | None, ended: datetime | None) -> str:
    return duration(ended - began) if began and ended else ""


def said(problem: Any) -> Said | None:
    """A problem as one sentence; a bare word if it says no more."""
    if not problem:
        return None
    if isinstance(problem, str):
        return Said(problem, "")
    kind = str(problem.get("type") or "")
    parts = [str(problem[k]) for k in ("title", "detail") if problem.get(k)]
    text = ": ".join(dict.fromkeys(parts)) or kind or "no reason was given"
    return Said(text, kind if kind not in {"about:blank", *parts} else "")


def pretty(value: Any) -> str:
    """JSON for reading, cut where it would make the page heavy; empty for nothing."""
    if value is None or value == {}:
        return ""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) <= JSON_CHARS_MAX else text[:JSON_CHARS_MAX] + "\n… cut"


def list_row(row: SagaRow) -> ListRow:
    """A row of the list."""
    return ListRow(
        saga_id=row.identity.saga_id,
        name=f"{row.identity.definition}@{row.identity.version}",
        key=row.identity.key,
        look=saga_look(row.status),
        residue=row.residue,
        labels=tuple(sorted(row.labels.items())),
        started_at=row.started_at,
        ended_at=row.ended_at,
        took=_took(row.started_at, row.ended_at),
    )


def saga_page(
    view: View, undo_plan: Sequence[Any], caller: Caller, trace_url: str | None
) -> SagaPage:
    """One saga's page for this caller."""
    status = str(view["status"])
    over = status in TERMINAL
    began, ended = _time(view.get("started_at")), _time(view.get("ended_at"))
    failure: View = view.get("failure") or {}
    labels: Mapping[str, str] = view.get("labels") or {}
    tree = _Tree(view, caller)
    return SagaPage(
        saga_id=view["saga_id"],
        name=f"{view['definition']}@{view['version']}",
        definition=view["definition"],
        version=view["version"],
        key=view["key"],
        status=status,
        look=saga_look(status),
        over=over,
        started_at=began,
        ended_at=ended,
        took=_took(began, ended),
        deadline=_time(view.get("deadline")),
        labels=tuple(sorted(labels.items())),
        trace_url=trace_page(trace_url, view.get("trace_id")),
        failure_at=_headline(failure),
        failure=said(failure.get("problem") or failure) if failure else None,
        nodes=tuple(tree.node(n, not_taken=False) for n in view.get("tree") or view["steps"]),
        held=tuple(_effects(view.get("held"))),
        residue=tuple(_effects(view.get("residue"))),
        undo_plan=tuple(_effects(undo_plan)),
        output=pretty(view.get("output")),
        used=usage_text(view["usage"]) if view.get("usage") else "",
        actions=() if over else tuple(_saga_actions(view, caller)),
    )


def _headline(failure: View) -> str:
    """What turned the saga back, in two or three words."""
    if failure.get("step"):
        return f"{failure['step']} failed"
    by = f" by {failure['by']}" if failure.get("by") else ""
    match failure.get("type"):
        case ProblemType.CANCELLED:
            return f"Cancelled{by}"
        case ProblemType.DEADLINE:
            return "The deadline passed"
        case _:
            return f"Stopped{by}"


def trace_page(template: str | None, trace_id: Any) -> str | None:
    """Where a trace is shown, if that is known."""
    return template.replace("{trace_id}", str(trace_id)) if template and trace_id else None


def _saga_actions(view: View, caller: Caller) -> Iterator[str]:
    back = view.get("direction") == "back" or view["status"] == SagaStatus.COMPENSATING
    if caller.allows(Scope.STARTER) and not back and not view.get("pivot"):
        yield "cancel"
    if caller.allows(Scope.OPERATOR):
        yield "resume" if view["status"] == SagaStatus.SUSPENDED else "suspend"


def _effects(items: Any) -> Iterator[Effect]:
    for item in items or ():
        if isinstance(item, str):
            yield Effect(path=item, command="", text="")
            continue
        effect: View = item
        notes = [effect.get(k) for k in ("why", "reason", "owner", "evidence")]
        if effect.get("in_doubt"):
            notes.append("in doubt")
        yield Effect(
            path=str(effect.get("path") or effect.get("step") or ""),
            command=str(effect.get("command") or ""),
            text=" · ".join(n for n in notes if isinstance(n, str) and n),
            until=_time(effect.get("until")),
            stays=effect.get("residue") is True,
        )


class _Tree:
    """Turns the view's nodes into the page's, knowing the saga around them."""

    def __init__(self, view: View, caller: Caller) -> None:
        self._over = view["status"] in TERMINAL
        self._stuck = view["status"] == SagaStatus.STUCK
        self._held = {e.path for e in _effects(view.get("held"))}
        self._operator = caller.allows(Scope.OPERATOR)

    def node(self, raw: View, *, not_taken: bool) -> Node:
        status = str(raw["status"])
        groups = tuple(self._groups(raw, not_taken=not_taken))
        began, ended = _span(_time(raw.get("started_at")), _time(raw.get("ended_at")), groups)
        reason, reason_at = _reason(raw)
        look = NOT_RUN if not_taken else step_look(status, over=self._over)
        buttons = _ACTS.get(raw["kind"], _HOLDER_ACTS if reason == NEEDS_OPERATOR else ())
        acts = self._operator and not self._over and not not_taken
        # A step that failed for good is over, unless it says that it waits for somebody.
        blocked = status != StepStatus.FAILED or reason not in {"", "ignored"}
        can = acts and bool(buttons) and status in OPEN and blocked
        return Node(
            path=str(raw["path"]),
            kind=str(raw["kind"]),
            look=look,
            status=status,
            command=str(raw.get("command") or ""),
            attempt=int(raw.get("attempt") or 0),
            started_at=began,
            ended_at=ended,
            took=_took(began, ended),
            running=look.moving,
            reason=reason or _progress(raw),
            reason_at=reason_at,
            problem=said(raw.get("problem")),
            undo=self._undo(raw.get("compensation")),
            pivot=bool(raw.get("pivot")),
            held=raw["path"] in self._held,
            facts=tuple(_facts(raw)),
            output=pretty(raw.get("output")),
            groups=groups,
            actions=buttons if can else (),
            pressing=can and self._stuck and status not in {StepStatus.PENDING, StepStatus.RUNNING},
        )

    def _undo(self, raw: View | None) -> Undo | None:
        if not raw or not raw.get("status"):
            return None
        return Undo(
            look=step_look(str(raw["status"]), over=self._over),
            attempt=int(raw.get("attempt") or 0),
            problem=said(raw.get("problem")),
        )

    def _groups(self, raw: View, *, not_taken: bool) -> Iterator[Group]:
        """The children by branch, case or plan, in the order of the plan."""
        children: Sequence[View] = raw.get("children") or ()
        for (name, chosen, failed), inside in groupby(
            children, lambda c: (c.get("branch"), c.get("chosen"), bool(c.get("failed")))
        ):
            out = not_taken or chosen is False
            nodes = tuple(self.node(child, not_taken=out) for child in inside)
            yield Group(name=str(name or ""), chosen=chosen, failed=failed, nodes=nodes)


def _span(
    began: datetime | None, ended: datetime | None, groups: Sequence[Group]
) -> tuple[datetime | None, datetime | None]:
    """When a step was under way; of one that holds others, from the first to the last of them."""
    if not groups:
        return began, ended
    inside = [node for group in groups for node in group.nodes if node.started_at]
    starts = [node.started_at for node in inside if node.started_at]
    ends = [node.ended_at for node in inside if node.ended_at]
    whole = len(ends) == len(inside)
    return min(starts, default=None), max(ends, default=None) if whole else None


def _reason(raw: View) -> tuple[str, datetime | None]:
    """Why a step stands where it stands, and the time that the sentence ends with."""
    text = str(raw.get("reason") or "")
    found = _ENDS_WITH_TIME.fullmatch(text)
    return (found[1], datetime.fromisoformat(found[2])) if found else (text, None)


def _progress(raw: View) -> str:
    """How far a loop is, or how many frames a folded line stands for."""
    undoing = raw["status"] in (StepStatus.COMPENSATING, StepStatus.COMPENSATED)
    if raw.get("items") and not undoing:
        return f"{raw['items_done']} of {raw['items']} items"
    if raw.get("turn"):
        return f"iteration {raw['turn']}"
    return f"{raw['count']} {raw['kind']}" if raw.get("count") else ""


def _facts(raw: View) -> Iterator[tuple[str, str]]:
    """What a step's details list beside its times."""
    compensation: View = raw.get("compensation") or {}
    if compensation.get("command"):
        yield "undone by", str(compensation["command"])
    child: View = raw.get("child") or {}
    if child.get("saga_id"):
        yield "runs saga", f"{child['saga_id']} ({child['status']})"
    if raw.get("usage"):
        yield "used", usage_text(raw["usage"])
    if raw.get("answered_by"):
        yield "answered by", ", ".join(raw["answered_by"])
    for name in ("effect", "reversal"):
        if raw.get(name):
            yield name, str(raw[name])
