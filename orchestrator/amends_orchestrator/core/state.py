"""A saga's control state: small, without payloads, a fold of its journal.

Inputs and outputs stand in the journal; the state maps step paths to the seqs of the rows that
hold them. What the statuses mean is semantics.md, section "States".
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from amends_contracts.names import Op, SagaId, StepPath
from amends_orchestrator.core.metering import UNUSED, Meter
from amends_orchestrator.core.reviews import NO_REVIEW, ReviewState


class SagaStatus(StrEnum):
    """Status of a saga; `completed` and `compensated` absorb."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    STUCK = "stuck"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


TERMINAL = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})


class StepStatus(StrEnum):
    """Status of a step instance."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    NOTHING_TO_COMPENSATE = "nothing_to_compensate"
    COMPENSATION_FAILED = "compensation_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What never changes about a saga."""

    saga_id: SagaId
    tenant: str
    definition: str
    version: int
    key: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A step of another saga that waits for this one: the reply goes there when it has ended."""

    saga_id: SagaId
    path: StepPath
    partition: int
    op: Op
    """`action`: it was started; `compensation`: it is taken back."""
    attempt: int


class Direction(StrEnum):
    """Which way a saga goes. Back once, never forward again."""

    FORWARD = "forward"
    BACK = "back"


class Doing(StrEnum):
    """What an operation of a step is waiting for."""

    IDLE = "idle"
    """Nothing: settled, or not begun."""
    SENT = "sent"
    """A reply to its latest attempt; `due` is the timeout."""
    BACKOFF = "backoff"
    """To be sent (again) at `due`."""
    DOUBT = "doubt"
    """A probe is to be sent at `due`."""
    PROBING = "probing"
    """A reply to a probe; `due` is its timeout."""
    WAITING = "waiting"
    """Nothing but time, until `due`."""
    AWAITING = "awaiting"
    """A signal; `due` is the timeout, if there is one."""
    REVIEWING = "reviewing"
    """People's decisions; `due` is when they are too late, if there is such a time."""
    QUEUED = "queued"
    """A permit; `due` is when it is asked for anew, should the request be lost."""
    BLOCKED = "blocked"
    """An operator."""
    CLOSED = "closed"
    """Nothing ever: an operator closed it; later replies are refused."""


WORKING = frozenset({Doing.SENT, Doing.BACKOFF, Doing.DOUBT, Doing.PROBING, Doing.QUEUED})
ACTIVE = WORKING | {Doing.WAITING, Doing.AWAITING, Doing.REVIEWING}
UNSENT = frozenset({Doing.BACKOFF, Doing.QUEUED})
"""Waiting to be sent: unless a doubt is left from before, nothing has changed anything."""


class OpState(NamedTuple):
    """One operation of a step: its action, or its compensation, with counters of its own."""

    attempt: int = 0
    """The latest that was dispatched; never restarts."""
    base: int = 0
    """Attempts before the budget in use: an operator's retry gives a new one."""
    doing: Doing = Doing.IDLE
    due: datetime | None = None
    doubt: bool = False
    """Some attempt may have had an effect that nothing has excluded or confirmed."""
    probes: int = 0
    """Probes sent in this doubt."""
    returns: int = 0
    """Times in a row that the broker returned the latest attempt."""
    progress: int = 0
    """Progress reports that restarted this attempt's timeout."""
    progress_at: datetime | None = None
    acknowledged: bool = False
    """Of a compensation: it was answered `succeeded` and waits for its verification."""
    resend: bool = False
    """What is to be sent at `due` is the latest attempt again, not a new one."""
    sent_at: datetime | None = None
    """When the latest attempt was dispatched; kept after it is settled."""

    @property
    def undeliverable(self) -> bool:
        """Whether it waits because the broker returned it."""
        return self.returns > 0 and self.doing in (Doing.BACKOFF, Doing.DOUBT)


IDLE = OpState()


@dataclass(frozen=True, slots=True)
class LoopState:
    """How far a step is that goes through its body, or its plans, one after the other."""

    count: int | None = None
    """Of an each: how many items it has."""
    turn: int = 0
    """Of a repeat: the iteration it is in, from 1."""
    done: int = 0
    """Of an each: at least so many of its first items are done, and need not be looked into."""
    undone: int = 0
    """Of an each or repeat: nothing is left to undo of at least so many of its last frames."""
    failure_seq: int = 0
    """Of alternatives: row that says why the latest of its failed plans failed."""
    interrupt_at: datetime | None = None
    """Of alternatives: when what was in flight in the failed plan is awaited no longer."""


