"""What pages read: newest first, by keyset, and never across tenants."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from amends_contracts.messages import CommandInfo, Effect, Hello, Reversal
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.decision import Ask
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.engine.ports import CircuitWrite, PermitWrites, SagaWrite
from amends_orchestrator.store import PostgresStore, Reads
from amends_orchestrator.store.reads import (
    BadCursor,
    CircuitRow,
    OrchestratorRow,
    OutboxRow,
    PartitionRow,
    PoolRow,
    SagaRow,
)
from conformance.stores import ME, OTHER, batch, messages, moved, new_saga, saga_id


@pytest.fixture
def reads(store: PostgresStore) -> Reads:
    """Reads beside the store, on its pool."""
    return Reads(store.engine)


async def written(store: PostgresStore, *writes: SagaWrite) -> list[SagaId]:
    """Commit new sagas; their ids, newest first."""
    await store.commit(batch(*writes, orchestrator=ME))
    return [w.identity.saga_id for w in reversed(writes)]


async def now_of(store: PostgresStore) -> datetime:
    """The database's time."""
    return (await store.load([], [])).now


def ids(rows: list[SagaRow] | tuple[SagaRow, ...]) -> list[SagaId]:
    """Which sagas a page shows."""
    return [row.identity.saga_id for row in rows]


async def test_a_saga_is_shown_as_it_was_started(store: PostgresStore, reads: Reads) -> None:
    """With its state alone, in lists without."""
    now = await now_of(store)
    write = new_saga(now, labels={"traveller": "Ada"})
    await written(store, write)
    expected = SagaRow(
        identity=write.identity,
        seq=1,
        status=SagaStatus.RUNNING,
        residue=0,
        labels={"traveller": "Ada"},
        trace_id=write.trace_id,
        started_at=now,
        ended_at=None,
        wake_at=write.wake_at,
        state=write.state,
    )
    assert await reads.saga("acme", write.identity.saga_id) == expected
    assert await reads.by_key("acme", "book-trip", write.identity.key) == expected
    page = await reads.list_sagas("acme")
    assert (page.items, page.next) == ([replace(expected, state=None)], None)


async def test_an_ended_saga_says_when(store: PostgresStore, reads: Reads) -> None:
    """The end is the time of its last decision, and stays."""
    now = await now_of(store)
    write = new_saga(now)
    await written(store, write)
    end = moved(write, now + timedelta(seconds=3), status=SagaStatus.COMPLETED, wake_in_s=None)
    await store.commit(batch(end, orchestrator=ME))
    late = moved(end, now + timedelta(seconds=9), status=SagaStatus.COMPLETED, wake_in_s=None)
    await store.commit(batch(late, orchestrator=ME))
    row = await reads.saga("acme", write.identity.saga_id)
    assert row is not None
    assert (row.seq, row.wake_at, row.ended_at) == (3, None, now + timedelta(seconds=3))


async def test_nothing_of_one_tenant_is_shown_to_another(
    store: PostgresStore, reads: Reads
) -> None:
    """Not by id, key, label, list, journal, change or count."""
    write = new_saga(await now_of(store), tenant="acme", labels={"city": "Rome"})
    (found,) = await written(store, write)
    assert await reads.saga("other", found) is None
    assert await reads.by_key("other", "book-trip", write.identity.key) is None
    assert (await reads.list_sagas("other")).items == []
    assert (await reads.list_sagas("other", definition="book-trip")).items == []
    assert (await reads.list_sagas("other", labels={"city": "Rome"})).items == []
    assert await reads.journal("other", found) == []
    assert await reads.changed_since("other", {found: 0}) == []
    assert set((await reads.counts("other")).values()) == {0}


async def test_what_is_no_id_is_not_found(reads: Reads) -> None:
    """A path someone typed is no error of the database."""
    assert await reads.saga("acme", SagaId("not-a-uuid")) is None
    assert await reads.journal("acme", SagaId("42")) == []


async def test_pages_go_on_where_the_last_one_ended(store: PostgresStore, reads: Reads) -> None:
    """Newest first, nothing twice, also while new sagas come."""
    now = await now_of(store)
    expected = await written(store, *(new_saga(now) for _ in range(7)))
    seen: list[SagaId] = []
    cursor: str | None = None
    for _ in range(4):
        page = await reads.list_sagas("acme", cursor=cursor, limit=2)
        seen += ids(list(page.items))
        cursor = page.next
        await written(store, new_saga(now))
    assert seen == expected
    assert cursor is None


