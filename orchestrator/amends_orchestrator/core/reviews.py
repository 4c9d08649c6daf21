"""What a saga's state keeps of a review, and what a review is called from outside.

What happens to one is in `reviewing`; the facts are in `journal_reviews`.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from amends_contracts.names import SagaId

ROLE: Final = "role:"
"""An assignee that begins so is whoever holds the role; any other is a principal's name."""
EVERYBODY: Final = "*"
"""The role of who may decide whatever is asked: a service without keys knows nobody apart."""


class ReviewStage(StrEnum):
    """How far a review is; all but `open` and `approved` are final."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    """Nobody decided in time, and that counts as a reject."""
    WITHDRAWN = "withdrawn"
    """The saga no longer asks."""
    LAPSED = "lapsed"
    """Approved, and not used in time: another review was asked for in its place."""
    ROLLED_BACK = "rolled_back"
    """What had been approved was undone."""


class ReviewState(NamedTuple):
    """The latest review of a step."""

    seq: int = 0
    """Row of the request, which names it; 0: none was asked for."""
    stage: ReviewStage = ReviewStage.OPEN
    shown_seq: int = 0
    """Row that holds what is shown now: the request's, or the latest edit's."""
    digest: str = ""
    """Of what is shown now."""
    assignees: tuple[str, ...] = ()
    """Who may decide; empty: every reviewer."""
    approved_by: tuple[str, ...] = ()
    """Who has approved what is shown now."""
    escalated: bool = False
    valid_until: datetime | None = None
    """Of an approval: until when it may be used."""

    @property
    def is_open(self) -> bool:
        """Whether it waits for decisions."""
        return self.seq > 0 and self.stage is ReviewStage.OPEN


NO_REVIEW: Final = ReviewState()


def may_decide(assignees: tuple[str, ...], by: str, roles: frozenset[str]) -> bool:
    """Whether a review is for this principal."""
    held = {by, *(f"{ROLE}{role}" for role in roles)}
    return not assignees or EVERYBODY in roles or not held.isdisjoint(assignees)


_ID: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([1-9]\d{0,8})")


def review_id(saga_id: SagaId, seq: int) -> str:
    """What a review is called from outside: its saga, and the row of its request."""
    return f"{saga_id}.{seq}"


def split_review_id(text: str) -> tuple[SagaId, int] | None:
    """The inverse of `review_id`; None for what is no review's id."""
    found = _ID.fullmatch(text)
    return None if found is None else (SagaId(found[1]), int(found[2]))
