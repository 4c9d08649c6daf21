"""The database goes away, freezes, or loses an answer: said in time, and mended by itself."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

import asyncpg
import pytest

from amends_migrations import upgrade
from amends_orchestrator.engine.ports import BadData, Conflict, StoreUnavailable
from amends_orchestrator.local import servers
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.database import sorted_error
from amends_orchestrator.store.queries import parse
from conformance.stores import ME, OTHER, batch, messages, moved, new_saga

TIMEOUT_S = 1.0
BACKEND_PID = parse("-- name: backend_pid\nSELECT pg_backend_pid() AS pid")["backend_pid"]
SLACK_S = 4.0
"""Over the deadline, on a loaded machine."""


@pytest.fixture
async def own_store(own_postgres: servers.Server) -> AsyncGenerator[PostgresStore]:
    """A store with a short deadline and one connection on a server of its own."""
    await asyncio.to_thread(upgrade, own_postgres.url)
    store = await PostgresStore.open(own_postgres.url, query_timeout_s=TIMEOUT_S, pool_size=1)
    yield store
    await store.close()


async def backend_pid(store: PostgresStore) -> int:
    """The server process that the store's next call will meet."""
    row = await store.database.row(BACKEND_PID)  # the connection that it keeps
    assert row is not None
    return row["pid"]


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """A server process that lives, keeps its connection, and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 15.0) -> None:
    """Ask until it is so; an outage meanwhile is an answer to wait on."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                if await holds():
                    return
            except StoreUnavailable:
                pass
            await asyncio.sleep(0.05)


async def works(store: PostgresStore) -> bool:
    """Whether a whole commit goes through now."""
    now = (await store.load([], [])).now
    await store.commit(batch(new_saga(now), orchestrator=ME, outbox=messages()))
    return True


async def test_a_frozen_backend_is_left_behind(own_store: PostgresStore) -> None:
    """After the deadline the call fails, and the next one has a new connection."""
    pid = await backend_pid(own_store)
    with frozen(pid):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await own_store.load([], [])
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S
        assert await works(own_store)
        assert await backend_pid(own_store) != pid


async def test_a_store_closes_beside_a_frozen_server(own_postgres: servers.Server) -> None:
    """Stopping waits for no goodbye of a server that says nothing."""
    await asyncio.to_thread(upgrade, own_postgres.url)
    store = await PostgresStore.open(own_postgres.url, query_timeout_s=TIMEOUT_S)
    with frozen(await backend_pid(store)):
        async with asyncio.timeout(2 + SLACK_S):
            await store.close()


async def test_a_restarted_database_is_found_again(
    own_store: PostgresStore, own_postgres: servers.Server
) -> None:
    """While it is away calls fail at once; afterwards they work without any help."""
    assert await works(own_store)
    await asyncio.to_thread(own_postgres.kill)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await own_store.load([], [])
    assert time.monotonic() - began < TIMEOUT_S
    await asyncio.to_thread(own_postgres.restart)
    await eventually(lambda: works(own_store))


async def test_nothing_committed_is_lost_by_a_kill(
    own_store: PostgresStore, own_postgres: servers.Server
) -> None:
    """The server is killed under load: what was answered is there, the rest can be asked for."""
    now = (await own_store.load([], [])).now
    batches = [batch(new_saga(now), orchestrator=ME, outbox=messages()) for _ in range(400)]

    async def commit_all() -> int:
        for number, one in enumerate(batches):
            try:
                await own_store.commit(one)
            except StoreUnavailable:
                return number
        return len(batches)

    committing = asyncio.create_task(commit_all())
    await asyncio.sleep(0.15)
    await asyncio.to_thread(own_postgres.kill)
    in_doubt = await committing
    assert in_doubt < len(batches), "the server was killed too late"
    await asyncio.to_thread(own_postgres.restart)
    await eventually(lambda: works(own_store))
    there = [await own_store.committed_batch(one) for one in batches]
    assert there[:in_doubt] == [True] * in_doubt
    assert there[in_doubt + 1 :] == [False] * (len(batches) - in_doubt - 1)
    if there[in_doubt]:
        with pytest.raises(Conflict):
            await own_store.commit(batches[in_doubt])
    else:
        await own_store.commit(batches[in_doubt])
    loaded = await own_store.load([batches[in_doubt].sagas[0].identity.saga_id], [])
    assert [s.seq for s in loaded.sagas.values()] == [1]


async def test_a_commit_without_an_answer_can_come_through(
    own_store: PostgresStore, own_postgres: servers.Server
) -> None:
    """Its outbox row tells; and it is found as a stray by the writer that had given it up."""
    now = (await own_store.load([], [])).now
    doubtful = batch(new_saga(now), orchestrator=ME, outbox=messages(body=b"lost answer"))
    assert doubtful.outbox is not None
    admin = await asyncpg.connect(own_postgres.url)
    try:
        # The commit is durable here, and then waits for a standby that never comes.
        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await admin.execute("SELECT pg_reload_conf()")
        await eventually(lambda: waits(own_postgres.url))
        with pytest.raises(StoreUnavailable):
            await own_store.commit(doubtful)
        await admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await admin.execute("SELECT pg_reload_conf()")
    finally:
        await admin.close()
    await eventually(lambda: own_store.committed_batch(doubtful))
    assert await own_store.stray_outbox(ME, []) == [doubtful.outbox]
    with pytest.raises(Conflict):
        await own_store.commit(doubtful)