async def test_the_last_full_page_has_no_next(store: PostgresStore, reads: Reads) -> None:
    """A cursor is given only where it leads to something."""
    now = await now_of(store)
    await written(store, new_saga(now), new_saga(now))
    assert (await reads.list_sagas("acme", limit=2)).next is None
    assert (await reads.list_sagas("acme", limit=1)).next is not None


@pytest.mark.parametrize("cursor", ["", "x", "ä", "AAAA", "=" * 8])
async def test_a_cursor_nobody_gave_is_refused(reads: Reads, cursor: str) -> None:
    """It is the caller's mistake, and said as one."""
    with pytest.raises(BadCursor):
        await reads.list_sagas("acme", cursor=cursor)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"status": SagaStatus.RUNNING}, [0, 2]),
        ({"status": SagaStatus.STUCK}, [1]),
        ({"definition": "book-trip"}, [0, 1, 4]),
        ({"definition": "refund"}, [2, 3]),
        ({"definition": "refund", "status": SagaStatus.COMPLETED}, [3]),
        ({"labels": {"city": "Rome"}}, [0, 1, 3]),
        ({"labels": {"city": "Rome", "class": "first"}}, [0, 3]),
        ({"labels": {"class": "first", "city": "Rome"}, "definition": "refund"}, [3]),
        ({"labels": {"city": "Rome"}, "status": SagaStatus.STUCK}, [1]),
        ({"labels": {"city": "Oslo"}}, []),
        ({"definition": "none"}, []),
    ],
)
async def test_lists_are_filtered(
    store: PostgresStore, reads: Reads, wanted: Mapping[str, object], expected: list[int]
) -> None:
    """By status, definition, any number of labels, and all of them together."""
    now = await now_of(store)
    first = {"city": "Rome", "class": "first"}
    writes = [
        new_saga(now, labels=first),
        new_saga(now, labels={"city": "Rome"}, status=SagaStatus.STUCK),
        new_saga(now, definition="refund", labels={"class": "first"}),
        new_saga(now, definition="refund", labels=first, status=SagaStatus.COMPLETED),
        new_saga(now, status=SagaStatus.COMPENSATED),
    ]
    await written(store, *writes)
    page = await reads.list_sagas("acme", **wanted)  # pyright: ignore[reportArgumentType]
    assert ids(list(page.items)) == [writes[n].identity.saga_id for n in reversed(expected)]


async def test_a_live_page_asks_what_changed(store: PostgresStore, reads: Reads) -> None:
    """Only sagas that moved since they were shown come back; heads tell how far each is."""
    now = await now_of(store)
    still, busy = new_saga(now), new_saga(now)
    await written(store, still, busy)
    shown = {still.identity.saga_id: 1, busy.identity.saga_id: 1}
    assert await reads.changed_since("acme", shown) == []
    await store.commit(batch(moved(busy, now, status=SagaStatus.STUCK), orchestrator=ME))
    changed = await reads.changed_since("acme", shown)
    assert [(r.identity.saga_id, r.seq, r.status) for r in changed] == [
        (busy.identity.saga_id, 2, SagaStatus.STUCK)
    ]
    assert await reads.heads([*shown, saga_id()]) == {
        still.identity.saga_id: (1, SagaStatus.RUNNING),
        busy.identity.saga_id: (2, SagaStatus.STUCK),
    }


async def test_a_journal_is_read_in_stretches(store: PostgresStore, reads: Reads) -> None:
    """In order, after a row, up to a row, at most so many."""
    now = await now_of(store)
    write = new_saga(now)
    (found,) = await written(store, write)
    step = moved(write, now, rows=4, data={"n": 1})
    await store.commit(batch(step, orchestrator=ME))
    rows = await reads.journal("acme", found)
    assert list(rows) == [*write.rows, *step.rows]
    assert [r.seq for r in await reads.journal("acme", found, after_seq=1, until_seq=4)] == [
        2, 3, 4,
    ]  # fmt: skip
    assert [r.seq for r in await reads.journal("acme", found, after_seq=3, limit=1)] == [4]


async def test_counts_by_status(store: PostgresStore, reads: Reads) -> None:
    """Of a tenant, and of all of them."""
    now = await now_of(store)
    await written(
        store,
        new_saga(now),
        new_saga(now),
        new_saga(now, status=SagaStatus.COMPLETED),
        new_saga(now, tenant="zebra", status=SagaStatus.COMPLETED),
        new_saga(now, tenant="beta"),
    )
    none = dict.fromkeys(SagaStatus, 0)
    assert await reads.counts("acme") == {**none, "running": 2, "completed": 1}
    assert await reads.totals() == {**none, "running": 3, "completed": 2}


