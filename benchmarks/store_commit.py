"""What a batch costs the database: transitions per second of the commit statement, one at a time.

Real Postgres with fsync, 256 transitions per batch, each one saga row and one journal row, with one
outbox row of the batch's messages written and the previous one settled. Three tables: 1,000 sagas;
100,000 sagas of which 1,000 move (the others wait); 100,000 sagas that all move.
"""

import asyncio
import random
import statistics
import time
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from amends_contracts.names import SagaId, StepPath
from amends_migrations import upgrade
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.engine.ports import Batch, OutboxWrite, SagaWrite, StartKey
from amends_orchestrator.local import postgres
from amends_orchestrator.store import PostgresStore

BATCH: Final = 256
FEW, MANY = 1_000, 100_000
BODY: Final = random.Random(1).randbytes(BATCH * 600)
STATE: Final = {
    "steps": {f"step-{n}": {"status": "succeeded", "attempt": 1, "seq": n} for n in range(6)}
}
DATA: Final = {"output": {"code": "A" * 40, "usd": 120.5, "seats": list(range(12))}}
ORCHESTRATOR: Final = uuid.UUID(int=1)


def run(seconds: float) -> dict[str, Any]:
    """All three tables; `ratio` is the speed at 100,000 sagas over that at 1,000."""
    return asyncio.run(_run(seconds))


async def _run(seconds: float) -> dict[str, Any]:
    few = await _measure(stored=FEW, moving=FEW, seconds=seconds)
    many = await _measure(stored=MANY, moving=FEW, seconds=seconds)
    spread = await _measure(stored=MANY, moving=MANY, seconds=seconds)
    speeds = [r["transitions_per_s"] for r in (few, many, spread)]
    return {
        "batch": BATCH,
        "tables": [few, many, spread],
        "ratio": round(speeds[1] / speeds[0], 2),
        "ratio_all_moving": round(speeds[2] / speeds[0], 2),
    }


async def _measure(*, stored: int, moving: int, seconds: float) -> dict[str, Any]:
    server = await asyncio.to_thread(postgres.start)
    try:
        await asyncio.to_thread(upgrade, server.url)
        store = await PostgresStore.open(server.url, query_timeout_s=30)
        try:
            sagas = await _fill(store, stored, moving)
            return {"stored": stored, "moving": moving, **await _commit(store, sagas, seconds)}
        finally:
            await store.close()
    finally:
        await asyncio.to_thread(server.stop)


async def _fill(store: PostgresStore, stored: int, moving: int) -> list[SagaWrite]:
    """Start the sagas; the last `moving` of them are those that go on."""
    now = (await store.load([], [])).now
    kept: list[SagaWrite] = []
    for first in range(0, stored, BATCH):
        started = [_new(n, now) for n in range(first, min(first + BATCH, stored))]
        await store.commit(Batch(orchestrator=ORCHESTRATOR, sagas=tuple(started)))
        kept += started
    return kept[-moving:]


async def _commit(store: PostgresStore, sagas: list[SagaWrite], seconds: float) -> dict[str, Any]:
    rng = random.Random(7)
    now = (await store.load([], [])).now
    settled: tuple[uuid.UUID, ...] = ()
    took: list[float] = []
    client = 0.0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        chosen = sorted(rng.sample(range(len(sagas)), BATCH))
        for n in chosen:
            sagas[n] = _moved(sagas[n], now)
        outbox = OutboxWrite(id=uuid.uuid4(), n=BATCH, body=BODY)
        batch = Batch(
            orchestrator=ORCHESTRATOR,
            sagas=tuple(sagas[n] for n in chosen),
            outbox=outbox,
            outbox_settled=settled,
        )
        before, before_cpu = time.perf_counter(), time.process_time()
        await store.commit(batch)
        client += time.process_time() - before_cpu
        took.append(time.perf_counter() - before)
        settled = (outbox.id,)
    return {
        "batches": len(took),
        "transitions_per_s": round(BATCH * len(took) / sum(took)),
        "batch_ms_p50": round(statistics.median(took) * 1000, 2),
        "batch_ms_p99": round(statistics.quantiles(took, n=100)[98] * 1000, 2),
        "client_us_per_transition": round(client / len(took) / BATCH * 1e6, 2),
    }


def _new(number: int, now: datetime) -> SagaWrite:
    milliseconds = int(now.timestamp() * 1000) + number // 100
    saga_id = uuid.UUID(int=milliseconds << 80 | 7 << 76 | (number % 4096) << 64 | 2 << 62 | number)
    identity = Identity(
        saga_id=SagaId(str(saga_id)),
        tenant="acme",
        definition="book-trip",
        version=1,
        key=f"order-{number}",
        partition=number % 16,
    )
    return SagaWrite(
        identity=identity,
        loaded_seq=0,
        seq=1,
        status=SagaStatus.RUNNING,
        state=STATE,
        wake_at=now + timedelta(hours=1),
        residue=0,
        rows=(_row(1, now),),
        start=StartKey(tenant="acme", definition="book-trip", key=identity.key),
        input_digest="0" * 64,
    )


def _moved(saga: SagaWrite, now: datetime) -> SagaWrite:
    return replace(
        saga,
        loaded_seq=saga.seq,
        seq=saga.seq + 1,
        wake_at=now + timedelta(hours=2),
        rows=(_row(saga.seq + 1, now),),
        start=None,
        input_digest=None,
    )


def _row(seq: int, now: datetime) -> JournalRow:
    return JournalRow(
        seq=seq, at=now, kind="step.succeeded", step=StepPath("flight"), attempt=1, data=DATA
    )
