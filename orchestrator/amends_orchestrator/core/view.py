"""A saga as people and programs read it: steps as a list and as a tree, what is held, what stays.

Made of plan, state and journal; the REST shape of the wire contract, with more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from amends_contracts.messages import Json, Reversal
from amends_contracts.names import START_SAGA, Op, StepPath, key_of
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.frames import frames_of, item_prefix, turn_prefix
from amends_orchestrator.core.journal_rows import failure_to_json
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.plan import (
    ActionNode,
    AlternativesNode,
    AwaitNode,
    ChoiceNode,
    EachNode,
    Node,
    Plan,
    RepeatNode,
    WaitNode,
    children,
    path_of,
)
from amends_orchestrator.core.plan_reviews import ReviewNode
from amends_orchestrator.core.state import Asker, Doing, Saga, StepState, StepStatus
from amends_orchestrator.core.view_frames import BEGINS, OUTPUTS, kind_of, shortened
from amends_orchestrator.core.view_reviews import review_of, review_step, until, waits_for
from amends_orchestrator.core.view_usage import answers_of, usage_by_model, usage_of

NEEDS_OPERATOR: Final = "waits for an operator"


@dataclass(slots=True)
class _Story:
    """What the journal tells of one step."""

    started_at: datetime | None = None
    ended_at: datetime | None = None
    problem: Json = None
    undo_problem: Json = None
    undo_started_at: datetime | None = None
    undo_ended_at: datetime | None = None
    input: Json = None
    output: Json = None
    residue: dict[str, Json] | None = None
    usage: list[Json] = field(default_factory=list[Json])
    permit: Json = None
    """What the latest request for a permit says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaView:
    """What `to_json` shows."""

    saga: Saga
    key: str
    steps: tuple[Json, ...]
    tree: tuple[Json, ...]
    held: tuple[Json, ...]
    residue: tuple[Json, ...]
    output: Json = None
    output_problem: Json = None
    failure: Json = None
    labels: Json = field(default_factory=dict[str, str])
    started_at: datetime | None = None
    ended_at: datetime | None = None
    usage: Json = None

    def to_json(self) -> Json:
        """The saga of `GET /v1/sagas/{id}` (without its trace id, which the core does not know)."""
        identity, state = self.saga.identity, self.saga.state
        data: dict[str, Json] = {
            "saga_id": identity.saga_id,
            "definition": identity.definition,
            "version": identity.version,
            "key": self.key,
            "kind": "saga" if state.undoes is None else "undo",
            "status": self.saga.status.value,
            "direction": state.direction.value,
            "steps": list(self.steps),
            "tree": list(self.tree),
            "held": list(self.held),
            "residue": list(self.residue),
            "labels": self.labels,
            "pivot": state.pivot,
            "undeliverable": self.saga.undeliverable,
            "deadline": _time(state.deadline),
            "wake_at": _time(self.saga.wake_at),
            "started_at": _time(self.started_at),
            "ended_at": _time(self.ended_at),
        }
        optional = {
            "output": self.output,
            "output_problem": self.output_problem,
            "failure": self.failure,
            "usage": self.usage,
            "undoes": state.undoes,
            "parent": _parent(state.asked),
            "stopping": None if state.stop is None else failure_to_json(state.stop),
        }
        return data | {name: value for name, value in optional.items() if value is not None}


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def saga_view(plan: Plan, saga: Saga, rows: Sequence[JournalRow]) -> SagaView:
    """The view; `rows` is the saga's whole journal."""
    stories = _stories(rows)
    first: dict[str, Json] = rows[0].data or {}
    last = rows[-1]
    final: dict[str, Json] = {}
    if last.kind == Kind.SAGA_COMPLETED:
        final = last.data or {}
    viewer = _Viewer(plan, saga, stories)
    tree = tuple(viewer.node(node, "", {}) for node in plan.root)
    return SagaView(
        saga=saga,
        key=saga.identity.key,
        steps=tuple(_flat(tree)),
        tree=tuple(shortened(node) for node in tree),
        held=tuple(viewer.held()),
        residue=tuple(viewer.residue()),
        output=final.get("output"),
        output_problem=final.get("problem"),
        failure=_failure(saga, rows),
        labels=first.get("labels") or {},
        started_at=rows[0].at,
        ended_at=last.at if saga.state.ended is not None else None,
        usage=_usage(rows),
    )


