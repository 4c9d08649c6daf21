"""One decision under construction: the facts so far, what they changed, what is to be sent.

The functions of `forward`, `outcomes`, `compensation`, `replies` and `operator` take a `Work`,
read its draft, and `emit` facts. A value that is not at hand ends the attempt (`Need`); `decide`
then answers `Missing` and nothing of the work is kept.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from amends_contracts.definition import Retry
from amends_contracts.expressions import Reference
from amends_contracts.messages import Json, LifecycleEvent, to_body
from amends_contracts.names import BODY_BYTES_MAX, Op, StepPath
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import journal as j
from amends_orchestrator.core.decision import Decision, JournalRow, Notice, PermitChange, Send
from amends_orchestrator.core.evolve import Draft
from amends_orchestrator.core.expressions import CompiledTemplate, ExpressionError
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.journal_rows import to_row
from amends_orchestrator.core.permits import permit_changes
from amends_orchestrator.core.plan import ActionNode, Plan
from amends_orchestrator.core.retries import delay, fraction
from amends_orchestrator.core.state import (
    ACTIVE,
    Direction,
    Doing,
    Identity,
    OpState,
    Saga,
    State,
    StepState,
)


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

    def emit(self, event: Event) -> None:
        """A fact: journalled and applied."""
        self.seq += 1
        row = to_row(event, self.seq, self.now)
        self.rows.append(row)
        self._fresh[row.seq] = row.data
        before = None if row.step is None else self.draft.steps.get(row.step)
        self.draft.apply(event, row.seq, row.at)
        if row.step is not None:
            after = self.draft.steps.get(row.step)
            self.permits += permit_changes(row.step, event, before, after)
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
    def forward(self) -> bool:
        """Whether the saga has not turned back."""
        return self.draft.direction is Direction.FORWARD

    def active(self) -> bool:
        """Whether a reply or time will move some step."""
        steps = self.draft.steps.values()
        return any(s.action.doing in ACTIVE or s.undo.doing in ACTIVE for s in steps)

    def blocked(self) -> list[tuple[StepPath, StepState]]:
        """Steps that wait for an operator."""
        return [
            (path, step)
            for path, step in self.draft.steps.items()
            if step.action.doing is Doing.BLOCKED or step.undo.doing is Doing.BLOCKED
        ]

    def halted(self) -> bool:
        """Whether nothing may be dispatched until an operator acts."""
        draft = self.draft
        return draft.fault or draft.full or any(step.halts for step in draft.steps.values())

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

    def need(self, *seqs: int) -> None:
        """`Need` for all of these rows that are not at hand, at once; 0 names none."""
        missing = {s for s in seqs if s and s not in self._fresh and s not in self._values}
        if missing:
            raise Need(missing)

    def action_input(self, step: StepState) -> Json:
        """The body of a step's action; None if it was never dispatched."""
        return self.row_data(step.input_seq).get("input") if step.input_seq else None

    def action_output(self, step: StepState) -> Json:
        """The output of a step's action, None where there is none."""
        return self.row_data(step.output_seq).get("output") if step.output_seq else None

    def evaluate(
        self, template: CompiledTemplate, action: tuple[Json, Json] | None = None
    ) -> Json | ExpressionError:
        """The value of a template of the definition; `action` is (input, output) for an undo."""
        self.need(*(self._seq_of(reference) for reference in template.references))
        return template.evaluate(_Scope(self, action))

    def _seq_of(self, reference: Reference) -> int:
        if reference[0] == "input":
            return 1
        if reference[0] == "steps" and len(reference) > 1:
            step = self.draft.steps.get(StepPath(str(reference[1])))
            return step.output_seq if step is not None else 0
        return 0

    def _notify(self, event: Event) -> None:
        suffix = _NOTICES.get(type(event))
        if suffix is None:
            return
        step: StepPath | None = getattr(event, "path", None)
        problem: Problem | None = getattr(event, "problem", None)
        self.notices.append(Notice(event=suffix, step=step, problem=problem))


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
}


class _Scope:
    """The names of an expression: `input`, `steps.<id>.output`, `saga`, and `action` in an undo."""

    __slots__ = ("_action", "_work")

    def __init__(self, work: Work, action: tuple[Json, Json] | None) -> None:
        self._work = work
        self._action = action

    def root(self, reference: Reference) -> tuple[Json | ExpressionError, int]:
        work = self._work
        match reference:
            case ("input", *_):
                return work.row_data(1).get("input"), 1
            case ("saga", *_):
                identity = work.identity
                return {"id": identity.saga_id, "key": identity.key}, 1
            case ("steps", str(name), "output", *_):
                step = work.draft.steps.get(StepPath(name))
                return (None if step is None else work.action_output(step)), 3
            case ("action", "input", *_) if self._action is not None:
                return self._action[0], 2
            case ("action", "output", *_) if self._action is not None:
                return self._action[1], 2
            case _:
                return ExpressionError(f"nothing is named {'.'.join(map(str, reference))}"), 1

    def lenient(self, reference: Reference) -> bool:
        return reference[:2] == ("action", "output")


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
