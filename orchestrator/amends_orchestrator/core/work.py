"""One decision under construction: the facts so far, what they changed, what is to be sent.

The functions of `forward`, `outcomes`, `compensation`, `replies` and `operator` take a `Work`,
read its draft, and `emit` facts. A value that is not at hand ends the attempt (`Need`); `decide`
then answers `Missing` and nothing of the work is kept.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from amends_contracts.definition import Retry
from amends_contracts.messages import Json, LifecycleEvent, to_body
from amends_contracts.names import BODY_BYTES_MAX, Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core import journal_reviews as r
from amends_orchestrator.core.decision import Decision, JournalRow, Notice, PermitChange, Send
from amends_orchestrator.core.evolve import Draft
from amends_orchestrator.core.expressions import CompiledTemplate, ExpressionError
from amends_orchestrator.core.frames import prefix_at, prefix_of
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.journal_rows import to_row
from amends_orchestrator.core.permits import permit_changes
from amends_orchestrator.core.plan import ActionNode, Place, Plan, Sequence
from amends_orchestrator.core.retries import delay, fraction
from amends_orchestrator.core.scope import Scope, output_in
from amends_orchestrator.core.state import (
    ACTIVE,
    WORKING,
    Direction,
    Doing,
    Identity,
    OpState,
    Saga,
    State,
    StepState,
    StepStatus,
)

_TOP = Place()


class Need(Exception):
    """These rows' data must be loaded first."""

    def __init__(self, seqs: Iterable[int]) -> None:
        self.seqs = frozenset(seqs)
        super().__init__(sorted(self.seqs))