def _usage(rows: Sequence[JournalRow]) -> Json:
    reports: list[Json] = []
    for row in rows:
        data: dict[str, Json] = row.data or {}
        if "usage" in data:
            reports.append(data["usage"])
    total = usage_of(reports)
    return None if total is None else total | {"models": usage_by_model(reports)}


def _failure(saga: Saga, rows: Sequence[JournalRow]) -> Json:
    if saga.state.failure is None:
        return None
    problems = (r.data.get("problem") for r in rows if r.kind == Kind.SAGA_COMPENSATING)
    return failure_to_json(saga.state.failure) | {"problem": next(problems, None)}


_ENDS = frozenset(
    {
        Kind.STEP_SUCCEEDED,
        Kind.STEP_FAILED,
        Kind.STEP_SKIPPED,
        Kind.STEP_UNKNOWN,
        Kind.STEP_LEFT,
        Kind.STEP_SIGNALLED,
        Kind.STEP_WITHDRAWN,
        Kind.STEP_REVIEWED,
    }
)
_UNDO_ENDS = frozenset({Kind.UNDO_SUCCEEDED, Kind.UNDO_FAILED})


def _stories(rows: Iterable[JournalRow]) -> dict[StepPath, _Story]:
    stories: dict[StepPath, _Story] = {}
    signals: dict[int, Json] = {}
    for row in rows:
        if row.kind == Kind.SIGNAL_RECEIVED:
            signals[row.seq] = row.data.get("data")
        if row.step is None:
            continue
        story = stories.setdefault(row.step, _Story())
        data: dict[str, Json] = row.data or {}
        if "usage" in data:
            story.usage.append(data["usage"])
        if row.kind.startswith("undo."):
            story.undo_started_at = story.undo_started_at or row.at
            story.undo_problem = data.get("problem", story.undo_problem)
            story.undo_ended_at = row.at if row.kind in _UNDO_ENDS else None
            continue
        if row.kind == Kind.STEP_QUEUED:
            story.permit = data
        if row.kind in BEGINS:
            story.started_at = story.started_at or row.at
        if row.kind in OUTPUTS:
            story.output = data.get("output")
        if "input" in data:
            story.input = data["input"]
        if row.kind == Kind.STEP_SIGNALLED:
            story.output = signals.get(data["signal"])
        if "problem" in data or row.kind == Kind.STEP_SUCCEEDED:
            story.problem = data.get("problem")
        if row.kind in _ENDS:
            story.ended_at = row.at
        elif row.kind == Kind.OPERATOR_SKIPPED:
            story.ended_at = story.ended_at or row.at
            story.residue = {k: data.get(k) for k in ("owner", "reason", "evidence", "by")}
        elif row.kind in (Kind.STEP_DISPATCHED, Kind.OPERATOR_RETRIED):
            story.ended_at = None
    return stories


def _flat(nodes: Iterable[Json]) -> Iterable[Json]:
    for node in nodes:
        yield {name: value for name, value in node.items() if name != "children"}
        yield from _flat(node.get("children", ()))