async def waits(url: str) -> bool:
    """Whether commits wait for a standby by now: several processes of the server learn of it."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(0.5):
            await connection.execute("CREATE TABLE probe (); DROP TABLE probe")
    except TimeoutError:
        return True
    finally:
        connection.terminate()
    return False


async def test_a_frozen_writer_that_wakes_is_fenced(own_store: PostgresStore) -> None:
    """It was given up and its saga went on without it: nothing of its batch appears."""
    now = (await own_store.load([], [])).now
    saga = new_saga(now)
    await own_store.commit(batch(saga, orchestrator=ME))
    late = batch(moved(saga, now), orchestrator=ME, outbox=messages(body=b"late"))
    with frozen(await backend_pid(own_store)):
        with pytest.raises(StoreUnavailable):
            await own_store.commit(late)
        assert not await own_store.committed_batch(late)
        winner = replace(late, outbox=messages(body=b"in time"), orchestrator=OTHER)
        await own_store.commit(winner)
    await asyncio.sleep(0.5)  # the thawed process does what it still can
    assert await own_store.stray_outbox(ME, []) == []
    assert await own_store.stray_outbox(OTHER, []) == [winner.outbox]
    loaded = await own_store.load([saga.identity.saga_id], [])
    assert [s.seq for s in loaded.sagas.values()] == [2]


async def test_waiting_for_a_lock_ends(
    own_store: PostgresStore, own_postgres: servers.Server
) -> None:
    """A row held by somebody else's open transaction delays one call, not the service."""
    now = (await own_store.load([], [])).now
    saga = new_saga(now)
    await own_store.commit(batch(saga, orchestrator=ME))
    other = await asyncpg.connect(own_postgres.url)
    try:
        async with other.transaction():
            await other.execute("SELECT 1 FROM amends.saga FOR UPDATE")
            with pytest.raises(StoreUnavailable):
                await own_store.commit(batch(moved(saga, now), orchestrator=ME))
            assert await works(own_store)
    finally:
        await other.close()
    await own_store.commit(batch(moved(saga, now), orchestrator=ME))


async def test_a_cancelled_call_gives_its_connection_back(
    own_store: PostgresStore, own_postgres: servers.Server
) -> None:
    """The task that waited for the answer is gone; the pool is whole."""
    now = (await own_store.load([], [])).now
    saga = new_saga(now)
    await own_store.commit(batch(saga, orchestrator=ME))
    other = await asyncpg.connect(own_postgres.url)
    try:
        async with other.transaction():
            await other.execute("SELECT 1 FROM amends.saga FOR UPDATE")
            for _ in range(5):
                call = asyncio.create_task(
                    own_store.commit(batch(moved(saga, now), orchestrator=ME))
                )
                await asyncio.sleep(0.05)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
    finally:
        await other.close()
    assert await works(own_store)


async def test_no_transaction_is_left_open(own_store: PostgresStore) -> None:
    """After any kind of call the session is idle, outside of a transaction."""
    now = (await own_store.load([], [])).now
    saga = new_saga(now)
    await own_store.commit(batch(saga, orchestrator=ME))
    with pytest.raises(Conflict):
        await own_store.commit(batch(saga, orchestrator=ME))
    await own_store.tick(ME, lease_s=3, claim=True, limit=1)
    async with own_store.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        assert not driver.is_in_transaction()
        states = await driver.fetch(
            "SELECT state FROM pg_stat_activity"
            " WHERE application_name = 'amends' AND pid <> pg_backend_pid()"
        )
    assert {row["state"] for row in states} <= {"idle"}


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("SG001", Conflict),
        ("40001", Conflict),
        ("40P01", Conflict),
        ("22P02", BadData),
        ("23514", BadData),
        ("54000", BadData),
        ("57014", StoreUnavailable),
        ("57P01", StoreUnavailable),
        ("53300", StoreUnavailable),
        ("25006", StoreUnavailable),
        ("08006", StoreUnavailable),
        ("55P03", StoreUnavailable),
        ("XX000", StoreUnavailable),
    ],
)
def test_errors_are_told_by_their_sqlstate(sqlstate: str, expected: type[Exception]) -> None:
    """The text says nothing to us: it is translated on some servers."""
    error = asyncpg.PostgresError("Fehler")
    vars(error)["sqlstate"] = sqlstate
    assert type(sorted_error("commit_batch", error)) is expected


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_only_a_commit_loses_races(sqlstate: str) -> None:
    """What deadlocked beside it (a tick, a settlement) is asked again and ends no loop."""
    error = asyncpg.PostgresError("deadlock detected")
    vars(error)["sqlstate"] = sqlstate
    assert type(sorted_error("tick", error)) is StoreUnavailable


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("saga_pkey", Conflict),
        ("start_key_pkey", Conflict),
        ("outbox_pkey", Conflict),
        ("journal_pkey", BadData),
        ("saga_label_pkey", BadData),
    ],
)
def test_a_lost_race_is_told_by_its_constraint(constraint: str, expected: type[Exception]) -> None:
    """A double journal row behind a fence that held is a wrong decision, and no race."""
    error = asyncpg.UniqueViolationError("duplicate key")
    error.constraint_name = constraint
    assert type(sorted_error("commit_batch", error)) is expected
