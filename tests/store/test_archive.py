"""Sagas that are over leave the database, and nothing that can still be needed does."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from amends_contracts.names import SagaId, undo_start_key
from amends_migrations.urls import plain_url
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.engine.ports import OutboxWrite, SagaWrite
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.archive import (
    Connection,
    Over,
    Wanted,
    archive_batch,
    forget_keys,
)
from conformance.stores import ME, batch, moved, new_saga, row

START = UUID(int=0)
COMPLETED = SagaStatus.COMPLETED
REVIEWED = """
INSERT INTO amends.review (saga_id, seq, requested_at, decided_at, version, shown_seq, quorum,
    tenant, definition, key, step, title, status, digest, assignees, approved_by)
VALUES ($1, 2, $2, $2, 1, 2, 1,
    'acme', 'book-trip', 'k', 'pay', 'Pay?', 'approved', 'd', '{}', '{}')
"""


@pytest.fixture
async def connection(
    store: PostgresStore, migrated_database_url: str
) -> AsyncGenerator[Connection]:
    """One of the archive's own."""
    opened = await asyncpg.connect(plain_url(migrated_database_url))
    yield opened
    await opened.close()


async def over(store: PostgresStore, began: SagaWrite, now: datetime) -> SagaWrite:
    """Commit a saga and its end."""
    ended = moved(began, now, wake_in_s=None, status=COMPLETED)
    await store.commit(batch(began, orchestrator=ME))
    await store.commit(batch(ended, orchestrator=ME))
    return ended


def started(now: datetime, *, asked_by: SagaId | None = None, **more: object) -> SagaWrite:
    """A new saga, perhaps of a step of another."""
    new = new_saga(now, **more)  # type: ignore[arg-type]
    data = {"asked": {"saga_id": asked_by}} if asked_by else {}
    return replace(new, rows=(row(1, now, kind="saga.started", data=data),))


def all_that_ended(now: datetime, **more: object) -> Wanted:
    """What ended up to a minute from now."""
    later = now + timedelta(minutes=1)
    until = UUID(int=(1 << 128) - 1)
    return Wanted(ended_before=later, until=until, **more)  # type: ignore[arg-type]


async def archived(connection: Connection, wanted: Wanted) -> list[SagaId]:
    """One pass: what went, in order."""
    gone: list[SagaId] = []

    def keep(sagas: Sequence[Over]) -> OutboxWrite | None:
        gone.extend(saga.saga_id for saga in sagas)
        return None

    after: UUID | None = START
    while after is not None:
        after = (await archive_batch(connection, wanted, after, keep)).last
    return gone


async def test_a_saga_goes_with_its_journal_and_labels_and_leaves_its_key(
    store: PostgresStore, connection: Connection
) -> None:
    """Whoever repeats its start late is told that it was accepted."""
    now = (await store.load([], [])).now
    saga = started(now, labels={"a": "1"})
    await over(store, saga, now)
    await connection.execute(REVIEWED, UUID(saga.identity.saga_id), now)
    kept: list[Over] = []
    outbox = OutboxWrite(id=uuid4(), n=1, body=b"told")

    def keep(sagas: Sequence[Over]) -> OutboxWrite:
        kept.extend(sagas)
        return outbox

    done = await archive_batch(connection, all_that_ended(now), START, keep)
    assert (done.sagas, done.rows) == (1, 2)
    [it] = kept
    assert it.columns["key"] == saga.identity.key
    assert it.columns["labels"] == {"a": "1"}
    assert [r.seq for r in it.rows] == [1, 2]
    for table in ("saga", "journal", "saga_label", "review"):
        assert await connection.fetchval(f"SELECT count(*) FROM amends.{table}") == 0
    assert saga.start is not None
    [key] = (await store.load([], [saga.start])).starts.values()
    assert key.saga_id == saga.identity.saga_id
    me = uuid4()
    await store.tick(me, lease_s=30.0, claim=False, limit=1)
    assert [(r.id, r.body) for r in await store.claim_outbox(me, 8)] == [(outbox.id, b"told")]


async def test_what_is_not_over_or_ended_just_now_stays(
    store: PostgresStore, connection: Connection
) -> None:
    """By the time of its end, not of its start."""
    now = (await store.load([], [])).now
    await store.commit(batch(started(now), orchestrator=ME))
    young = await over(store, started(now), now)
    early = replace(all_that_ended(now), ended_before=now - timedelta(seconds=1))
    assert await archived(connection, early) == []
    assert await archived(connection, all_that_ended(now)) == [young.identity.saga_id]