class _Viewer:
    def __init__(self, plan: Plan, saga: Saga, stories: dict[StepPath, _Story]) -> None:
        self.plan = plan
        self.saga = saga
        self.stories = stories
        self.begun = {frame.prefix for path in saga.state.steps for frame in frames_of(path)}

    def node(self, node: Node, prefix: str, place: dict[str, Json]) -> Json:
        path = path_of(prefix, node)
        step = self.saga.state.steps.get(path)
        if isinstance(node, ActionNode):
            return self.action(node, path, step) | place
        if isinstance(node, WaitNode):
            return self.wait(path, step) | place
        if isinstance(node, AwaitNode):
            return self.await_(node, path, step) | place
        if isinstance(node, ReviewNode):
            return review_step(self.saga, path, step, self.stories.get(path) or _Story()) | place
        below = list(self.below(node, prefix, path, step))
        counted = [c["status"] for c in below if c.get("chosen", True) and not c.get("failed")]
        data = {"path": path, "kind": kind_of(node), "attempt": 0, **place}
        if isinstance(node, EachNode) and step is not None and step.loop.count is not None:
            done = sum(status in _DONE for status in counted)
            data |= {"items": step.loop.count, "items_done": done}
            counted += [StepStatus.PENDING.value] * (step.loop.count - len(counted))
        if isinstance(node, RepeatNode) and step is not None:
            data |= {"turn": step.loop.turn, "max": node.max}
        ended = self.saga.state.ended is not None
        over = ended and step is not None and step.status is StepStatus.COMPENSATING
        data["status"] = StepStatus.COMPENSATED if over else _status_of(step, counted).value
        if step is not None and step.action.doing is Doing.BLOCKED:
            data["reason"] = NEEDS_OPERATOR
        story = self.stories.get(path)
        if story is not None and story.problem is not None:
            data["problem"] = story.problem
        return data | {"children": below}

    def below(
        self, node: Node, prefix: str, path: StepPath, step: StepState | None
    ) -> Iterable[Json]:
        """What stands under a step that holds others."""
        match node:
            case EachNode():
                count = 0 if step is None or step.loop.count is None else step.loop.count
                prefixes = [item_prefix(path, n) for n in range(count)]
                yield from self.frames(node, "item", prefixes)
            case RepeatNode():
                turns = range(1, 1 if step is None else step.loop.turn + 1)
                prefixes = [turn_prefix(path, turn) for turn in turns]
                yield from self.frames(node, "iteration", prefixes)
            case _:
                for n, (name, body) in enumerate(children(node)):
                    inside: dict[str, Json] = {"branch": name}
                    if isinstance(node, ChoiceNode):
                        case = n if n < len(node.cases) else -1
                        chosen = None if step is None else step.chosen
                        inside["chosen"] = None if chosen is None else chosen == case
                    if isinstance(node, AlternativesNode):
                        inside |= _plan_place(step, n)
                    for child in body:
                        yield self.node(child, prefix, inside)

    def frames(self, node: EachNode | RepeatNode, kind: str, prefixes: list[str]) -> Iterable[Json]:
        """The items or iterations that have begun; one of a single step is that step."""
        for prefix in prefixes:
            if prefix not in self.begun:
                continue
            inside = [self.node(child, prefix, {}) for child in node.body]
            if len(inside) == 1:
                yield inside[0]
                continue
            status = _status_of(None, [child["status"] for child in inside])
            path = prefix.removesuffix(".")
            frame = {"path": path, "kind": kind, "status": status.value, "attempt": 0}
            yield frame | {"children": inside}

    def wait(self, path: StepPath, step: StepState | None) -> dict[str, Json]:
        story = self.stories.get(path) or _Story()
        data: dict[str, Json] = {
            "path": path,
            "kind": "wait",
            "status": (StepStatus.PENDING if step is None else step.status).value,
            "attempt": 0,
            "started_at": _time(story.started_at),
            "ended_at": _time(story.ended_at),
        }
        if step is not None and step.action.due is not None:
            data["reason"] = f"waits until {step.action.due.isoformat(timespec='milliseconds')}"
        return data | ({} if story.problem is None else {"problem": story.problem})

    def action(self, node: ActionNode, path: StepPath, step: StepState | None) -> dict[str, Json]:
        story = self.stories.get(path) or _Story()
        status = StepStatus.PENDING if step is None else step.status
        data: dict[str, Json] = {
            "path": path,
            "kind": node.kind,
            "status": status.value,
            "attempt": 0 if step is None else step.action.attempt,
            "command": node.command,
            "effect": node.effect.value,
            "reversal": node.reversal.value,
            "started_at": _time(story.started_at),
            "ended_at": _time(story.ended_at),
        }
        reason = None if step is None else self.reason(node, step, story)
        optional = {
            "reason": reason,
            "pivot": node.pivot or None,
            "child": _child(node, path, self.saga, story),
            "problem": story.problem,
            "output": story.output,
            "usage": usage_of(story.usage),
            "answered_by": answers_of(story.usage) or None,
            "compensation": None if step is None else _compensation(node, step, story),
            "compensable_until": None if step is None else _time(step.retained_until),
            "review": None if step is None else review_of(self.saga, step),
        }
        return data | {name: value for name, value in optional.items() if value is not None}

    def await_(self, node: AwaitNode, path: StepPath, step: StepState | None) -> dict[str, Json]:
        story = self.stories.get(path) or _Story()
        status = StepStatus.PENDING if step is None else step.status
        data: dict[str, Json] = {
            "path": path,
            "kind": "await",
            "status": status.value,
            "attempt": 0,
            "event": node.event,
            "started_at": _time(story.started_at),
            "ended_at": _time(story.ended_at),
        }
        optional = {
            "reason": None if step is None else _awaited(node, step),
            "problem": story.problem,
            "output": story.output,
        }
        return data | {name: value for name, value in optional.items() if value is not None}

    def reason(self, node: ActionNode, step: StepState, story: _Story) -> str | None:
        """Why it stands where it stands, if that is not plain."""
        for op in (step.undo, step.action):
            if op.undeliverable:
                return f"undeliverable: nobody runs {node.service}"
            if op.doing is Doing.BLOCKED:
                return NEEDS_OPERATOR
            if op.doing is Doing.REVIEWING:
                return waits_for(step)
            if op.doing in _QUIET and self.saga.state.suspended:
                return "the saga is suspended"
            if op.doing is Doing.QUEUED:
                return _queued(story.permit or {}, step.asked_at)
            if op.doing is Doing.BACKOFF and op.due is not None and step.held:
                time = op.due.isoformat(timespec="milliseconds")
                return f"participant: {node.service} does not answer; looked at again at {time}"
            if op.doing is Doing.BACKOFF and op.due is not None:
                return f"tried again at {op.due.isoformat(timespec='milliseconds')}"
            if op.doing in (Doing.DOUBT, Doing.PROBING):
                return "its participant is asked what became of it"
        return "ignored" if step.ignored else None

    def held(self) -> Iterable[Json]:
        """Effects that are, or may be, in the world and could be taken back."""
        for path, step in self.saga.state.steps.items():
            node = self.plan.action_of(path)
            if node is None or node.reversal is Reversal.READ_ONLY or step.residue:
                continue
            sure = step.status is StepStatus.SUCCEEDED
            doubt = step.status in _PERHAPS
            if sure or doubt or step.status in _UNDOING:
                command = None if node.undo is None else node.undo.command
                item = {"path": path, "command": node.command, "undo": command}
                window = _time(step.retained_until)
                yield (
                    item
                    | ({"in_doubt": True} if doubt or not step.known else {})
                    | ({} if window is None else {"until": window})
                )

    def residue(self) -> Iterable[Json]:
        """Effects that stay, with the owner who took them over."""
        for path, step in self.saga.state.steps.items():
            if not step.residue:
                continue
            node = self.plan.action_of(path)
            story = self.stories.get(path) or _Story()
            said = story.residue or {"reason": "it cannot be taken back"}
            data = {"path": path, "command": None if node is None else node.command}
            yield data | {name: value for name, value in said.items() if value is not None}


