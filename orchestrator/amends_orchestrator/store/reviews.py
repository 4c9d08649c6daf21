"""Reviews as lists, pages and the notifier read them. Statements: `sql/reviews.sql`."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import Json
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.reviews import ROLE, ReviewStage, review_id
from amends_orchestrator.store import queries
from amends_orchestrator.store.database import Database
from amends_orchestrator.store.reads import BadCursor, Page

SQL: Final = queries.load("reviews")
DECISIONS_MAX: Final = 200
COUNT_MAX: Final = 10_000
_OLDEST: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0), 0)
_NEWEST: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1), 2**31 - 1)
_Position = tuple[datetime, UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRow:
    """A review as lists show it."""

    saga_id: SagaId
    seq: int
    tenant: str
    definition: str
    version: int
    key: str
    """The saga's."""
    step: StepPath
    command: str | None
    title: str
    status: ReviewStage
    quorum: int
    assignees: tuple[str, ...]
    approved_by: tuple[str, ...]
    digest: str
    shown_seq: int
    requested_at: datetime
    due: datetime | None
    decided_at: datetime | None

    @property
    def review_id(self) -> str:
        """What it is called from outside."""
        return review_id(self.saga_id, self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """What one reviewer decided."""

    at: datetime
    by: str
    decision: str
    comment: str | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A review of which somebody is to be told."""

    review: ReviewRow
    told: str | None
    """What was told of it last."""
    seen: datetime
    """When it is told again unless it is settled before: the claim."""


class Reviews:
    """Table `review`. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def list(
        self,
        tenant: str,
        *,
        status: ReviewStage = ReviewStage.OPEN,
        held: Sequence[str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ReviewRow]:
        """Open ones longest waiting first, others latest first. BadCursor, as for sagas.

        `held` (names and roles, see `held_by`) leaves those out that others are to decide.
        """
        is_open = status is ReviewStage.OPEN
        first = _OLDEST if is_open else _NEWEST
        at, id_, seq = first if cursor is None else _position(cursor)
        given: dict[str, Any] = {"tenant": tenant, "held": held, "limit": limit + 1}
        given |= {"at": at, "id": id_, "seq": seq}
        query = SQL["list_reviews_open" if is_open else "list_reviews_over"]
        if not is_open:
            given["status"] = status.value
        rows = [_row(r) for r in await self._database.fetch(query, **given)]
        items = rows[:limit]
        return Page(items, _cursor(items[-1]) if len(rows) > limit else None)

    async def get(self, tenant: str, saga_id: SagaId, seq: int) -> ReviewRow | None:
        """One review; None if this tenant has none of that id."""
        row = await self._database.row(SQL["review"], tenant=tenant, id=saga_id, seq=seq)
        return None if row is None else _row(row)

    async def shown(self, review: ReviewRow) -> Json:
        """What it shows, as it stood when the row was read."""
        row = await self._database.row(SQL["review_shown"], id=review.saga_id, seq=review.shown_seq)
        return None if row is None or row["shown"] is None else json.loads(row["shown"])

    async def decisions(self, review: ReviewRow) -> Sequence[DecisionRow]:
        """What was decided on it, in order."""
        rows = await self._database.fetch(
            SQL["review_decisions"],
            id=review.saga_id,
            seq=review.seq,
            step=review.step,
            limit=DECISIONS_MAX,
        )
        return [_decision(row["at"], json.loads(row["data"])) for row in rows]

    async def waiting(self, tenant: str) -> int:
        """How many are open, counted up to `COUNT_MAX`."""
        row = await self._database.row(SQL["waiting_reviews"], tenant=tenant, at_most=COUNT_MAX)
        assert row is not None
        return int(row["n"])

    async def claim_notices(
        self, *, again_s: float, again_max_s: float, limit: int
    ) -> Sequence[Notice]:
        """Reviews of which somebody is to be told; each is claimed for a while by this."""
        rows = await self._database.fetch(
            SQL["claim_notices"], again_s=again_s, again_max_s=again_max_s, limit=limit
        )
        return [Notice(review=_row(r), told=r["told"], seen=r["notify_at"]) for r in rows]

    async def told(self, notices: Sequence[tuple[Notice, str]], *, remind_s: float) -> None:
        """These were told, each with what is to be remembered of that; 0: no reminders."""
        await self._database.fetch(
            SQL["told_notices"],
            ids=[notice.review.saga_id for notice, _ in notices],
            seqs=[notice.review.seq for notice, _ in notices],
            told=[told for _, told in notices],
            seen=[notice.seen for notice, _ in notices],
            remind_s=remind_s,
        )


def held_by(name: str, roles: Sequence[str]) -> list[str]:
    """What a review may be for so that this principal may decide it."""
    return [name, *(f"{ROLE}{role}" for role in roles)]


def _row(row: asyncpg.Record) -> ReviewRow:
    return ReviewRow(
        saga_id=SagaId(str(row["saga_id"])),
        seq=row["seq"],
        tenant=row["tenant"],
        definition=row["definition"],
        version=row["version"],
        key=row["key"],
        step=StepPath(row["step"]),
        command=row["command"],
        title=row["title"],
        status=ReviewStage(row["status"]),
        quorum=row["quorum"],
        assignees=tuple(row["assignees"]),
        approved_by=tuple(row["approved_by"]),
        digest=row["digest"],
        shown_seq=row["shown_seq"],
        requested_at=row["requested_at"],
        due=row["due"],
        decided_at=row["decided_at"],
    )


def _decision(at: datetime, data: Json) -> DecisionRow:
    return DecisionRow(
        at=at,
        by=data["by"],
        decision=data["decision"],
        comment=data.get("comment"),
        digest=data["digest"],
    )


def _cursor(row: ReviewRow) -> str:
    text = f"{row.requested_at.isoformat()} {row.saga_id} {row.seq}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _position(cursor: str) -> _Position:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        at, id_, seq = text.split(" ")
        time = datetime.fromisoformat(at)
        if time.tzinfo is None or not 0 <= int(seq) < 2**31:
            raise ValueError(cursor)
        return time, UUID(id_), int(seq)
    except ValueError as error:
        raise BadCursor(cursor) from error
