"""What every store promises the engine, asked of the one in memory and the one on Postgres."""

from dataclasses import replace
from datetime import timedelta

import pytest

from amends_contracts.messages import CommandInfo, Effect, Hello, Reversal
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.engine.ports import (
    BadData,
    Conflict,
    Due,
    KnownStart,
    StartKey,
    StoredSaga,
)
from conformance.stores import (
    ME,
    OTHER,
    Stage,
    batch,
    messages,
    moved,
    new_saga,
    row,
    saga_id,
    started,
    stored,
)

# --- load and commit ---------------------------------------------------------------------------


async def test_a_started_saga_is_loaded_as_it_was_written(stage: Stage) -> None:
    """Row, start key and time come back from one call."""
    now = await stage.now()
    write = new_saga(now, state={"ü": [1, 2.5, None, "\u0000"]})
    await stage.store.commit(batch(write, orchestrator=ME))
    assert write.start is not None
    unknown = StartKey(tenant="acme", definition="book-trip", key="never came")
    loaded = await stage.store.load([write.identity.saga_id, saga_id()], [unknown, write.start])
    assert loaded.sagas == {
        write.identity.saga_id: StoredSaga(
            identity=write.identity,
            seq=1,
            status=SagaStatus.RUNNING,
            state={"ü": [1, 2.5, None, "\u0000"]},
            wake_at=write.wake_at,
        )
    }
    assert loaded.starts == {
        write.start: KnownStart(saga_id=write.identity.saga_id, input_digest="d1")
    }
    assert loaded.now >= now


async def test_an_empty_load_tells_the_time(stage: Stage) -> None:
    """`now` is there also when nothing is found."""
    loaded = await stage.store.load([], [])
    assert (loaded.sagas, loaded.starts) == ({}, {})
    assert loaded.now.utcoffset() == timedelta(0)


async def test_recorded_values_come_back_by_saga_and_seq(stage: Stage) -> None:
    """Values of rows that are not there are left out."""
    first, second = await started(stage), await started(stage)
    now = await stage.now()
    data = {"output": {"usd": 12.5, "code": "Z\u0000ß", "n": 2**70}}
    await stage.store.commit(batch(moved(first, now, rows=2, data=data), orchestrator=ME))
    a, b = first.identity.saga_id, second.identity.saga_id
    values = await stage.store.values([(a, 3), (b, 1), (b, 2), (saga_id(), 1)])
    assert values == {a: {3: data}, b: {1: {"input": {"to": "Łódź"}}}}


async def test_a_saga_moves_once_per_seq(stage: Stage) -> None:
    """Of two decisions about the same seq, the second is refused and leaves nothing."""
    saga = await started(stage)
    now = await stage.now()
    winner, loser = moved(saga, now), moved(saga, now, rows=2)
    await stage.store.commit(batch(winner, orchestrator=ME))
    with pytest.raises(Conflict):
        await stage.store.commit(batch(loser, orchestrator=OTHER))
    assert (await stored(stage, saga)).seq == 2
    assert await stage.store.values([(saga.identity.saga_id, 3)]) == {}


async def test_a_losing_batch_leaves_nothing_at_all(stage: Stage) -> None:
    """One stale saga rolls back its neighbours, new sagas, messages and settlements."""
    now = await stage.now()
    stale, fine = await started(stage), await started(stage)
    old = messages()
    await stage.store.commit(batch(moved(stale, now), orchestrator=ME, outbox=old))
    fresh, row_lost = new_saga(now), messages()
    losing = replace(
        batch(moved(stale, now), moved(fine, now), fresh, orchestrator=ME, outbox=row_lost),
        outbox_settled=(old.id,),
    )
    with pytest.raises(Conflict):
        await stage.store.commit(losing)
    assert fresh.start is not None
    loaded = await stage.store.load([fine.identity.saga_id, fresh.identity.saga_id], [fresh.start])
    assert {i: s.seq for i, s in loaded.sagas.items()} == {fine.identity.saga_id: 1}
    assert loaded.starts == {}
    assert await stage.store.values([(fine.identity.saga_id, 2)]) == {}
    assert not await stage.store.committed(row_lost.id)
    assert await stage.store.committed(old.id)
    assert not await stage.store.committed_batch(losing)