def _child(node: ActionNode, path: StepPath, saga: Saga, story: _Story) -> Json:
    """Which saga a step runs: its definition and the key of its start."""
    if node.command != START_SAGA or story.input is None:
        return None
    key = key_of(saga.state.undoes or saga.identity.saga_id, path, Op.ACTION)
    return {"definition": story.input["definition"], "key": story.input.get("key") or key}


def _parent(asked: Sequence[Asker]) -> Json:
    """The step of another saga that runs this one."""
    for asker in asked:
        if asker.op is Op.ACTION:
            return {"saga_id": asker.saga_id, "step": asker.path}
    return None


def _awaited(node: AwaitNode, step: StepState) -> str | None:
    """Why it stands where it stands, if that is not plain."""
    if step.action.doing is Doing.BLOCKED:
        return NEEDS_OPERATOR
    if step.action.doing is Doing.AWAITING:
        return f"waits for event {node.event}{until(step.action)}"
    return "ignored" if step.ignored else None


def _queued(permit: Json, since: datetime | None) -> str:
    whose = f" for {permit['key']}" if permit.get("key") else ""
    time = "" if since is None else f" since {since.isoformat(timespec='milliseconds')}"
    return f"permit: waits for a place at {permit.get('pool')}{whose}{time}"


_QUIET = frozenset({Doing.BACKOFF, Doing.DOUBT, Doing.QUEUED})
_PERHAPS = frozenset({StepStatus.UNKNOWN})
_UNDOING = frozenset({StepStatus.COMPENSATING, StepStatus.COMPENSATION_FAILED})


