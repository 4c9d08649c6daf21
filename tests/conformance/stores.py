"""The stores under test, and what the suite writes into them.

Each store comes with a way to let time pass by its own clock: the in-memory twin is told, Postgres
is waited for.
"""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from amends_contracts.messages import Json
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.engine.ports import (
    NO_PERMITS,
    Batch,
    OutboxWrite,
    SagaWrite,
    StartKey,
    Store,
    StoredSaga,
)
from amends_orchestrator.store import MemoryStore, PostgresStore

LEASE_S = 0.5
"""Long against a statement, short to wait for."""
ME, OTHER, THIRD = (uuid.UUID(int=n) for n in (1, 2, 3))
"""Orchestrators."""
_numbers = itertools.count(1)


class AnyStore(Store, Protocol):
    """The port, and what both stores have beside it."""

    async def committed_batch(self, batch: Batch) -> bool: ...
    async def stray_outbox(
        self, orchestrator: uuid.UUID, known: Sequence[uuid.UUID]
    ) -> Sequence[OutboxWrite]: ...
    async def add_partitions(self, count: int) -> None: ...


@dataclass
class Stage:
    """A store and its clock."""

    store: AnyStore
    pass_time: Callable[[float], Awaitable[None]]

    async def now(self) -> datetime:
        """The store's time."""
        return (await self.store.load([], [])).now


def memory_stage() -> Stage:
    """The twin, at noon."""
    time = [datetime(2026, 1, 1, 12, tzinfo=UTC)]

    async def pass_time(seconds: float) -> None:
        time[0] += timedelta(seconds=seconds)

    return Stage(MemoryStore(clock=lambda: time[0]), pass_time)


async def postgres_stage(database_url: str) -> tuple[Stage, PostgresStore]:
    """A Postgres store on an empty, migrated database; to be closed by the caller."""
    store = await PostgresStore.open(database_url)
    return Stage(store, asyncio.sleep), store


def saga_id() -> SagaId:
    """A fresh id; later ones are greater."""
    return SagaId(
        str(uuid.UUID(int=next(_numbers) << 80 | 7 << 76 | 2 << 62 | uuid.uuid4().int >> 66))
    )


def new_saga(
    now: datetime,
    *,
    partition: int = 0,
    key: str | None = None,
    wake_in_s: float = 30.0,
    tenant: str = "acme",
    definition: str = "book-trip",
    labels: Mapping[str, str] | None = None,
    status: SagaStatus = SagaStatus.RUNNING,
    state: Json = None,
) -> SagaWrite:
    """A saga as its start writes it: one journal row, seq 1."""
    identity = Identity(
        saga_id=saga_id(),
        tenant=tenant,
        definition=definition,
        version=1,
        key=key or uuid.uuid4().hex,
        partition=partition,
    )
    return SagaWrite(
        identity=identity,
        loaded_seq=0,
        seq=1,
        status=status,
        state=state or {"steps": {"flight": "running"}},
        wake_at=now + timedelta(seconds=wake_in_s),
        residue=0,
        rows=(row(1, now, data={"input": {"to": "Łódź"}}),),
        start=StartKey(tenant=tenant, definition=definition, key=identity.key),
        input_digest="d1",
        labels=labels or {},
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )


def row(seq: int, at: datetime, *, kind: str = "step.succeeded", data: Json = None) -> JournalRow:
    """A journal row of step `flight`."""
    return JournalRow(
        seq=seq, at=at, kind=kind, step=StepPath("flight"), attempt=1, data=data or {}
    )


def moved(
    write: SagaWrite,
    now: datetime,
    *,
    rows: int = 1,
    wake_in_s: float | None = 60.0,
    status: SagaStatus = SagaStatus.RUNNING,
    data: Json = None,
) -> SagaWrite:
    """The next decision about a saga, made at the seq that `write` left it at."""
    seq = write.seq + rows
    return replace(
        write,
        loaded_seq=write.seq,
        seq=seq,
        status=status,
        state={"steps": {"flight": status.value}, "at": seq},
        wake_at=None if wake_in_s is None else now + timedelta(seconds=wake_in_s),
        rows=tuple(row(n, now, data=data) for n in range(write.seq + 1, seq + 1)),
        start=None,
        input_digest=None,
        labels={},
        trace_id=None,
        permits=NO_PERMITS,
    )


def batch(*sagas: SagaWrite, orchestrator: uuid.UUID, outbox: OutboxWrite | None = None) -> Batch:
    """A batch of these sagas, sorted as the port asks."""
    return Batch(
        orchestrator=orchestrator,
        sagas=tuple(sorted(sagas, key=lambda s: s.identity.saga_id)),
        outbox=outbox,
    )


def messages(n: int = 1, body: bytes = b"\x00\xff messages") -> OutboxWrite:
    """An outbox row."""
    return OutboxWrite(id=uuid.uuid4(), n=n, body=body)


async def started(stage: Stage, *, partition: int = 0, wake_in_s: float = 30.0) -> SagaWrite:
    """A committed saga."""
    write = new_saga(await stage.now(), partition=partition, wake_in_s=wake_in_s)
    await stage.store.commit(batch(write, orchestrator=ME))
    return write


async def stored(stage: Stage, write: SagaWrite) -> StoredSaga:
    """The saga as it is in the store."""
    loaded = await stage.store.load([write.identity.saga_id], [])
    return loaded.sagas[write.identity.saga_id]
