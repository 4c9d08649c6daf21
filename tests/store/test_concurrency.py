"""Many writers at once: nothing lost, nothing twice, nothing half."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import text

from amends_contracts.names import SagaId
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.engine.ports import Conflict, OutboxWrite, SagaWrite, StoredSaga
from amends_orchestrator.store import PostgresStore
from conformance.stores import ME, OTHER, THIRD, batch, messages, moved, new_saga

WRITERS = 4
ROUNDS = 25


async def scalar(store: PostgresStore, query: str) -> int:
    """One number from the database."""
    async with store.engine.connect() as connection:
        return await connection.scalar(text(query)) or 0


def next_write(saga: StoredSaga, write: SagaWrite, rng: random.Random) -> SagaWrite:
    """A decision made about the saga as it was just loaded."""
    at_seq = replace(write, seq=saga.seq)
    assert saga.wake_at is not None
    return moved(at_seq, saga.wake_at, rows=rng.randint(1, 3))


async def test_of_concurrent_committers_each_seq_has_one(store: PostgresStore) -> None:
    """Four writers believe they own the same sagas; the journal has no gap and no double."""
    now = (await store.load([], [])).now
    writes = {s.identity.saga_id: s for s in (new_saga(now) for _ in range(12))}
    await store.commit(batch(*writes.values(), orchestrator=ME))
    won: Counter[int] = Counter()
    lost: Counter[int] = Counter()
    rows_written = len(writes)

    async def writer(number: int) -> None:
        nonlocal rows_written
        rng = random.Random(number)
        for _ in range(ROUNDS):
            some: Sequence[SagaId] = rng.sample(list(writes), 4)
            loaded = await store.load(some, [])
            decided = [next_write(s, writes[i], rng) for i, s in loaded.sagas.items()]
            try:
                await store.commit(
                    batch(*decided, orchestrator=uuid.UUID(int=number), outbox=messages())
                )
            except Conflict:
                lost[number] += 1
            else:
                won[number] += 1
                rows_written += sum(len(d.rows) for d in decided)

    await asyncio.gather(*(writer(n) for n in range(1, WRITERS + 1)))
    assert won.total() + lost.total() == WRITERS * ROUNDS
    assert lost.total() > 0, "the writers never met: the test shows nothing"
    assert await scalar(store, "SELECT count(*) FROM amends.journal") == rows_written
    assert await scalar(store, "SELECT count(*) FROM amends.outbox") == won.total()
    gaps = """SELECT count(*) FROM amends.saga s WHERE s.seq <> (
        SELECT count(*) FROM amends.journal j WHERE j.saga_id = s.id)"""
    assert await scalar(store, gaps) == 0


async def test_of_concurrent_starts_with_one_key_one_is_made(store: PostgresStore) -> None:
    """The others conflict, and leave neither saga, journal nor messages."""
    now = (await store.load([], [])).now

    async def start(number: int) -> bool:
        write = new_saga(now, key="order-17")
        try:
            await store.commit(batch(write, orchestrator=uuid.UUID(int=number), outbox=messages()))
        except Conflict:
            return False
        return True

    made = await asyncio.gather(*(start(n) for n in range(8)))
    assert sum(made) == 1
    for table in ("saga", "start_key", "journal", "outbox"):
        assert await scalar(store, f"SELECT count(*) FROM amends.{table}") == 1, table


async def test_every_outbox_row_is_published_by_somebody(store: PostgresStore) -> None:
    """Rows written while others claim are all found; a cursor over ids would skip some."""
    taken: list[uuid.UUID] = []
    written: list[uuid.UUID] = []
    now = (await store.load([], [])).now
    done = asyncio.Event()

    async def write(dead: uuid.UUID) -> None:
        for _ in range(ROUNDS):
            row = OutboxWrite(id=uuid.uuid4(), n=1, body=b"m")
            await store.commit(batch(new_saga(now), orchestrator=dead, outbox=row))
            written.append(row.id)

    async def claim(alive: uuid.UUID) -> None:
        await store.tick(alive, lease_s=60, claim=True, limit=1)
        while True:
            last_round = done.is_set()
            rows = await store.claim_outbox(alive, 5)
            taken.extend(r.id for r in rows)
            await store.settle_outbox(alive, [r.id for r in rows], [])
            if last_round and not rows:
                return

    async def all_writers() -> None:
        await asyncio.gather(*(write(uuid.UUID(int=n)) for n in (100, 101, 102)))
        done.set()

    await asyncio.gather(all_writers(), claim(ME), claim(OTHER), claim(THIRD))
    assert Counter(taken) == Counter(written)


async def test_claimants_at_the_same_moment_share(store: PostgresStore) -> None:
    """No partition is handed to two, and all are handed out."""
    for orchestrator in (ME, OTHER, THIRD):
        await store.tick(orchestrator, lease_s=60, claim=True, limit=1)
    for orchestrator in (ME, OTHER, THIRD):
        await store.release(orchestrator, range(16))
    ticks = await asyncio.gather(
        *(store.tick(o, lease_s=60, claim=True, limit=1) for o in (ME, OTHER, THIRD))
    )
    owned = [p for t in ticks for p in t.owned]
    assert len(owned) == len(set(owned))
    assert max(len(t.owned) for t in ticks) <= 6
    for orchestrator in (ME, OTHER, THIRD):
        await store.tick(orchestrator, lease_s=60, claim=True, limit=1)
    free = "SELECT count(*) FROM amends.partition WHERE owner IS NULL"
    assert await scalar(store, free) == 0


async def test_ended_and_moving_sagas_meet(store: PostgresStore) -> None:
    """An end and a step at the same seq: one of them is refused."""
    now = (await store.load([], [])).now
    saga = new_saga(now)
    await store.commit(batch(saga, orchestrator=ME))
    answers = await asyncio.gather(
        store.commit(batch(moved(saga, now, status=SagaStatus.COMPLETED), orchestrator=ME)),
        store.commit(batch(moved(saga, now), orchestrator=OTHER)),
        return_exceptions=True,
    )
    assert [type(a) for a in answers if a is not None] == [Conflict]
