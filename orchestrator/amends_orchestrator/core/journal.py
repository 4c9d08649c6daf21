"""The journal: a closed union of facts. Their form as rows is in `journal_rows`.

Every fact says all that `evolve` needs, so that folding rows needs neither the definition nor an
expression engine. A member of `Kind` or a field is never renamed and never changes its meaning:
journals are read for years. A field may be added, with a default that old rows mean.
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Literal, TypeAlias

from amends_contracts.messages import ActionOutcome, Json
from amends_contracts.names import SagaId, StepPath
from amends_contracts.problems import Problem
from amends_orchestrator.core import journal_loops, journal_operator, journal_reviews
from amends_orchestrator.core.journal_permits import StepHeld, StepPermitted, StepQueued
from amends_orchestrator.core.journal_signals import (
    SignalReceived,
    StepAwaiting,
    StepSignalled,
    StepWithdrawn,
)
from amends_orchestrator.core.journal_undo import StepAdopted
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.state import Asker, Failure

StepTurned = journal_loops.StepTurned
StepAdvanced = journal_loops.StepAdvanced
StepPlanFailed = journal_loops.StepPlanFailed
StepLeft = journal_loops.StepLeft
OperatorRetried = journal_operator.OperatorRetried
OperatorSkipped = journal_operator.OperatorSkipped
OperatorResolved = journal_operator.OperatorResolved

# --- the saga ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaStarted:
    """The saga is there. Its input stands here."""

    KIND: ClassVar = Kind.SAGA_STARTED
    key: str
    input: Json
    by: str
    labels: Mapping[str, str]
    deadline: datetime | None = None
    undoes: SagaId | None = None
    """It is the late undo of this saga, which was started with this key."""
    undoes_key: str | None = None
    asked: Asker | None = None
    """The step of another saga that started it, or takes it back."""
    requested_by: str | None = None
    """The person behind it, where `by` is a schedule or another saga."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaCompensating:
    """It turns back. What is in flight is awaited until `interrupt_at`."""

    KIND: ClassVar = Kind.SAGA_COMPENSATING
    failure: Failure
    problem: Problem
    interrupt_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaStopping:
    """A cancel or the deadline came while a pivot is in flight: its outcome decides."""

    KIND: ClassVar = Kind.SAGA_STOPPING
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaStopLapsed:
    """The pivot succeeded: the stop came too late."""

    KIND: ClassVar = Kind.SAGA_STOP_LAPSED


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaOverdue:
    """The deadline passed after the pivot: an alarm, nothing else."""

    KIND: ClassVar = Kind.SAGA_OVERDUE


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaStuck:
    """It needs an operator. `fault` and `full` stop everything until one acts."""

    KIND: ClassVar = Kind.SAGA_STUCK
    problem: Problem
    fault: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaUnstuck:
    """It moves again."""

    KIND: ClassVar = Kind.SAGA_UNSTUCK
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaSuspended:
    """Nothing is dispatched until it is resumed."""

    KIND: ClassVar = Kind.SAGA_SUSPENDED
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaResumed:
    """The suspension is over."""

    KIND: ClassVar = Kind.SAGA_RESUMED
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaCompleted:
    """Everything that the plan asks for is done. The output stands here, or why there is none."""

    KIND: ClassVar = Kind.SAGA_COMPLETED
    output: Json = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaCompensated:
    """Everything that was done is undone, or is recorded as residue."""

    KIND: ClassVar = Kind.SAGA_COMPENSATED


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaAsked:
    """A step of another saga waits for its end, or does so with a later attempt."""

    KIND: ClassVar = Kind.SAGA_ASKED
    asker: Asker