async def test_a_batch_is_found_when_its_messages_are_published_already(stage: Stage) -> None:
    """Its outbox row may have been taken over and deleted by another while nobody knew."""
    saga, now, row = await started(stage), await stage.now(), messages()
    done = batch(moved(saga, now), orchestrator=ME, outbox=row)
    await stage.store.commit(done)
    await stage.store.settle_outbox(ME, [row.id], [])
    assert not await stage.store.committed(row.id)
    assert await stage.store.committed_batch(done)


async def test_a_start_key_is_taken_once(stage: Stage) -> None:
    """A second start with the key conflicts, and the rest of its batch with it."""
    now = await stage.now()
    first = new_saga(now, key="order-17")
    await stage.store.commit(batch(first, orchestrator=ME))
    second, neighbour = new_saga(now, key="order-17"), new_saga(now)
    with pytest.raises(Conflict):
        await stage.store.commit(batch(second, neighbour, orchestrator=OTHER))
    assert first.start is not None
    loaded = await stage.store.load([neighbour.identity.saga_id], [first.start])
    assert loaded.sagas == {}
    assert loaded.starts[first.start].saga_id == first.identity.saga_id


async def test_a_key_belongs_to_its_tenant_and_definition(stage: Stage) -> None:
    """The same key names different sagas of other tenants and definitions."""
    now = await stage.now()
    sagas = [
        new_saga(now, key="k", tenant="a", definition="x"),
        new_saga(now, key="k", tenant="b", definition="x"),
        new_saga(now, key="k", tenant="a", definition="y"),
    ]
    await stage.store.commit(batch(*sagas, orchestrator=ME))
    keys = [s.start for s in sagas if s.start is not None]
    loaded = await stage.store.load([], keys)
    assert [loaded.starts[k].saga_id for k in keys] == [s.identity.saga_id for s in sagas]


async def test_a_repeated_commit_is_a_conflict(stage: Stage) -> None:
    """After an answer was lost, writing the same batch again changes nothing."""
    now = await stage.now()
    start = batch(new_saga(now), orchestrator=ME)
    keyless = batch(replace(new_saga(now), start=None), orchestrator=ME, outbox=messages())
    for one in (start, keyless):
        await stage.store.commit(one)
        with pytest.raises(Conflict):
            await stage.store.commit(one)
    step = batch(moved(start.sagas[0], now), orchestrator=ME)
    await stage.store.commit(step)
    with pytest.raises(Conflict):
        await stage.store.commit(step)
    assert (await stored(stage, start.sagas[0])).seq == 2


async def test_several_rows_of_a_saga_count_its_seq(stage: Stage) -> None:
    """Messages of one saga decided in turn are one write."""
    saga = await started(stage)
    now = await stage.now()
    await stage.store.commit(batch(moved(saga, now, rows=5), orchestrator=ME))
    assert (await stored(stage, saga)).seq == 6
    values = await stage.store.values([(saga.identity.saga_id, n) for n in range(1, 9)])
    assert sorted(values[saga.identity.saga_id]) == [1, 2, 3, 4, 5, 6]


# --- wake_at -----------------------------------------------------------------------------------


async def test_wake_at_only_comes_nearer(stage: Stage) -> None:
    """A commit writes the earlier of what is stored and what it brings."""
    saga = await started(stage, wake_in_s=30)
    now = await stage.now()
    later = moved(saga, now, wake_in_s=3600)
    await stage.store.commit(batch(later, orchestrator=ME))
    assert (await stored(stage, saga)).wake_at == saga.wake_at
    sooner = moved(later, now, wake_in_s=5)
    await stage.store.commit(batch(sooner, orchestrator=ME))
    assert (await stored(stage, saga)).wake_at == sooner.wake_at


