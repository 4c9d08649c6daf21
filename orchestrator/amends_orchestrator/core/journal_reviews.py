"""The journal's facts of reviews; part of the union in `journal`."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequested:
    """People are asked. What they are shown stands here; the row's number names the review."""

    KIND: ClassVar = Kind.REVIEW_REQUESTED
    path: StepPath
    title: str
    digest: str
    """Of `show`."""
    assignees: tuple[str, ...]
    show: Json = None
    """The rendered body of the command that waits; of a step of its own, its `show`."""
    due: datetime | None = None
    lapsed: int = 0
    """The review in whose place it is asked for: its approval was not used in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDecided:
    """One reviewer has decided, on what this digest is of."""

    KIND: ClassVar = Kind.REVIEW_DECIDED
    path: StepPath
    review: int
    by: str
    decision: Literal["approve", "reject", "edit"]
    digest: str
    comment: str | None = None
    show: Json = None
    """Of an edit: what is shown from now on."""
    edited: str | None = None
    """Its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewExpired:
    """Nobody decided in time; what follows from that."""

    KIND: ClassVar = Kind.REVIEW_EXPIRED
    path: StepPath
    review: int
    then: Literal["reject", "approve", "escalate"]
    assignees: tuple[str, ...] = ()
    """Of an escalation: who may decide from now on."""
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewApproved:
    """Enough have approved, or nobody objected in time: what was shown may run."""

    KIND: ClassVar = Kind.REVIEW_APPROVED
    path: StepPath
    review: int
    digest: str
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReviewed:
    """A review that is a step of its own is approved; what was, its output, stands here."""

    KIND: ClassVar = Kind.STEP_REVIEWED
    path: StepPath
    output: Json = None


Event: TypeAlias = ReviewRequested | ReviewDecided | ReviewExpired | ReviewApproved | StepReviewed