# --- a step, forward -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntered:
    """A step that holds others, or a wait, was entered; what was settled by that stands here."""

    KIND: ClassVar = Kind.STEP_ENTERED
    path: StepPath
    case: int | None = None
    """Of a choice, which case; of alternatives, which plan."""
    items: Json = None
    """Of an each: the list, evaluated once."""
    turn: int = 0
    """Of a repeat: 1."""
    due: datetime | None = None
    """Of a wait: its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped:
    """Its `when` did not hold."""

    KIND: ClassVar = Kind.STEP_SKIPPED
    path: StepPath


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDispatched:
    """An attempt of its action is sent; the first holds the body, which registers the undo too."""

    KIND: ClassVar = Kind.STEP_DISPATCHED
    path: StepPath
    attempt: int
    due: datetime
    first: bool = False
    input: Json = None
    reserved: Json = None
    """Of metered work, what the attempt may use: `[calls, tokens, billionths of a dollar]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgressed:
    """Its participant is still working: the timeout begins anew."""

    KIND: ClassVar = Kind.STEP_PROGRESSED
    path: StepPath
    attempt: int
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetrying:
    """The next attempt is sent at `due`; `doubt`: what came before may have had an effect."""

    KIND: ClassVar = Kind.STEP_RETRYING
    path: StepPath
    attempt: int
    due: datetime
    problem: Problem
    doubt: bool = False
    probed: bool = False
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUndeliverable:
    """The broker returned the attempt; it is sent again at `due`."""

    KIND: ClassVar = Kind.STEP_UNDELIVERABLE
    path: StepPath
    attempt: int
    due: datetime
    doubt: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDoubted:
    """Whether the effect is there is not known; a probe is sent at `due`."""

    KIND: ClassVar = Kind.STEP_DOUBTED
    path: StepPath
    attempt: int
    due: datetime
    problem: Problem
    returned: bool = False
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProbed:
    """A probe was sent."""

    KIND: ClassVar = Kind.STEP_PROBED
    path: StepPath
    attempt: int
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded:
    """The effect is there. Output and the mapped input of its undo stand here."""

    KIND: ClassVar = Kind.STEP_SUCCEEDED
    path: StepPath
    attempt: int
    output: Json = None
    undo: Json = None
    mapped: bool = False
    """`undo` holds the mapped input; else the default applies."""
    undo_problem: Problem | None = None
    """The mapping failed: on the way back this step is `compensation_failed`."""
    problem: Problem | None = None
    """The output violates its schema and was dropped."""
    pivot: bool = False
    blocked: bool = False
    retained_until: datetime | None = None
    """End of its undo window."""
    via: Literal["reply", "probe", "operator"] = "reply"
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """Nothing changed, for good. `blocked`: after the pivot, so an operator must say what now."""

    KIND: ClassVar = Kind.STEP_FAILED
    path: StepPath
    attempt: int
    problem: Problem
    ignored: bool = False
    blocked: bool = False
    via: Literal["engine", "reply", "probe", "operator"] = "reply"
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUnknown:
    """Something may have changed, and nothing automatic will find out."""

    KIND: ClassVar = Kind.STEP_UNKNOWN
    path: StepPath
    attempt: int
    problem: Problem
    ignored: bool = False
    blocked: bool = False
    halts: bool = False
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAlarmed:
    """A `succeeded` came for a step that had been reported as failed: its participant lies."""

    KIND: ClassVar = Kind.STEP_ALARMED
    path: StepPath
    attempt: int
    output: Json = None
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLate:
    """While compensating the news came that the action had succeeded."""

    KIND: ClassVar = Kind.STEP_LATE
    path: StepPath
    attempt: int
    output: Json = None
    undo: Json = None
    mapped: bool = False
    undo_problem: Problem | None = None
    usage: Json = None


# --- a step, back --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNothingToCompensate:
    """It only read."""

    KIND: ClassVar = Kind.STEP_NOTHING_TO_COMPENSATE
    path: StepPath


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResidue:
    """Its effect cannot be taken back and stays."""

    KIND: ClassVar = Kind.STEP_RESIDUE
    path: StepPath


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoDispatched:
    """An attempt of its compensation is sent; a mapping for an unknown outcome stands here."""

    KIND: ClassVar = Kind.UNDO_DISPATCHED
    path: StepPath
    attempt: int
    due: datetime
    outcome: ActionOutcome
    undo: Json = None
    mapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoProgressed:
    """Its participant is still undoing."""

    KIND: ClassVar = Kind.UNDO_PROGRESSED
    path: StepPath
    attempt: int
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRetrying:
    """The next attempt of its compensation is sent at `due`."""

    KIND: ClassVar = Kind.UNDO_RETRYING
    path: StepPath
    attempt: int
    due: datetime
    problem: Problem
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoUndeliverable:
    """The broker returned the compensation; it is sent again at `due`."""

    KIND: ClassVar = Kind.UNDO_UNDELIVERABLE
    path: StepPath
    attempt: int
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoDoubted:
    """Whether the effect is gone is to be asked; a probe is sent at `due`."""

    KIND: ClassVar = Kind.UNDO_DOUBTED
    path: StepPath
    attempt: int
    due: datetime
    acknowledged: bool
    problem: Problem | None = None
    returned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoProbed:
    """A probe was sent."""

    KIND: ClassVar = Kind.UNDO_PROBED
    path: StepPath
    attempt: int
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoSucceeded:
    """The effect is gone, or never was."""

    KIND: ClassVar = Kind.UNDO_SUCCEEDED
    path: StepPath
    attempt: int
    output: Json = None
    via: Literal["reply", "probe", "operator"] = "reply"
    usage: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoFailed:
    """`compensation_failed`: an operator retries, resolves or skips it."""

    KIND: ClassVar = Kind.UNDO_FAILED
    path: StepPath
    attempt: int
    problem: Problem
    acknowledged: bool = False
    halts: bool = False


Event: TypeAlias = (
    SagaStarted
    | SagaCompensating
    | SagaStopping
    | SagaStopLapsed
    | SagaOverdue
    | SagaStuck
    | SagaUnstuck
    | SagaSuspended
    | SagaResumed
    | SagaCompleted
    | SagaCompensated
    | SagaAsked
    | StepEntered
    | StepTurned
    | StepAdvanced
    | StepPlanFailed
    | StepLeft
    | StepSkipped
    | StepQueued
    | StepPermitted
    | StepHeld
    | StepDispatched
    | StepProgressed
    | StepRetrying
    | StepUndeliverable
    | StepDoubted
    | StepProbed
    | StepSucceeded
    | StepFailed
    | StepUnknown
    | StepAlarmed
    | StepLate
    | StepNothingToCompensate
    | StepResidue
    | UndoDispatched
    | UndoProgressed
    | UndoRetrying
    | UndoUndeliverable
    | UndoDoubted
    | UndoProbed
    | UndoSucceeded
    | UndoFailed
    | StepAwaiting
    | StepSignalled
    | StepWithdrawn
    | SignalReceived
    | StepAdopted
    | journal_reviews.Event
    | OperatorRetried
    | OperatorSkipped
    | OperatorResolved
)
EVENT_TYPES: Final[Mapping[str, type[Any]]] = {
    event.KIND.value: event for event in typing.get_args(Event)
}
assert set(EVENT_TYPES) == set(Kind)