NO_LOOP = LoopState()


class StepState(NamedTuple):
    """One step instance. Seqs name the journal rows that hold its payloads."""

    status: StepStatus
    action: OpState = IDLE
    undo: OpState = IDLE
    input_seq: int = 0
    """Row with the action's body; 0 if it was never dispatched. Of an each: its items."""
    output_seq: int = 0
    """Row with its output; 0 if there is none."""
    undo_seq: int = 0
    """Row with the mapped input of its compensation; 0 if the default applies."""
    known: bool = False
    """The action is known to have succeeded."""
    probed: bool = False
    """A probe said `absent`."""
    ignored: bool = False
    """It failed or is in doubt, and the plan goes on (`on_failure: ignore`)."""
    undo_bad: bool = False
    """The mapping of its compensation's input failed when the reply came."""
    residue: bool = False
    """Its effect stays in the world."""
    halts: bool = False
    """Blocked in a way that stops the whole saga."""
    alarmed: bool = False
    """A `succeeded` for it was journalled after it had been recorded as failed."""
    chosen: int | None = None
    """Of a choice: index of the case, -1 for `otherwise`. Of alternatives: index of the plan."""
    review: ReviewState = NO_REVIEW
    """The latest review that was asked for, of the step itself or as its guard."""
    loop: LoopState = NO_LOOP
    """Of an each, a repeat, alternatives: how far it is."""
    retained_until: datetime | None = None
    """End of its undo window (`compensable_for`), if it has one."""
    problem: str | None = None
    """Type of the latest problem; the problem itself stands in the journal."""
    permit: int = 0
    """Row with which it asked for the permit that it waits for or holds; 0 if it needs none."""
    permitted: bool = False
    """It holds that permit."""
    asked_at: datetime | None = None
    """Since when it has waited for it: its place in the queue."""
    held: bool = False
    """Its next attempt waits for a participant that does not answer."""

    @property
    def is_open(self) -> bool:
        """Whether something of it is still awaited."""
        return self.halts or self.action.doing not in _AT_REST or self.undo.doing not in _AT_REST

    @property
    def is_blocked(self) -> bool:
        """Whether an operator must act."""
        return Doing.BLOCKED in (self.action.doing, self.undo.doing)


_AT_REST = frozenset({Doing.IDLE, Doing.CLOSED})

Piece = TypeVar("Piece", OpState, LoopState, StepState)


def replace(piece: Piece, **changes: Any) -> Piece:
    """The same but for these members. Steps and operations are tuples: facts make many of them."""
    if isinstance(piece, LoopState):
        return dataclasses.replace(piece, **changes)
    return piece._replace(**changes)


class UnreadSteps(MutableMapping[StepPath, StepState]):
    """Steps of which some settled ones are read only when they are looked at (core.packed)."""

    __slots__ = ()

    @abstractmethod
    def unpacked(self) -> Iterator[tuple[StepPath, StepState]]:
        """All the others."""


def unpacked(steps: Mapping[StepPath, StepState]) -> Iterable[tuple[StepPath, StepState]]:
    """Every step that something may still be open of."""
    return steps.unpacked() if isinstance(steps, UnreadSteps) else steps.items()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a saga turned back (or is about to); kept and shown to the end."""

    type: str
    detail: str = ""
    """At most 300 characters; the whole stands in the journal."""
    step: StepPath | None = None
    by: str | None = None


ROWS_MAX = 10_000
"""Journal rows of a saga in one direction; then it turns back, or is stuck."""
SIGNALS_MAX = 500
"""Signals of a saga; their ids stand in its state."""
ROWS_GRANT = 1_000
"""Rows that an operator's action allows beyond that."""
LOOK_AGAIN = timedelta(hours=1)
"""How often a saga that waits for an operator is looked at."""


_NO_STEPS: Final[Mapping[StepPath, StepState]] = MappingProxyType({})
_NO_ROWS: Final[Mapping[str, int]] = MappingProxyType({})
_NOTHING_KEPT: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType({})


