"""Sagas that are over, out of the database: what is there, and the deletion of what is in a file.

One transaction per batch: the batch's sagas are locked, handed to whoever writes the file, and
deleted. A crash between the two leaves them in both places, never in none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from amends_contracts.messages import Json
from amends_contracts.names import SagaId
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.engine.ports import OutboxWrite
from amends_orchestrator.store import queries
from amends_orchestrator.store.rows import journal_row

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SQL: Final = queries.load("archive")
LOCK_MS: Final = 2_000
KEYS_MAX: Final = 1_000
"""Old start keys deleted at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which sagas are to be archived."""

    ended_before: datetime
    until: UUID
    """Version 7, of the same time: a saga that ended before it was started before it."""
    definition: str | None = None
    tenant: str | None = None
    sagas_max: int = 200
    rows_max: int = 20_000
    """Journal rows in one batch; a single saga may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """One saga that is over, whole."""

    saga_id: SagaId
    definition: str
    version: int
    columns: Mapping[str, Json]
    """Its row, as JSON."""
    rows: Sequence[JournalRow]


Keep: TypeAlias = Callable[[Sequence[Over]], OutboxWrite | None]
"""Writes sagas where they are safe from a crash; what their participants are to be told."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch has done."""

    sagas: int
    rows: int
    last: UUID | None
    """Where the next one begins; None: there is no more."""


async def archive_batch(connection: Connection, wanted: Wanted, after: UUID, keep: Keep) -> Batch:
    """Archive the next sagas: look, keep, delete, commit."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
        found = await _fetch(
            connection,
            "candidates",
            after=after,
            until=wanted.until,
            ended_before=wanted.ended_before,
            definition=wanted.definition,
            tenant=wanted.tenant,
            limit=wanted.sagas_max,
        )
        chosen = _some(found, wanted.rows_max)
        if not chosen:
            return Batch(0, 0, None)
        over = await _whole(connection, chosen)
        told = keep(over)
        gone = await _fetch(
            connection,
            "remove",
            ids=chosen,
            outbox_id=told.id if told else None,
            n=told.n if told else 0,
            body=told.body if told else b"",
        )
        assert gone[0]["gone"] == len(chosen), "sagas that were locked are gone"
    return Batch(len(chosen), sum(len(one.rows) for one in over), chosen[-1])


async def forget_keys(connection: Connection) -> int:
    """Delete the start keys of sagas that were archived 30 days ago; how many."""
    gone = 0
    while True:
        query = SQL["forget_keys"]
        done = await connection.execute(query.text, *query.arguments({"limit": KEYS_MAX}))
        n = int(done.rpartition(" ")[2])
        gone += n
        if n < KEYS_MAX:
            return gone


async def _fetch(connection: Connection, name: str, **given: Any) -> list[asyncpg.Record]:
    query = SQL[name]
    return await connection.fetch(query.text, *query.arguments(given))


def _some(found: Sequence[asyncpg.Record], rows_max: int) -> list[UUID]:
    """The first sagas, until there are enough journal rows; at least one."""
    chosen: list[UUID] = []
    rows = 0
    for row in found:
        rows += row["seq"]
        if chosen and rows > rows_max:
            break
        chosen.append(row["id"])
    return chosen


async def _whole(connection: Connection, ids: Sequence[UUID]) -> list[Over]:
    journals: dict[UUID, list[JournalRow]] = {}
    for row in await _fetch(connection, "journals", ids=ids):
        journals.setdefault(row["saga_id"], []).append(journal_row(row))
    sagas = await _fetch(connection, "sagas", ids=ids)
    return [_over(row, journals.get(row["id"], [])) for row in sagas]


def _over(row: asyncpg.Record, rows: Sequence[JournalRow]) -> Over:
    columns: dict[str, Json] = {
        "saga_id": str(row["id"]),
        **{name: row[name] for name in ("tenant", "definition", "version", "key", "status")},
        "residue": row["residue"],
        "started_at": row["started_at"].isoformat(),
        "ended_at": row["ended_at"].isoformat(),
        "trace_id": row["trace_id"],
        "labels": json.loads(row["labels"]),
        "state": json.loads(row["state"]),
    }
    return Over(
        saga_id=SagaId(str(row["id"])),
        definition=row["definition"],
        version=row["version"],
        columns=columns,
        rows=rows,
    )