class Work:
    """A decision under construction."""

    __slots__ = (
        "_fresh",
        "_values",
        "done",
        "draft",
        "identity",
        "notices",
        "now",
        "permits",
        "plan",
        "rows",
        "sends",
        "seq",
        "sick",
    )

    def __init__(
        self,
        plan: Plan,
        identity: Identity,
        seq: int,
        state: State,
        values: Mapping[int, Json],
        now: datetime,
        sick: Mapping[str, timedelta] | None = None,
    ) -> None:
        self.sick: Mapping[str, timedelta] = sick or {}
        self.plan = plan
        self.identity = identity
        self.seq = seq
        self.draft = Draft(state)
        self.now = now
        self.rows: list[JournalRow] = []
        self.sends: list[Send] = []
        self.notices: list[Notice] = []
        self.permits: list[PermitChange] = []
        self._values = values
        self._fresh: dict[int, Json] = {}
        self.done: set[str] = set()
        """Prefixes of items that were found done: a decision looks into each of them once."""

    def emit(self, event: Event) -> None:
        """A fact: journalled and applied."""
        self.seq += 1
        row = to_row(event, self.seq, self.now)
        self.rows.append(row)
        self._fresh[row.seq] = row.data
        if self.plan.limited and row.step is not None:
            before = self.draft.steps.get(row.step)
            self.draft.apply(event, row.seq, row.at)
            after = self.draft.steps.get(row.step)
            self.permits += permit_changes(row.step, event, before, after)
        else:
            self.draft.apply(event, row.seq, row.at)
        if self.plan.events:
            self._notify(event)

    def decision(self) -> Decision:
        """What was decided."""
        saga = Saga(identity=self.identity, seq=self.seq, state=self.draft.freeze())
        return Decision(
            saga=saga,
            rows=tuple(self.rows),
            sends=tuple(self.sends),
            notices=tuple(self.notices),
            permits=tuple(self.permits),
        )

    # --- what is there

    @property
    def steps(self) -> Mapping[StepPath, StepState]:
        """All step instances."""
        return self.draft.steps

    @property
    def forward(self) -> bool:
        """Whether the saga has not turned back."""
        return self.draft.direction is Direction.FORWARD

    @property
    def full(self) -> bool:
        """Whether the journal has all the rows it may have: nothing more begins."""
        return self.seq >= self.draft.rows_max

    def onward(self, path: StepPath) -> bool:
        """Whether neither the saga nor a plan of alternatives around the step has turned back."""
        if not self.forward or not self.plan.savepoints:
            return self.forward
        return all(
            step is None or (step.status is not StepStatus.COMPENSATING and step.chosen == number)
            for _, step, number in self.savepoints(path)
        )

    def savepoints(self, path: StepPath) -> list[tuple[StepPath, StepState | None, int]]:
        """The alternatives around a step, innermost first: path, state, and the step's plan."""
        node = self.plan.node_of(path)
        if node is None:
            return []
        places = self.plan.places
        found: list[tuple[StepPath, StepState | None, int]] = []
        for name, number in reversed(places[node.id].plans):
            around = StepPath(prefix_at(path, len(places[name].repeats)) + name)
            found.append((around, self.draft.steps.get(around), number))
        return found

    def active(self) -> bool:
        """Whether a reply, a signal or time will move some step."""
        return self._any_is(ACTIVE)

    def working(self) -> bool:
        """Whether anything is under way but what a `wait`, an `await` or a review waits for."""
        return self._any_is(WORKING)

    def _any_is(self, doing: frozenset[Doing]) -> bool:
        for path in self.draft.open:
            step = self.draft.steps[path]
            if step.action.doing in doing or step.undo.doing in doing:
                return True
        return False

    def open(self) -> list[tuple[StepPath, StepState]]:
        """Steps that something is still awaited for, by path."""
        return [(path, self.draft.steps[path]) for path in sorted(self.draft.open)]

    def blocked(self) -> list[tuple[StepPath, StepState]]:
        """Steps that wait for an operator."""
        steps = self.draft.steps
        if not any(steps[path].is_blocked for path in self.draft.open):
            return []
        return [(path, step) for path, step in self.open() if step.is_blocked]

    def halted(self) -> bool:
        """Whether nothing may be dispatched until an operator acts."""
        draft = self.draft
        if draft.fault or draft.full:
            return True
        return any(draft.steps[path].halts for path in draft.open)

    def row_data(self, seq: int) -> Json:
        """The data of a row; `Need` if it is not at hand."""
        data = self._fresh.get(seq)
        if data is None:
            data = self._values.get(seq)
            if data is None:
                raise Need((seq,))
        return data

    def later(
        self, retry: Retry, path: StepPath, what: Op, op: OpState, after: timedelta | None = None
    ) -> datetime:
        """When the attempt after `op.attempt` is due; the budget in use counts the tries."""
        jitter = fraction(self.identity.saga_id, path, what, op.attempt)
        return self.now + delay(retry, max(op.attempt - op.base, 1), jitter, after)

    def after_try(
        self, retry: Retry, path: StepPath, what: str, n: int, after: timedelta | None = None
    ) -> datetime:
        """When something that uses no attempt is tried again after try `n`."""
        return self.now + delay(
            retry, max(n, 1), fraction(self.identity.saga_id, path, what, n), after
        )

    # --- payloads

    def named(self) -> Json:
        """Id and key of the saga that the plan speaks of: of an undo saga, the original's."""
        draft, identity = self.draft, self.identity
        if draft.undoes is not None:
            return {"id": draft.undoes, "key": draft.undoes_key}
        return {"id": identity.saga_id, "key": identity.key}

    def need(self, *seqs: int) -> None:
        """`Need` for all of these rows that are not at hand, at once; 0 names none."""
        missing = {s for s in seqs if s and s not in self._fresh and s not in self._values}
        if missing:
            raise Need(missing)

    def action_input(self, step: StepState) -> Json:
        """The body of a step's action; None if it was never dispatched."""
        return self.row_data(step.input_seq).get("input") if step.input_seq else None

    def action_output(self, step: StepState) -> Json:
        """The output of a step's action, or its signal's data; None where there is none."""
        return output_in(self.row_data(step.output_seq)) if step.output_seq else None

    def evaluate(
        self,
        template: CompiledTemplate,
        path: str,
        action: tuple[Json, Json] | None = None,
        *,
        prefix: str | None = None,
    ) -> Json | ExpressionError:
        """The value of a template of the step at `path` (empty: of the definition itself).

        `action` is (input, output) for an undo. `prefix` is given where a step evaluates something
        of its own inside one of its frames.
        """
        place = self.plan.places.get(path)
        if place is None:
            node = self.plan.node_of(path)
            place = _TOP if node is None else self.plan.places[node.id]
        scope = Scope(self, place, prefix_of(path) if prefix is None else prefix, action)
        try:
            return template.evaluate(scope)
        except Need:
            self.need(*scope.rows(template.references))  # all of them at once
            raise

    def _notify(self, event: Event) -> None:
        suffix = _NOTICES.get(type(event))
        if suffix is None:
            return
        step: StepPath | None = getattr(event, "path", None)
        problem: Problem | None = getattr(event, "problem", None)
        self.notices.append(Notice(event=suffix, step=step, problem=problem))