@pytest.mark.parametrize("end", [SagaStatus.COMPLETED, SagaStatus.COMPENSATED])
async def test_an_ended_saga_wakes_no_more(stage: Stage, end: SagaStatus) -> None:
    """`wake_at` is gone at the end, whatever the decision still said; the row can be loaded."""
    saga = await started(stage, wake_in_s=-1)
    now = await stage.now()
    await stage.store.commit(batch(moved(saga, now, status=end, wake_in_s=9), orchestrator=ME))
    there = await stored(stage, saga)
    assert (there.status, there.wake_at) == (end, None)
    assert (await stage.store.tick(ME, lease_s=9, claim=True, limit=9)).due == ()


async def test_no_saga_can_be_written_silent(stage: Stage) -> None:
    """Without a `wake_at` a saga that goes on is refused as bad data."""
    saga = await started(stage)
    now = await stage.now()
    silent = moved(saga, now, wake_in_s=None)
    # LEAST keeps the stored one in a step; a decision that brings none is wrong all the same.
    with pytest.raises(BadData):
        await stage.store.commit(batch(silent, orchestrator=ME))
    with pytest.raises(BadData):
        await stage.store.commit(batch(replace(new_saga(now), wake_at=None), orchestrator=ME))


async def test_rearm_moves_what_nobody_touched(stage: Stage) -> None:
    """A saga that was looked at in vain wakes later; one that moved keeps its own time."""
    now = await stage.now()
    idle, busy = await started(stage, wake_in_s=-2), await started(stage, wake_in_s=-2)
    assert idle.wake_at is not None
    assert busy.wake_at is not None
    await stage.store.commit(batch(moved(busy, now), orchestrator=ME))
    seen = [
        Due(saga_id=write.identity.saga_id, seq=1, wake_at=write.wake_at or now)
        for write in (idle, busy)
    ]
    later = now + timedelta(minutes=5)
    await stage.store.rearm([(due, later) for due in seen])
    assert (await stored(stage, idle)).wake_at == later
    assert (await stored(stage, busy)).wake_at == busy.wake_at
    # a second look, made before the first was carried out
    await stage.store.rearm([(seen[0], later + timedelta(hours=1))])
    assert (await stored(stage, idle)).wake_at == later


async def test_due_sagas_come_earliest_first_from_owned_partitions(stage: Stage) -> None:
    """At most `limit`; what lies ahead is told by its earliest time."""
    late = await started(stage, partition=1, wake_in_s=-10)
    later = await started(stage, partition=2, wake_in_s=-5)
    await started(stage, partition=2, wake_in_s=-1)
    ahead = await started(stage, partition=3, wake_in_s=40)
    await started(stage, partition=3, wake_in_s=50)
    tick = await stage.store.tick(ME, lease_s=30, claim=True, limit=2)
    assert [d.saga_id for d in tick.due] == [late.identity.saga_id, later.identity.saga_id]
    assert tick.due[0] == Due(
        saga_id=late.identity.saga_id, seq=1, wake_at=late.wake_at or tick.now
    )
    assert tick.next_wake == ahead.wake_at
    await stage.store.release(ME, [1, 3])
    tick = await stage.store.tick(ME, lease_s=30, claim=False, limit=2)
    assert later.identity.saga_id in {d.saga_id for d in tick.due}
    assert late.identity.saga_id not in {d.saga_id for d in tick.due}
    assert tick.next_wake is None


async def test_a_timer_never_fires_early(stage: Stage) -> None:
    """What is due is due by the store's clock."""
    saga = await started(stage, wake_in_s=0.2)
    assert (await stage.store.tick(ME, lease_s=9, claim=True, limit=9)).due == ()
    await stage.pass_time(0.25)
    tick = await stage.store.tick(ME, lease_s=9, claim=True, limit=9)
    assert [d.saga_id for d in tick.due] == [saga.identity.saga_id]
    assert tick.due[0].wake_at <= tick.now


