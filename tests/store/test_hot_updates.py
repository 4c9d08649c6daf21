"""Steps stay on their page: an update per step must not cost an entry in every index."""

import asyncio

from sqlalchemy import text

from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.store import PostgresStore
from conformance.stores import ME, batch, moved, new_saga

SAGAS = 200
STEPS = 8


async def updates(store: PostgresStore, least: int) -> tuple[int, int]:
    """Updates of `saga` so far, all and HOT, once the server has counted at least `least`."""
    query = text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE schemaname = 'amends' AND relname = 'saga'"
    )
    async with asyncio.timeout(20):
        while True:
            async with store.engine.connect() as connection:
                every, hot = (await connection.execute(query)).one()
            if every >= least:
                return every, hot
            await asyncio.sleep(0.2)  # sessions report once a second


async def test_steps_are_hot_updates(store: PostgresStore) -> None:
    """Of the updates that leave the status as it is, nearly all touch no index."""
    now = (await store.load([], [])).now
    sagas = [new_saga(now, state={"steps": {"flight": "x" * 200}}) for _ in range(SAGAS)]
    await store.commit(batch(*sagas, orchestrator=ME))
    for step in range(STEPS):
        # The next deadline lies further ahead, as it does when a step follows another.
        sagas = [moved(s, now, wake_in_s=60 + step, data={"output": step}) for s in sagas]
        await store.commit(batch(*sagas, orchestrator=ME))
    every, hot = await updates(store, SAGAS * STEPS)
    assert every == SAGAS * STEPS
    assert hot >= 0.95 * every


async def test_a_change_of_status_is_not_hot_and_rare(store: PostgresStore) -> None:
    """Lists by status cost an index entry when a saga ends or turns back, and only then."""
    now = (await store.load([], [])).now
    sagas = [new_saga(now) for _ in range(20)]
    await store.commit(batch(*sagas, orchestrator=ME))
    for status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATING, SagaStatus.COMPENSATED):
        sagas = [moved(s, now, status=status) for s in sagas]
        await store.commit(batch(*sagas, orchestrator=ME))
    every, hot = await updates(store, 60)
    assert (every, hot) == (60, 20)


async def test_large_bodies_lie_outside_the_row(store: PostgresStore) -> None:
    """The outbox is not compressed, and sagas keep room for their next version."""
    query = text(
        "SELECT (SELECT attstorage::text FROM pg_attribute"
        "  WHERE attrelid = 'amends.outbox'::regclass AND attname = 'body'),"
        " (SELECT reloptions @> '{fillfactor=60}' FROM pg_class"
        "  WHERE oid = 'amends.saga'::regclass)"
    )
    async with store.engine.connect() as connection:
        assert tuple((await connection.execute(query)).one()) == ("e", True)
