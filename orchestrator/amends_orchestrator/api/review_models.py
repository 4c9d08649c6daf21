"""What REST takes and gives of reviews; a part of the OpenAPI document's source."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from amends_contracts.messages import Json
from amends_orchestrator.api.models import SAGA_ID, In, Out, SagaIdText
from amends_orchestrator.core.reviews import ReviewStage
from amends_orchestrator.core.state import SagaStatus

REVIEW_ID_PATTERN: Final = (
    r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.[1-9]\d{0,8}$"
)
REVIEW_ID: Final = f"{SAGA_ID}.4"
ReviewIdText = Annotated[str, StringConstraints(pattern=REVIEW_ID_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Who = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]


class DecisionIn(In):
    """A reviewer's decision, bound to the digest of what was shown."""

    decision: Literal["approve", "reject", "edit"]
    shown_digest: Digest = Field(description="The `digest` of the review as it was looked at.")
    body: Json = Field(default=None, description="Of an edit: what is to run instead.")
    comment: Annotated[str, StringConstraints(max_length=1000)] | None = None


class DecidedOut(Out):
    """The review, and its saga, after a decision."""

    review_id: ReviewIdText = Field(examples=[REVIEW_ID])
    status: ReviewStage
    digest: str = Field(description="Of what is shown now.")
    saga_id: SagaIdText = Field(examples=[SAGA_ID])
    saga_status: SagaStatus


class LinkIn(In):
    """Whom a link is for, and for how long."""

    reviewer: Who = Field(description="One of the review's `assignees`, by name.")
    hours: Annotated[int, Field(ge=1, le=720)] = 24


class LinkOut(Out):
    """A link that shows one review to one reviewer, and decides it once."""

    url: str
    expires_at: datetime


class ReviewItem(Out):
    """A review in a list."""

    review_id: ReviewIdText = Field(examples=[REVIEW_ID])
    saga_id: SagaIdText = Field(examples=[SAGA_ID])
    definition: str = Field(examples=["refund"])
    version: int = Field(examples=[1])
    key: str = Field(description="The saga's.", examples=["ticket-17"])
    step: str = Field(examples=["refund"])
    command: str | None = Field(description="What waits for it; null: a step of its own.")
    title: str
    status: ReviewStage
    quorum: int
    assignees: list[str] = Field(description="Names and `role:<role>`; empty: every reviewer.")
    approved_by: list[str]
    digest: str
    requested_at: datetime
    due: datetime | None = None
    decided_at: datetime | None = None


class DecisionOut(Out):
    """What one reviewer decided."""

    at: datetime
    by: str
    decision: Literal["approve", "reject", "edit"]
    comment: str | None = None


class ReviewOut(ReviewItem):
    """A review with what it shows."""

    show: Any = Field(default=None, description="What runs once it is approved.")
    form: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of an edit; null: nothing may be edited."
    )
    decisions: list[DecisionOut]


class ReviewList(Out):
    """A page of reviews: open ones longest waiting first, others latest first."""

    items: list[ReviewItem]
    next: str | None = Field(description="Cursor of the next page; null at the end.")
