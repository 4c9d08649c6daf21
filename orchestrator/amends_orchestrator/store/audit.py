"""The audit: who asked for what, why, and what came of it. Append-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.names import SagaId
from amends_orchestrator.store import queries
from amends_orchestrator.store.database import Database

SQL: Final = queries.load("admin")
_NEWEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One entry; `id` is the cursor of what is older."""

    id: int
    at: datetime
    tenant: str
    who: str
    action: str
    saga_id: SagaId | None
    subject: str | None
    step: str | None
    reason: str | None
    outcome: str


class Audit:
    """Table `audit`. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def record(
        self,
        *,
        tenant: str,
        who: str,
        action: str,
        outcome: str,
        saga_id: SagaId | None = None,
        step: str | None = None,
        reason: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Append one row. `outcome`: `done`, or the type of the problem it ended with."""
        await self._database.fetch(
            SQL["record"],
            saga_id=saga_id,
            tenant=tenant,
            who=who,
            action=action,
            subject=subject,
            step=step,
            reason=reason,
            outcome=outcome,
        )

    async def list(
        self,
        tenant: str,
        *,
        saga_id: SagaId | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Sequence[AuditRow]:
        """Newest first; `before` is the id of the last row of the page before."""
        position = _NEWEST if before is None else before
        if saga_id is None:
            rows = await self._database.fetch(
                SQL["audit"], tenant=tenant, before=position, limit=limit
            )
        else:
            rows = await self._database.fetch(
                SQL["audit_of_saga"], tenant=tenant, saga_id=saga_id, before=position, limit=limit
            )
        return [_audit(row) for row in rows]


def _audit(row: asyncpg.Record) -> AuditRow:
    saga_id = row["saga_id"]
    return AuditRow(
        id=row["id"],
        at=row["at"],
        tenant=row["tenant"],
        who=row["who"],
        action=row["action"],
        saga_id=None if saga_id is None else SagaId(str(saga_id)),
        subject=row["subject"],
        step=row["step"],
        reason=row["reason"],
        outcome=row["outcome"],
    )
