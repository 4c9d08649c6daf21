"""What is known of some sagas' past, as small frozen facts: what the checker is given.

Every source knows a part. What it cannot know is None, and the rules that need it are then
reported as not checked. `order` is a number that grows with what happened later, of one count for
all facts of a history.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from amends_contracts.messages import Json
from amends_contracts.names import Op, SagaId, StepPath
from amends_orchestrator.core.decision import Decision, JournalRow
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.state import Identity, SagaStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A saga's row."""

    seq: int
    status: SagaStatus
    state: Json
    residue: int
    wake_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPast:
    """One saga: what was planned, what the journal says happened, and what its row says."""

    identity: Identity
    plan: Plan
    rows: tuple[JournalRow, ...]
    stored: Stored | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One saga's part of a batch that became durable."""

    order: int
    orchestrator: str
    saga_id: SagaId
    loaded_seq: int
    seq: int
    state: Json = None
    """As it was stored then; None if that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A command (or a child's reply) that stood in a committed outbox row, or was published."""

    order: int
    id: str
    saga_id: SagaId
    path: StepPath
    op: Op
    attempt: int
    tenant: str | None
    """None of a reply, which names none."""


class Change(StrEnum):
    """What happened to the world under an action's key."""

    TAKEN = "taken"
    """The effect took place."""
    UNDONE = "undone"
    """It was taken back."""
    BURIED = "buried"
    """Nothing was there to be taken back, and that was acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A change of the world, from a participant's ledger."""

    order: int
    saga_id: SagaId
    path: StepPath
    change: Change
    receipt: Json = None
    """What the participant gave out for a taken effect; None if it keeps no receipts."""
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A reply `succeeded` to an action that was acknowledged to the broker: it comes no more."""

    order: int
    saga_id: SagaId
    path: StepPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A start or an operator's request, and what it was told."""

    tenant: str
    what: str
    """`start`, or the kind of journal row that an applied request leaves."""
    answer: Literal["applied", "refused", "none"]
    """`none`: whoever asked heard nothing."""
    saga_id: SagaId | None = None
    """Which saga was meant; for a start, which one was answered."""
    key: str = ""
    """`definition/key` of a start."""
    digest: str = ""
    """Of a start's input."""
    created: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A signal that somebody sent, to a saga or to a start's key, and the best answer to it."""

    tenant: str
    id: str
    event: str
    data: Json
    saga_id: SagaId | None = None
    definition: str | None = None
    key: str | None = None
    answer: Literal["taken", "kept", "refused", "none"] = "none"
    """`taken`: the saga has it; `kept`: the saga is not there yet; `none`: nothing was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision together with what it decided on."""

    message: Input
    decision: Decision
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The past of some sagas. None: this source does not know."""

    sagas: tuple[SagaPast, ...]
    commits: tuple[Commit, ...] | None = None
    committed: tuple[Made, ...] | None = None
    """Every command that stood in an outbox row, at least of those still there."""
    published: tuple[Made, ...] | None = None
    """Every publication, repetitions too."""
    settled: frozenset[str] | None = None
    """Ids that the broker has confirmed or returned."""
    effects: tuple[Effect, ...] | None = None
    heard: tuple[Heard, ...] | None = None
    asked: tuple[Asked, ...] | None = None
    sent: tuple[Sent, ...] | None = None
    """Every signal that was sent."""
    dropped: frozenset[str] | None = None
    """Ids of kept signals that their sagas refused for good, or for which none came."""
    decided: tuple[Decided, ...] | None = None
    quiet_at: int | None = None
    """Order after which nothing was under way any more, and only repetitions of old messages
    arrived."""
    calm: bool | None = None
    """Faults had ended and enough time had passed for every saga to end."""
    others: frozenset[StepPath] = field(default_factory=frozenset[StepPath])
    """Steps whose participants do not follow the contract: what they do is not ours to promise."""