class State(NamedTuple):
    """The control state. Equal for equal journals. A tuple: every decision makes one."""

    at: datetime
    """Of the latest row."""
    steps: Mapping[StepPath, StepState] = _NO_STEPS
    """Who looks for what is open goes over `unpacked(steps)`."""
    direction: Direction = Direction.FORWARD
    pivot: StepPath | None = None
    """The pivot that succeeded: nothing is compensated any more."""
    deadline: datetime | None = None
    """None also once it has passed."""
    interrupt_at: datetime | None = None
    """Going back: when what was dispatched before is awaited no longer."""
    suspended: bool = False
    stuck: bool = False
    fault: bool = False
    """The engine met an exception: nothing moves until an operator resumes or cancels."""
    full: bool = False
    """The journal is full: nothing is dispatched until an operator acts."""
    stop: Failure | None = None
    """A cancel or deadline that waits for the outcome of a pivot in flight."""
    failure: Failure | None = None
    rows_max: int = ROWS_MAX
    residue: int = 0
    output_seq: int = 0
    signals: Mapping[str, int] = _NO_ROWS
    """Rows of all signals that came, by id: a repetition is known by it."""
    kept: Mapping[str, tuple[int, ...]] = _NOTHING_KEPT
    """Rows of those that no step has taken, by event, in the order in which they came."""
    meter: Meter = UNUSED
    """What model calls have spent and reserved."""
    asked: tuple[Asker, ...] = ()
    """Who waits for its end, at most one for each operation of a step."""
    undoes: SagaId | None = None
    """The saga that this one takes back, and the key of that one's start."""
    undoes_key: str | None = None
    ended: SagaStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga:
    """A saga as `decide` sees it: identity, how many rows its journal has, and their fold."""

    identity: Identity
    seq: int
    state: State

    @property
    def status(self) -> SagaStatus:
        """What the row shows."""
        return status_of(self.state)

    @property
    def wake_at(self) -> datetime | None:
        """A lower bound of when time alone can move it; None exactly if it has ended."""
        return wake_at(self)

    @property
    def residue(self) -> int:
        """Effects that stay in the world."""
        return self.state.residue

    @property
    def undeliverable(self) -> int:
        """Operations whose participant nobody runs, as far as the broker knows."""
        steps = unpacked(self.state.steps)
        return sum(op.undeliverable for _, s in steps for op in (s.action, s.undo))


def status_of(state: State) -> SagaStatus:
    """The most telling of what holds: ended, suspended, stuck, then the direction."""
    if state.ended is not None:
        return state.ended
    if state.suspended:
        return SagaStatus.SUSPENDED
    if state.stuck:
        return SagaStatus.STUCK
    return SagaStatus.RUNNING if state.direction is Direction.FORWARD else SagaStatus.COMPENSATING


def halted(state: State) -> bool:
    """Whether the saga as a whole stands still until an operator acts (replies are recorded)."""
    if not state.stuck:
        return False
    return state.fault or state.full or any(step.halts for _, step in unpacked(state.steps))


def wake_at(saga: Saga, now: datetime | None = None) -> datetime | None:
    """The earliest time at which `decide(Woke())` may find something due.

    `now` is given when a saga is re-armed after it was looked at and nothing was due: the hourly
    look then counts from `now`, not from the latest row.
    """
    state = saga.state
    if state.ended is not None:
        return None
    resting = state.suspended or state.stuck
    earliest = (now or state.at) + LOOK_AGAIN
    if state.fault:
        return earliest
    still = halted(state)
    quiet = state.suspended or still
    if (
        state.deadline is not None
        and state.direction is Direction.FORWARD
        and state.stop is None
        and (state.pivot is not None or not still)
    ):
        earliest = min(earliest, state.deadline) if resting else state.deadline
    elif not resting:
        earliest = _NEVER
    for _, step in unpacked(state.steps):
        for op in (step.action, step.undo):
            if op.doing in _PATIENT and op.due is None:
                earliest = min(earliest, (now or state.at) + LOOK_AGAIN)
            if op.due is None or (quiet and op.doing not in _EXPIRES):
                continue
            earliest = min(earliest, op.due)
    assert earliest is not _NEVER, f"silent saga {saga.identity.saga_id}"
    return earliest


_EXPIRES = frozenset({Doing.SENT, Doing.PROBING, Doing.AWAITING, Doing.REVIEWING})
_PATIENT = frozenset({Doing.AWAITING, Doing.REVIEWING})
"""What may wait without an end: the saga is looked at every hour."""
_NEVER = datetime.max.replace(tzinfo=UTC)
