"""Signals for sagas that are not there yet, on Postgres: a part of `PostgresStore`.

What the statements do stands in `sql/signals.sql`.
"""

import json
from collections.abc import Sequence
from typing import Final

import asyncpg

from amends_contracts.names import SagaId
from amends_orchestrator.engine.ports import (
    EarlySignal,
    Kept,
    KnownStart,
    ReadySignal,
    SettledSignal,
    StartKey,
)
from amends_orchestrator.store import queries
from amends_orchestrator.store.arrays import dump
from amends_orchestrator.store.database import Database

SQL: Final = queries.load("signals")


async def keep(database: Database, signal: EarlySignal, most: int) -> KnownStart | Kept:
    """Keep a signal, then look for its saga."""
    given = {
        "tenant": signal.to.tenant,
        "definition": signal.to.definition,
        "key": signal.to.key,
        "id": signal.id,
    }
    await database.fetch(
        SQL["keep"],
        **given,
        event=signal.event,
        who=signal.by,
        digest=signal.digest,
        data=dump(signal.data),
        most=most,
    )
    row = await database.row(SQL["look"], **given)
    assert row is not None
    if row["started"]:
        saga_id = None if row["saga_id"] is None else SagaId(str(row["saga_id"]))
        return KnownStart(saga_id=saga_id, input_digest=row["input_digest"])
    if row["digest"] is None:
        return Kept.FULL
    return Kept.YES if row["digest"] == signal.digest else Kept.OTHER


async def ready(
    database: Database, starts: Sequence[StartKey] | None, limit: int
) -> Sequence[ReadySignal]:
    """Kept signals whose start is there: of these starts, or (None) of any."""
    if starts is None:
        rows = await database.fetch(SQL["ready"], limit=limit)
    else:
        rows = await database.fetch(
            SQL["ready_of"],
            tenants=[s.tenant for s in starts],
            definitions=[s.definition for s in starts],
            keys=[s.key for s in starts],
            limit=limit,
        )
    return [_ready(row) for row in rows]


def _ready(row: asyncpg.Record) -> ReadySignal:
    return ReadySignal(
        signal=EarlySignal(
            to=StartKey(tenant=row["tenant"], definition=row["definition"], key=row["key"]),
            id=row["id"],
            event=row["event"],
            by=row["who"],
            digest=row["digest"],
            data=json.loads(row["data"]),
        ),
        saga_id=None if row["saga_id"] is None else SagaId(str(row["saga_id"])),
    )


async def settle(database: Database, settled: Sequence[SettledSignal]) -> None:
    """Delete what its saga has recorded, or refused for good."""
    await database.fetch(
        SQL["settle"],
        tenants=[s.to.tenant for s in settled],
        definitions=[s.to.definition for s in settled],
        keys=[s.to.key for s in settled],
        ids=[s.id for s in settled],
        sagas=[s.saga_id for s in settled],
        outcomes=[s.refused for s in settled],
    )


async def drop_old(database: Database, kept_s: float) -> int:
    """Drop what no saga came for."""
    row = await database.row(SQL["drop_old"], kept_s=kept_s)
    assert row is not None
    return int(row["n"])
