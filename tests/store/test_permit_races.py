"""Many grant at once: no place is given twice, and none is forgotten."""

import asyncio
import uuid
from collections import Counter
from dataclasses import replace

from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.decision import Ask
from amends_orchestrator.engine.ports import PermitWrites, SagaWrite
from amends_orchestrator.store import PostgresStore
from conformance.stores import ME, batch, moved, new_saga

GRANTERS = 4
SAGAS = 60
PLACES = 3
ROOM = StepPath("room")


async def asking(store: PostgresStore, number: int) -> SagaWrite:
    """A saga that asks for one of three places of one of two keys."""
    now = (await store.load([], [])).now
    ask = Ask(
        path=ROOM,
        ask=1,
        pool="hotels",
        key=f"k{number % 2}",
        since=now,
        concurrency=PLACES,
        total=4,
    )
    write = replace(new_saga(now), permits=PermitWrites(asked=(ask,)))
    await store.commit(batch(write, orchestrator=ME))
    return write


async def test_of_many_granters_each_place_is_given_once(store: PostgresStore) -> None:
    """Four look at the same queues while places come back; everybody is served once."""
    sagas = {s.identity.saga_id: s for s in [await asking(store, n) for n in range(SAGAS)]}
    keys = {saga_id: n % 2 for n, saga_id in enumerate(sagas)}
    at_work: Counter[int] = Counter()
    served: list[SagaId] = []
    most = busy = 0

    async def work(saga_id: SagaId) -> None:
        nonlocal most
        served.append(saga_id)
        at_work[keys[saga_id]] += 1
        most = max(most, at_work.total())
        assert max(at_work.values()) <= PLACES
        saga, now = sagas[saga_id], (await store.load([], [])).now
        held = replace(moved(saga, now), permits=PermitWrites(taken=((ROOM, 1),)))
        await store.commit(batch(held, orchestrator=uuid.uuid4()))
        await asyncio.sleep(0.002)
        at_work[keys[saga_id]] -= 1
        done = replace(moved(held, now), permits=PermitWrites(returned=((ROOM, 1),)))
        await store.commit(batch(done, orchestrator=uuid.uuid4()))

    async def granter() -> None:
        nonlocal busy
        while len(served) < SAGAS:
            found = await store.grant(None, lanes=10, limit=10, unheard_s=60)
            busy += found.busy
            await asyncio.gather(*(work(grant.saga_id) for grant in found.granted))
            await asyncio.sleep(0.001)

    async with asyncio.timeout(60):
        await asyncio.gather(*(granter() for _ in range(GRANTERS)))
    assert Counter(served) == Counter(dict.fromkeys(sagas, 1))
    assert most == 4
    assert busy > 0, "the granters never met: the test shows nothing"
