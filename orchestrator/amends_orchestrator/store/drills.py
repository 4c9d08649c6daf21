"""The record of drills: runs, their cells, and when each undo was last proven."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import Json
from amends_orchestrator.store import queries
from amends_orchestrator.store.arrays import dump
from amends_orchestrator.store.database import Database

SQL: Final = queries.load("drills")
RUNS_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run, with what its cells came to."""

    id: UUID
    definition: str
    version: int
    against: str
    status: str
    """`running` also where it was interrupted."""
    cells: int
    """How many there are in its matrix; 0: it did not get so far."""
    passed: int
    failed: int
    inconclusive: int
    held: Sequence[str]
    """What was left when it was over."""
    began_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """When the undo of a step was last seen to succeed."""

    definition: str
    step: str
    at: datetime
    times: int
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRow:
    """The newest result of one cell."""

    step: str
    fault: str
    verdict: str
    at: datetime
    age_s: float


class DrillRecord:
    """Tables `drill_run` and `drill_cell`. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def begin(
        self, run_id: UUID, *, definition: str, version: int, digest: str, against: str
    ) -> None:
        """A run begins."""
        await self._database.fetch(
            SQL["begin_run"],
            id=run_id,
            definition=definition,
            version=version,
            digest=digest,
            against=against,
        )

    async def interrupted(self, definition: str, digest: str) -> UUID | None:
        """A run of the same that was not brought to its end."""
        row = await self._database.row(SQL["interrupted_run"], definition=definition, digest=digest)
        return None if row is None else row["id"]

    async def keep(
        self,
        run_id: UUID,
        result: Mapping[str, Any],
        *,
        at: datetime,
        proven: Sequence[str],
    ) -> None:
        """Keep one cell as JSON (`step`, `fault`, `verdict` are members of it)."""
        await self._database.fetch(
            SQL["keep_cell"],
            run_id=run_id,
            step=result["step"],
            fault=result["fault"],
            verdict=result["verdict"],
            at=at,
            proven=list(proven),
            result=dump(dict(result)),
        )

    async def count(self, run_id: UUID, cells: int) -> None:
        """How many cells a run has, once it is known."""
        await self._database.fetch(SQL["count_cells"], id=run_id, cells=cells)

    async def end(self, run_id: UUID, held: Sequence[str]) -> None:
        """A run is over; `held` is what it has left in the drilled system."""
        await self._database.fetch(SQL["end_run"], id=run_id, held=dump(list(held)))

    async def runs(self, definition: str | None = None, limit: int = RUNS_MAX) -> Sequence[RunRow]:
        """Runs, newest first."""
        return await self._runs(limit, definition=definition)

    async def newest_runs(self, limit: int = RUNS_MAX) -> Sequence[RunRow]:
        """Of each definition the newest run, newest first."""
        return await self._runs(limit, newest_only=True)

    async def run(self, run_id: UUID) -> RunRow | None:
        """One run; None if there is none."""
        found = await self._runs(1, run_id=run_id)
        return found[0] if found else None

    async def _runs(
        self,
        limit: int,
        *,
        definition: str | None = None,
        run_id: UUID | None = None,
        newest_only: bool = False,
    ) -> Sequence[RunRow]:
        rows = await self._database.fetch(
            SQL["runs"],
            definition=definition,
            run_id=run_id,
            newest_only=newest_only,
            at_most=limit,
        )
        return [
            RunRow(
                id=row["id"],
                definition=row["definition"],
                version=row["version"],
                against=row["against"],
                status=row["status"],
                cells=row["cells"],
                passed=row["passed"],
                failed=row["failed"],
                inconclusive=row["inconclusive"],
                held=json.loads(row["held"]) if row["held"] else (),
                began_at=row["began_at"],
                ended_at=row["ended_at"],
            )
            for row in rows
        ]

    async def cells(self, run_id: UUID) -> Sequence[Json]:
        """The cells of a run, in the order in which they were tried."""
        rows = await self._database.fetch(SQL["cells"], run_id=run_id)
        return [json.loads(row["result"]) for row in rows]

    async def newest_cells(self, definition: str) -> Sequence[CellRow]:
        """The newest result of every cell that the newest run knows."""
        rows = await self._database.fetch(SQL["newest_cells"], definition=definition)
        return [
            CellRow(
                step=r["step"],
                fault=r["fault"],
                verdict=r["verdict"],
                at=r["at"],
                age_s=float(r["age_s"]),
            )
            for r in rows
        ]

    async def proofs(self, definition: str | None = None) -> Sequence[Proof]:
        """Per undo, when it was last proven."""
        rows = await self._database.fetch(SQL["proofs"], definition=definition)
        return [
            Proof(
                definition=row["definition"],
                step=row["step"],
                at=row["at"],
                times=row["times"],
                age_s=float(row["age_s"]),
            )
            for row in rows
        ]
