"""Who owns what, for how long: leases of partitions, and of the rows in the outbox."""

from dataclasses import replace
from datetime import timedelta

from amends_orchestrator.engine.ports import Batch, OutboxWrite
from conformance.stores import (
    LEASE_S,
    ME,
    OTHER,
    THIRD,
    Stage,
    batch,
    messages,
    moved,
    new_saga,
    row,
)

# --- leases ------------------------------------------------------------------------------------


async def test_the_first_orchestrator_takes_every_partition(stage: Stage) -> None:
    """Alone, it owns them all until its lease ends."""
    tick = await stage.store.tick(ME, lease_s=3, claim=True, limit=1)
    assert (tick.live, tick.partitions, tick.owned) == (1, 16, frozenset(range(16)))
    assert tick.lease_until - tick.now == timedelta(seconds=3)


async def test_a_second_one_takes_only_what_is_released(stage: Stage) -> None:
    """A live owner is never robbed; it sees the second and gives up its over-share."""
    await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    second = await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    assert (second.live, second.owned) == (2, frozenset())
    mine = await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    assert (mine.live, mine.owned) == (2, frozenset(range(16)))
    await stage.store.release(ME, range(8, 16))
    mine = await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    assert mine.owned == frozenset(range(8))
    second = await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    assert second.owned == frozenset(range(8, 16))