async def test_totals_of_an_empty_database(reads: Reads) -> None:
    """Nothing is zero of every status."""
    assert await reads.totals() == dict.fromkeys(SagaStatus, 0)


async def test_what_participants_say_is_kept(store: PostgresStore, reads: Reads) -> None:
    """The latest hello of an instance, and of a service the latest instance's commands."""
    old = CommandInfo(Effect.NONE, Reversal.IRREVERSIBLE)
    new = CommandInfo(
        Effect.KEYED,
        Reversal.COMPENSATABLE,
        input={"type": "object"},
        output={"type": "object"},
        compensation="flights.release",
        probe=True,
    )
    for instance, info in (("a", old), ("b", old), ("b", new)):
        await store.keep_hello(
            Hello(
                service="flights",
                instance=instance,
                commands={"flights.reserve": info},
                accepts=frozenset({"ref", "batch"}),
                horizon="P30D",
            )
        )
    said = await reads.participants()
    assert [(p.service, p.instance, p.live) for p in said] == [
        ("flights", "b", True),
        ("flights", "a", True),
    ]
    assert said[0].hello == {
        "service": "flights",
        "instance": "b",
        "accepts": ["batch", "ref"],
        "horizon": "P30D",
        "commands": {
            "flights.reserve": {
                "effect": "keyed",
                "reversal": "compensatable",
                "input": {"type": "object"},
                "output": {"type": "object"},
                "compensation": "flights.release",
                "probe": True,
            }
        },
    }
    assert await reads.commands() == {"flights.reserve": new}


async def test_leases_and_backlog_are_shown(store: PostgresStore, reads: Reads) -> None:
    """Who is alive, who holds what and is how far behind, and whose messages wait."""
    now = await now_of(store)
    tick = await store.tick(ME, lease_s=30, claim=True, limit=1)
    await store.release(ME, range(1, 16))
    late, stray = new_saga(now, wake_in_s=-60), messages(3, b"12345")
    await store.commit(batch(late, orchestrator=OTHER, outbox=stray))
    assert await reads.orchestrators() == [
        OrchestratorRow(
            id=ME,
            started_at=tick.now,
            until=tick.lease_until,
            live=True,
            claiming=True,
            partitions=1,
        )
    ]
    first, second, *_ = await reads.partitions()
    assert (first.pp, first.owner, first.live) == (0, ME, True)
    assert first.behind_s is not None
    assert 60 <= first.behind_s < 120
    assert second == PartitionRow(pp=1, owner=None, live=False, behind_s=None)
    (waiting,) = await reads.outbox()
    assert 0 <= waiting.oldest_s < 60
    assert replace(waiting, oldest_s=0) == OutboxRow(
        orchestrator=OTHER, live=False, rows=1, messages=3, bytes=5, oldest_s=0
    )


async def test_pools_with_a_queue_are_shown(store: PostgresStore, reads: Reads) -> None:
    """How many wait, how many are at work, and since when a grant has not been heard."""
    assert await reads.pools() == []
    now = await now_of(store)
    for n in range(3):
        ask = Ask(path=StepPath("room"), ask=1, pool="hotels", key="", since=now, concurrency=1)
        saga = replace(new_saga(now, partition=n), permits=PermitWrites(asked=(ask,)))
        await store.commit(batch(saga, orchestrator=ME))
    await store.grant(None, lanes=9, limit=9, unheard_s=60)
    (pool,) = await reads.pools()
    assert pool.unheard_s is not None
    assert 0 <= pool.unheard_s < 60
    assert replace(pool, unheard_s=None) == PoolRow(
        pool="hotels", waiting=2, at_work=1, unheard_s=None
    )


async def test_participants_that_are_held_off_are_shown(store: PostgresStore, reads: Reads) -> None:
    """As long as an orchestrator that thinks so is alive; a closed circuit is not shown."""
    await store.tick(ME, lease_s=30, claim=True, limit=1)
    sick = CircuitWrite(service="hotels", state="open", bad=5, looked_at=8, pause_s=1)
    await store.keep_circuit(ME, sick)
    await store.keep_circuit(OTHER, replace(sick, service="flights"))
    (row,) = await reads.circuits()
    assert 0 <= row.since_s < 60
    assert replace(row, since_s=0) == CircuitRow(
        service="hotels", open=True, bad=5, looked_at=8, since_s=0
    )
    await store.keep_circuit(ME, replace(sick, state="half_open", pause_s=2))
    assert [row.open for row in await reads.circuits()] == [False]
    await store.keep_circuit(ME, replace(sick, state="closed"))
    assert await reads.circuits() == []
