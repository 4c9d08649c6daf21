"""What `decide` answers: journal rows and commands, a refusal, or the values it still needs."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from amends_contracts.messages import ActionOutcome, Json, LifecycleEvent
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import FieldError, Problem, ProblemType

if TYPE_CHECKING:
    from amends_orchestrator.core.state import Saga


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One fact of a saga, append-only; `seq` counts a saga's rows from 1 without a gap."""

    seq: int
    at: datetime
    kind: str
    """A member of `core.journal.Kind`."""
    step: StepPath | None = None
    attempt: int | None = None
    data: Json = None
    """A JSON object; inputs and outputs stand here, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A command to publish. Token, trace, digest and AMQP form are added by the engine."""

    path: StepPath
    op: Op
    attempt: int
    command: str
    """`<service>.<verb>`: the message's `type` and, with its lane, its routing key."""
    body: bytes
    deadline: datetime | None = None
    compensates: Op | None = None
    """On compensation and probe: `Op.ACTION`, whose key of the same step is concerned."""
    action_outcome: ActionOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A lifecycle event to publish, where the definition asks for them."""

    event: LifecycleEvent
    step: StepPath | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A step asks for a permit, to be written with the decision. `ask` is its journal row."""

    path: StepPath
    ask: int
    pool: str
    key: str
    since: datetime
    """Its place in the queue."""
    concurrency: int | None = None
    rate_count: int | None = None
    rate_per_s: float | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """The step has heard that its permit is granted."""

    path: StepPath
    ask: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The step needs its permit no more, or withdraws its request."""

    path: StepPath
    ask: int


PermitChange: TypeAlias = Ask | Take | GiveBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All that one message causes; made durable as a whole or not at all."""

    saga: "Saga"
    """The saga after the rows."""
    rows: tuple[JournalRow, ...]
    sends: tuple[Send, ...] = ()
    notices: tuple[Notice, ...] = ()
    permits: tuple[PermitChange, ...] = ()
    """In the order in which they were decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing changes and nothing is written; counted under `reason`, answered to who asked."""

    type: ProblemType
    detail: str
    duplicate: bool = False
    """A repetition of what is settled already: no cause for concern."""
    errors: tuple[FieldError, ...] = ()
    """The fields that are wrong, where it is about fields."""


@dataclass(frozen=True, slots=True)
class Missing:
    """`decide` needs the data of these journal rows (by seq): load them and call again."""

    seqs: frozenset[int]


Answer: TypeAlias = Decision | Refused | Missing