async def test_three_share_fairly(stage: Stage) -> None:
    """With more than ceil(P/live) given up, everything is owned and nobody has more than that."""
    for _ in range(3):
        for orchestrator in (ME, OTHER, THIRD):
            tick = await stage.store.tick(orchestrator, lease_s=30, claim=True, limit=1)
            share = -(-tick.partitions // tick.live)
            await stage.store.release(orchestrator, sorted(tick.owned)[share:])
    ticks = [await stage.store.tick(o, lease_s=30, claim=True, limit=1) for o in (ME, OTHER, THIRD)]
    assert [len(t.owned) for t in ticks] == [6, 6, 4]
    assert frozenset[int]().union(*(t.owned for t in ticks)) == frozenset(range(16))


async def test_a_dead_owners_partitions_are_taken(stage: Stage) -> None:
    """When the lease is over, the next tick of any other takes them."""
    await stage.store.tick(ME, lease_s=LEASE_S, claim=True, limit=1)
    early = await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    assert early.owned == frozenset()
    await stage.pass_time(LEASE_S)
    late = await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    assert (late.live, late.owned) == (1, frozenset(range(16)))
    back = await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    assert back.owned == frozenset()


async def test_a_pause_that_nobody_used_costs_nothing(stage: Stage) -> None:
    """An owner that is late finds its partitions where no other has come."""
    await stage.store.tick(ME, lease_s=LEASE_S, claim=True, limit=1)
    await stage.pass_time(LEASE_S)
    back = await stage.store.tick(ME, lease_s=30, claim=False, limit=1)
    assert back.owned == frozenset(range(16))


async def test_one_that_does_not_claim_leaves_its_share_to_the_others(stage: Stage) -> None:
    """An orchestrator without a broker stays alive and does not hold partitions back."""
    idle = await stage.store.tick(ME, lease_s=30, claim=False, limit=1)
    assert (idle.live, idle.owned) == (1, frozenset())
    busy = await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    assert (busy.live, busy.owned) == (1, frozenset(range(16)))


async def test_leaving_frees_at_once(stage: Stage) -> None:
    """An orderly stop waits for no lease."""
    await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    await stage.store.leave(ME)
    tick = await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    assert (tick.live, tick.owned) == (1, frozenset(range(16)))


async def test_only_the_owner_releases(stage: Stage) -> None:
    """A late release by a former owner takes nothing away."""
    await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    await stage.store.release(OTHER, range(16))
    tick = await stage.store.tick(ME, lease_s=30, claim=False, limit=1)
    assert tick.owned == frozenset(range(16))


async def test_partitions_can_be_added_and_not_lost(stage: Stage) -> None:
    """Raising their number adds free ones; a smaller number changes nothing."""
    await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    await stage.store.add_partitions(20)
    await stage.store.add_partitions(4)
    tick = await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    assert (tick.partitions, tick.owned) == (20, frozenset(range(20)))


# --- outbox ------------------------------------------------------------------------------------


async def test_messages_are_kept_byte_for_byte_until_settled(stage: Stage) -> None:
    """A batch settles and rewrites earlier rows of its orchestrator in the same stroke."""
    now = await stage.now()
    saga = new_saga(now)
    done, half = messages(3), messages(2, bytes(range(256)) * 64)
    await stage.store.commit(batch(saga, orchestrator=ME, outbox=done))
    await stage.store.commit(batch(new_saga(now), orchestrator=ME, outbox=half))
    open_part = OutboxWrite(id=half.id, n=1, body=b"what is open")
    await stage.store.commit(
        replace(
            batch(moved(saga, now), orchestrator=ME),
            outbox_settled=(done.id,),
            outbox_rewritten=(open_part,),
        )
    )
    assert not await stage.store.committed(done.id)
    assert await stage.store.stray_outbox(ME, []) == [open_part]


async def test_settling_outside_a_batch(stage: Stage) -> None:
    """When idle, rows are settled and rewritten alone; again is harmless."""
    done, half = messages(), messages(2)
    for outbox in (done, half):
        await stage.store.commit(batch(new_saga(await stage.now()), orchestrator=ME, outbox=outbox))
    rest = OutboxWrite(id=half.id, n=1, body=b"rest")
    for _ in range(2):
        await stage.store.settle_outbox(ME, [done.id], [rest])
    assert await stage.store.stray_outbox(ME, []) == [rest]
    only_settling = Batch(orchestrator=ME, sagas=(), outbox_settled=(half.id,))
    await stage.store.commit(only_settling)
    assert await stage.store.stray_outbox(ME, []) == []
    assert await stage.store.committed_batch(only_settling)


async def test_a_live_orchestrators_messages_are_its_own(stage: Stage) -> None:
    """Rows are taken over only when the lease is over, and each by one."""
    await stage.store.tick(ME, lease_s=LEASE_S, claim=True, limit=1)
    rows = [messages() for _ in range(3)]
    for outbox in rows:
        await stage.store.commit(batch(new_saga(await stage.now()), orchestrator=ME, outbox=outbox))
    assert await stage.store.claim_outbox(OTHER, 10) == []
    await stage.pass_time(LEASE_S)
    await stage.store.tick(OTHER, lease_s=30, claim=True, limit=1)
    first = list(await stage.store.claim_outbox(OTHER, 2))
    assert [len(first), *(r in rows for r in first)] == [2, True, True]
    await stage.store.tick(THIRD, lease_s=30, claim=True, limit=1)
    rest = list(await stage.store.claim_outbox(THIRD, 10))
    assert sorted(r.id for r in (*first, *rest)) == sorted(r.id for r in rows)
    assert await stage.store.claim_outbox(OTHER, 10) == []


async def test_who_lost_a_row_cannot_settle_it(stage: Stage) -> None:
    """A paused writer that comes back neither deletes nor rewrites what another publishes."""
    outbox = messages(2)
    await stage.store.commit(batch(new_saga(await stage.now()), orchestrator=ME, outbox=outbox))
    assert list(await stage.store.claim_outbox(OTHER, 10)) == [outbox]
    await stage.store.settle_outbox(ME, [outbox.id], [OutboxWrite(id=outbox.id, n=1, body=b"")])
    assert await stage.store.stray_outbox(OTHER, []) == [outbox]
    assert await stage.store.stray_outbox(ME, []) == []


async def test_rows_of_one_that_left_are_orphans(stage: Stage) -> None:
    """An orderly stop leaves its open messages to the others at once."""
    await stage.store.tick(ME, lease_s=30, claim=True, limit=1)
    outbox = messages()
    await stage.store.commit(batch(new_saga(await stage.now()), orchestrator=ME, outbox=outbox))
    await stage.store.leave(ME)
    assert list(await stage.store.claim_outbox(OTHER, 10)) == [outbox]


async def test_a_lost_answer_can_be_asked_for(stage: Stage) -> None:
    """Whether a batch came through is told by its outbox row, else by a journal row of its own."""
    now = await stage.now()
    with_messages = batch(new_saga(now), orchestrator=ME, outbox=messages())
    assert with_messages.outbox is not None
    assert not await stage.store.committed(with_messages.outbox.id)
    await stage.store.commit(with_messages)
    assert await stage.store.committed(with_messages.outbox.id)
    assert await stage.store.committed_batch(with_messages)
    silent = batch(moved(with_messages.sagas[0], now), orchestrator=ME)
    assert not await stage.store.committed_batch(silent)
    await stage.store.commit(silent)
    assert await stage.store.committed_batch(silent)
    other_at_that_seq = replace(
        silent.sagas[0], rows=(row(2, now + timedelta(seconds=1), kind="step.failed"),)
    )
    assert not await stage.store.committed_batch(batch(other_at_that_seq, orchestrator=OTHER))


async def test_stray_rows_are_those_one_does_not_know_of(stage: Stage) -> None:
    """A commit in doubt that came through late is found by its writer."""
    known, stray = messages(), messages()
    for outbox in (known, stray):
        await stage.store.commit(batch(new_saga(await stage.now()), orchestrator=ME, outbox=outbox))
    assert await stage.store.stray_outbox(ME, [known.id]) == [stray]
    assert await stage.store.stray_outbox(OTHER, []) == []