Walk: TypeAlias = Callable[[Work, Sequence, str], bool]
"""A walk over a sequence under a prefix: forward whether it is done, back whether it is undone."""


_NOTICES: Mapping[type, LifecycleEvent] = {
    j.SagaStarted: LifecycleEvent.SAGA_STARTED,
    j.SagaCompleted: LifecycleEvent.SAGA_COMPLETED,
    j.SagaCompensating: LifecycleEvent.SAGA_COMPENSATING,
    j.SagaCompensated: LifecycleEvent.SAGA_COMPENSATED,
    j.SagaStuck: LifecycleEvent.SAGA_STUCK,
    j.StepSucceeded: LifecycleEvent.STEP_SUCCEEDED,
    j.StepFailed: LifecycleEvent.STEP_FAILED,
    j.StepUnknown: LifecycleEvent.STEP_UNKNOWN,
    j.UndoSucceeded: LifecycleEvent.STEP_COMPENSATED,
    r.StepReviewed: LifecycleEvent.STEP_SUCCEEDED,
    r.ReviewRequested: LifecycleEvent.REVIEW_REQUESTED,
    r.ReviewDecided: LifecycleEvent.REVIEW_DECIDED,
    r.ReviewExpired: LifecycleEvent.REVIEW_EXPIRED,
}


def all_of(work: Work, walk: Walk, bodies: Iterable[tuple[Sequence, str]]) -> bool:
    """Whether all bodies are done, each looked at; asks for what all of them lack at once."""
    done = True
    needed: set[int] = set()
    for body, prefix in bodies:
        try:
            done = walk(work, body, prefix) and done
        except Need as need:
            needed |= need.seqs
    if needed:
        raise Need(needed)
    return done


def render(value: Json | ExpressionError, what: str) -> bytes | Problem:
    """The bytes of a command's body, or why there can be none."""
    if isinstance(value, ExpressionError):
        title = f"{what} could not be evaluated"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=value.text)
    if not isinstance(value, dict):
        title = f"{what} must be an object, not {type(value).__name__}"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title)
    try:
        body = to_body(value)
    except ValueError as error:  # not finite, or a lone surrogate
        title = f"{what} is no JSON text"
        return Problem(type=ProblemType.BAD_EXPRESSION, title=title, detail=str(error)[:200])
    if len(body) > BODY_BYTES_MAX:
        title = f"{what} has {len(body)} bytes; at most {BODY_BYTES_MAX} can be sent"
        return Problem(type=ProblemType.TOO_LARGE, title=title)
    return body


def node_at(work: Work, path: StepPath) -> ActionNode:
    """The action of a path that the state has; it must be in the plan."""
    node = work.plan.action_of(path)
    assert node is not None, f"{path} is no action of {work.plan.name}@{work.plan.version}"
    return node