async def test_a_child_goes_after_the_saga_that_started_it(
    store: PostgresStore, connection: Connection
) -> None:
    """As long as that is here, its undo may take the child back."""
    now = (await store.load([], [])).now
    parent = started(now)
    await store.commit(batch(parent, orchestrator=ME))
    child = await over(store, started(now, asked_by=parent.identity.saga_id), now)
    assert await archived(connection, all_that_ended(now)) == []
    await store.commit(batch(moved(parent, now, wake_in_s=None, status=COMPLETED), orchestrator=ME))
    assert await archived(connection, all_that_ended(now)) == [
        parent.identity.saga_id,
        child.identity.saga_id,
    ]


async def test_a_child_that_another_asked_for_too_goes_after_that(
    store: PostgresStore, connection: Connection
) -> None:
    """Its key may be given by the plan: then several sagas may have it taken back."""
    now = (await store.load([], [])).now
    later = started(now)
    await store.commit(batch(later, orchestrator=ME))
    child = started(now)
    await store.commit(batch(child, orchestrator=ME))
    asked = moved(child, now, wake_in_s=None, status=COMPLETED)
    data = {"asker": {"saga_id": later.identity.saga_id}}
    asked = replace(asked, rows=(row(2, now, kind="saga.asked", data=data),))
    await store.commit(batch(asked, orchestrator=ME))
    assert await archived(connection, all_that_ended(now)) == []


async def test_an_undo_goes_after_what_it_undid(
    store: PostgresStore, connection: Connection
) -> None:
    """As long as that is here, nobody shall begin to undo it once more."""
    now = (await store.load([], [])).now
    parent = started(now)
    await store.commit(batch(parent, orchestrator=ME))
    original = await over(store, started(now, asked_by=parent.identity.saga_id), now)
    undo = started(now, key=undo_start_key(original.identity.saga_id))
    data = {"undoes": original.identity.saga_id}
    undo = replace(undo, rows=(row(1, now, kind="saga.started", data=data),))
    await over(store, undo, now)
    assert await archived(connection, all_that_ended(now)) == []


async def test_a_saga_that_is_being_undone_stays_until_that_is_over(
    store: PostgresStore, connection: Connection
) -> None:
    """Both are needed to tell what became of it."""
    now = (await store.load([], [])).now
    original = await over(store, started(now), now)
    undo = started(now, key=undo_start_key(original.identity.saga_id))
    await store.commit(batch(undo, orchestrator=ME))
    assert await archived(connection, all_that_ended(now)) == []
    end = moved(undo, now, wake_in_s=None, status=SagaStatus.COMPENSATED)
    await store.commit(batch(end, orchestrator=ME))
    assert len(await archived(connection, all_that_ended(now))) == 2


async def test_what_cannot_be_kept_is_not_deleted(
    store: PostgresStore, connection: Connection
) -> None:
    """A full disk loses nothing."""
    now = (await store.load([], [])).now
    await over(store, started(now), now)

    def keep(sagas: Sequence[Over]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await archive_batch(connection, all_that_ended(now), START, keep)
    assert await connection.fetchval("SELECT count(*) FROM amends.saga") == 1


async def test_batches_are_bounded_by_sagas_and_by_rows(
    store: PostgresStore, connection: Connection
) -> None:
    """One saga goes whole, however long it is."""
    now = (await store.load([], [])).now
    ended = [await over(store, started(now), now) for _ in range(3)]
    sizes: list[int] = []

    def keep(sagas: Sequence[Over]) -> None:
        sizes.append(len(sagas))

    wanted = all_that_ended(now, sagas_max=2, rows_max=1)
    first = await archive_batch(connection, wanted, START, keep)
    await archive_batch(connection, all_that_ended(now, sagas_max=2), START, keep)
    assert sizes == [1, 2]
    assert first.last == UUID(ended[0].identity.saga_id)


async def test_only_those_of_a_definition_or_tenant(
    store: PostgresStore, connection: Connection
) -> None:
    """As asked for."""
    now = (await store.load([], [])).now
    other = await over(store, started(now, definition="refund"), now)
    mine = await over(store, started(now, tenant="t1"), now)
    found = await archived(connection, all_that_ended(now, definition="refund"))
    assert found == [other.identity.saga_id]
    found = await archived(connection, all_that_ended(now, tenant="t1"))
    assert found == [mine.identity.saga_id]


async def test_start_keys_go_thirty_days_after_their_sagas(
    store: PostgresStore, connection: Connection
) -> None:
    """Not those whose sagas are here, nor those archived yesterday."""
    now = (await store.load([], [])).now
    await store.commit(batch(started(now), orchestrator=ME))
    for _ in range(2):
        await over(store, started(now), now)
    assert len(await archived(connection, all_that_ended(now))) == 2
    old = "UPDATE amends.start_key SET archived_at = archived_at - interval '31 days'"
    one = "(SELECT key FROM amends.start_key WHERE archived_at IS NOT NULL LIMIT 1)"
    await connection.execute(f"{old} WHERE key = {one}")
    assert await forget_keys(connection) == 1
    assert await connection.fetchval("SELECT count(*) FROM amends.start_key") == 2