def _compensation(node: ActionNode, step: StepState, story: _Story) -> Json:
    if node.undo is None:
        return None
    begun = step.undo.attempt or step.status in (*_UNDOING, StepStatus.COMPENSATED)
    data: dict[str, Json] = {"command": node.undo.command, "attempt": step.undo.attempt}
    if begun:
        data["status"] = step.status.value
        data["started_at"] = _time(story.undo_started_at)
        data["ended_at"] = _time(story.undo_ended_at)
    if story.undo_problem is not None and step.status is not StepStatus.COMPENSATED:
        data["problem"] = story.undo_problem
    return data


_TELLING = (
    StepStatus.COMPENSATION_FAILED,
    StepStatus.COMPENSATING,
    StepStatus.UNKNOWN,
    StepStatus.RETRYING,
    StepStatus.RUNNING,
)
_DONE = frozenset({StepStatus.SUCCEEDED.value, StepStatus.SKIPPED.value})


def _plan_place(step: StepState | None, number: int) -> dict[str, Json]:
    """Of a plan of alternatives: whether it is the one, or was tried before and failed."""
    if step is None or step.chosen is None:
        return {"chosen": None}
    failed = number < step.chosen or (
        number == step.chosen and step.status is StepStatus.COMPENSATING
    )
    return {"failed": True} if failed else {"chosen": number == step.chosen}


def _status_of(step: StepState | None, inside: list[str]) -> StepStatus:
    """The status of a step that holds others: the most telling one inside, or its own."""
    if step is not None and step.status in (StepStatus.SKIPPED, StepStatus.RETRYING):
        return step.status
    if step is not None and step.status is StepStatus.FAILED:
        undoing = (s for s in _TELLING[:2] if s.value in inside)
        return next(undoing, StepStatus.FAILED)
    for status in _TELLING:
        if status.value in inside:
            return status
    if step is not None and step.status is StepStatus.COMPENSATING:
        return step.status
    began = [status for status in inside if status != StepStatus.PENDING]
    if not began:
        over = step is not None and not inside
        return StepStatus.SUCCEEDED if over else StepStatus.PENDING
    if all(status in _DONE for status in inside):
        return StepStatus.SUCCEEDED
    if StepStatus.COMPENSATED in began or StepStatus.NOTHING_TO_COMPENSATE in began:
        return StepStatus.COMPENSATED
    if StepStatus.FAILED in began:
        return StepStatus.FAILED
    return StepStatus.RUNNING