# --- bad data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [{"usd": float("nan")}, {"usd": float("-inf")}, {"key": object()}, {"text": "\ud800"}],
    ids=["nan", "infinity", "not-json", "lone-surrogate"],
)
async def test_what_cannot_be_written_is_bad_data(stage: Stage, data: object) -> None:
    """It is told apart from conflicts and outages, and nothing of the batch is written."""
    saga, neighbour = await started(stage), await started(stage)
    now = await stage.now()
    with pytest.raises(BadData):
        await stage.store.commit(
            batch(moved(saga, now, data=data), moved(neighbour, now), orchestrator=ME)
        )
    assert (await stored(stage, neighbour)).seq == 1


@pytest.mark.parametrize("key", ["", "x" * 1025, "nul\0"])
async def test_a_start_key_has_its_limits(stage: Stage, key: str) -> None:
    """Empty, overlong and unprintable keys are bad data."""
    write = new_saga(await stage.now())
    assert write.start is not None
    write = replace(write, start=replace(write.start, key=key))
    with pytest.raises(BadData):
        await stage.store.commit(batch(write, orchestrator=ME))


async def test_a_journal_with_a_gap_is_bad_data(stage: Stage) -> None:
    """`seq` counts journal rows: a write that does not add up is refused."""
    saga = await started(stage)
    now = await stage.now()
    for wrong in (
        replace(moved(saga, now), rows=()),
        replace(moved(saga, now), seq=3),
        replace(moved(saga, now, rows=2), rows=(row(2, now), row(2, now))),
    ):
        with pytest.raises(BadData):
            await stage.store.commit(batch(wrong, orchestrator=ME))
    assert (await stored(stage, saga)).seq == 1


async def test_one_start_key_twice_in_a_batch_is_bad_data(stage: Stage) -> None:
    """A conflict would repeat for ever; as bad data the batch is divided, and one goes through."""
    now = await stage.now()
    with pytest.raises(BadData):
        await stage.store.commit(
            batch(new_saga(now, key="k"), new_saga(now, key="k"), orchestrator=ME)
        )


# --- what participants say, and definitions ----------------------------------------------------


async def test_envelopes_are_for_services_of_which_an_instance_takes_them(stage: Stage) -> None:
    """One of two instances is enough; the last word of an instance counts."""
    for service, instance, *accepts in (
        ("flights", "1", "batch"),
        ("flights", "2"),
        ("hotels", "1", "batch"),
        ("hotels", "1"),
        ("mail", "1", "ref"),
    ):
        await stage.store.keep_hello(
            Hello(service=service, instance=instance, commands={}, accepts=frozenset(accepts))
        )
    assert await stage.store.taking_envelopes() == {"flights"}


async def test_a_hello_can_be_repeated(stage: Stage) -> None:
    """The latest of an instance counts."""
    info = CommandInfo(
        Effect.TRANSACTIONAL, Reversal.COMPENSATABLE, input={"type": "object"}, probe=True
    )
    for sdk in ("1.0", "1.1"):
        await stage.store.keep_hello(
            Hello(
                service="flights",
                instance="i-1",
                sdk=sdk,
                commands={"flights.reserve": info},
                accepts=frozenset({"batch"}),
            )
        )
    assert await stage.store.hellos() == [{"flights.reserve": info}]


async def test_a_definition_nobody_registered_is_none(stage: Stage) -> None:
    """By version or the newest, there is none."""
    assert await stage.store.definition("book-trip", None) is None
    assert await stage.store.definition("book-trip", 3) is None


async def test_a_version_nobody_registered_is_not_retired(stage: Stage) -> None:
    """Nor is any other that nobody has retired."""
    assert not await stage.store.is_retired("book-trip", 3)


def test_ids_of_tests_grow() -> None:
    """The suite relies on later sagas having greater ids."""
    ids = [saga_id() for _ in range(3)]
    assert ids == sorted(ids)
