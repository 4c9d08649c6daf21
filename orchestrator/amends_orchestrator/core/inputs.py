"""What `decide` is told: one closed union of facts from outside.

Everything here was checked at the edge already (decoded, token, service, tenant, scope); whether
it still fits the saga's state is decided in the core. Nothing here carries a time: `now` is the
batch's, by the database's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypeAlias

from amends_contracts.messages import Json, Outcome, Usage
from amends_contracts.names import Op, StepPath
from amends_contracts.problems import Problem
from amends_orchestrator.core.state import Asker


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyReceived:
    """A participant's reply to one attempt of one operation of a step."""

    path: StepPath
    op: Op
    attempt: int
    service: str
    """From the routing key, authenticated by the broker."""
    outcome: Outcome
    output: Json = None
    """The decoded body of `succeeded`; for a probe `{"effect", "output"}`."""
    problem: Problem | None = None
    """The decoded body of `failed`, `unknown`, `fenced`."""
    retryable: bool = False
    retry_after: timedelta | None = None
    usage: Usage | None = None
    bad_output: Problem | None = None
    """The output violates its schema: an effect is there, its output is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The broker returned the command: nobody has declared a queue for it."""

    path: StepPath
    op: Op
    attempt: int
    never_delivered: bool = False
    """This return is of the only publication of this dispatch, and is reported once: nobody can
    have got it. False (an earlier publication may have arrived) is always safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered:
    """The command ended in the dead-letter queue: its outcome is unknown."""

    path: StepPath
    op: Op
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Woke:
    """The saga's `wake_at` has come: whatever is due by `now` happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The permit that a step asked for in journal row `ask` is its own."""

    path: StepPath
    ask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants the saga stopped and undone."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendRequested:
    """Dispatch nothing until resumed; replies are recorded, timeouts expire."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequested:
    """End a suspension."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequested:
    """An operator's retry of a step's open operation; attempts go on counting."""

    path: StepPath
    reason: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipRequested:
    """Close a step's open operation; an effect that may be there becomes residue."""

    path: StepPath
    reason: str
    by: str
    owner: str
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveRequested:
    """An operator supplies the outcome of a step's open operation."""

    path: StepPath
    outcome: Outcome
    """`succeeded` or `failed`."""
    reason: str
    by: str
    output: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled:
    """Somebody sends an event; the same `id` again is the same signal."""

    event: str
    id: str
    by: str
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDecision:
    """A reviewer, authenticated, decides; an edit fits the review's form."""

    review: int
    """The row that asked."""
    decision: Literal["approve", "reject", "edit"]
    by: str
    shown_digest: str
    roles: frozenset[str] = frozenset()
    """Those that the reviewer holds."""
    comment: str | None = None
    body: Json = None
    """Of an edit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A step of another saga asks for this one: what it came to, or to be taken back."""

    asker: Asker


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The engine met an exception while deciding this saga: it becomes stuck, shown, not lost."""

    problem: Problem


Input: TypeAlias = (
    ReplyReceived
    | Returned
    | DeadLettered
    | Woke
    | Granted
    | CancelRequested
    | SuspendRequested
    | ResumeRequested
    | RetryRequested
    | SkipRequested
    | ResolveRequested
    | Signalled
    | ReviewDecision
    | Asked
    | Fault
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """A start, with its definition found and its input checked against the schema."""

    key: str
    input: Json
    by: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    asked: Asker | None = None
    """The step of another saga that it is started for."""
    requested_by: str | None = None
    """The person behind it, where `by` is a schedule or another saga."""
