"""Permits: places are given once, in turn, and come back. Both stores."""

from collections.abc import Sequence
from dataclasses import replace

from amends_contracts.names import StepPath
from amends_orchestrator.core.decision import Ask
from amends_orchestrator.core.state import SagaStatus
from amends_orchestrator.engine.ports import Grant, Grants, Lane, PermitWrites, SagaWrite
from conformance.stores import ME, Stage, batch, moved, new_saga

ROOM = StepPath("room")


async def asking(stage: Stage, key: str = "", *, tenant: str = "acme", **limits: int) -> SagaWrite:
    """A committed saga whose step `room` asks for a permit of pool `hotels`."""
    now = await stage.now()
    rate_per_s = limits.pop("rate_per_s", None)
    ask = Ask(path=ROOM, ask=1, pool="hotels", key=key, since=now, rate_per_s=rate_per_s, **limits)
    write = replace(new_saga(now, tenant=tenant), permits=PermitWrites(asked=(ask,)))
    await stage.store.commit(batch(write, orchestrator=ME))
    await stage.pass_time(0.001)  # the next one asks later
    return write


async def changed(stage: Stage, saga: SagaWrite, permits: PermitWrites) -> SagaWrite:
    """The saga's next decision, with what becomes of its permits."""
    now = await stage.now()
    write = replace(moved(saga, now), permits=permits)
    await stage.store.commit(batch(write, orchestrator=ME))
    return write


async def taken(stage: Stage, saga: SagaWrite) -> SagaWrite:
    """It heard of its grant."""
    return await changed(stage, saga, PermitWrites(taken=((ROOM, 1),)))


async def returned(stage: Stage, saga: SagaWrite) -> SagaWrite:
    """Its step is settled."""
    return await changed(stage, saga, PermitWrites(returned=((ROOM, 1),)))


async def look(
    stage: Stage, after: Lane | None = None, *, lanes: int = 100, limit: int = 100
) -> Grants:
    """One look at the queues; what was granted is told again after half a second."""
    return await stage.store.grant(after, lanes=lanes, limit=limit, unheard_s=0.5)


async def granted(stage: Stage, sagas: Sequence[SagaWrite], *, limit: int = 100) -> list[int]:
    """Positions of those that one look grants something, taken at once."""
    found = await look(stage, limit=limit)
    ids = [saga.identity.saga_id for saga in sagas]
    positions = [ids.index(grant.saga_id) for grant in found.granted]
    for n in positions:
        await taken(stage, sagas[n])
    return sorted(positions)


async def test_as_many_are_granted_as_may_be_at_work_oldest_first(stage: Stage) -> None:
    """A place that comes back goes to the next."""
    sagas = [await asking(stage, concurrency=2) for _ in range(4)]
    found = await look(stage)
    assert found.granted == tuple(Grant(s.identity.saga_id, ROOM, 1) for s in sagas[:2])
    assert (await look(stage)).granted == ()
    first = await taken(stage, sagas[0])
    await returned(stage, first)
    assert (await look(stage)).granted == (Grant(sagas[2].identity.saga_id, ROOM, 1),)


async def test_each_key_has_places_of_its_own_in_each_tenant(stage: Stage) -> None:
    """One key full is no matter to another; nothing of one tenant acts in another."""
    sagas = [
        await asking(stage, "a", concurrency=1),
        await asking(stage, "a", concurrency=1),
        await asking(stage, "b", concurrency=1),
        await asking(stage, "a", tenant="other", concurrency=1),
    ]
    assert await granted(stage, sagas) == [0, 2, 3]


async def test_keys_take_turns_where_a_total_holds(stage: Stage) -> None:
    """One key floods: a key that comes later is served next, not last."""
    flood = [await asking(stage, "flood", total=2) for _ in range(6)]
    late = [await asking(stage, "late", total=2) for _ in range(2)]
    sagas = flood + late
    assert await granted(stage, sagas) == [0, 6]
    for n in (0, 6):
        await returned(stage, replace(moved(sagas[n], await stage.now())))
    assert await granted(stage, sagas) == [1, 7]


async def test_a_single_place_goes_round(stage: Stage) -> None:
    """With one place in all, who was served longest ago comes next."""
    flood = [await asking(stage, "flood", total=1) for _ in range(3)]
    sagas = [*flood, await asking(stage, "late", total=1)]
    order: list[int] = []
    for _ in range(4):
        (n,) = await granted(stage, sagas)
        order.append(n)
        await returned(stage, moved(sagas[n], await stage.now()))
        await stage.pass_time(0.001)
    assert order == [0, 3, 1, 2]


async def test_a_rate_counts_what_was_granted_lately_also_if_it_is_over(stage: Stage) -> None:
    """And says when the next one may."""
    sagas = [await asking(stage, rate_count=2, rate_per_s=1) for _ in range(3)]
    assert await granted(stage, sagas) == [0, 1]
    await returned(stage, moved(sagas[0], await stage.now()))
    held = await look(stage)
    assert held.granted == ()
    assert held.next_at is not None
    assert 0 < (held.next_at - held.now).total_seconds() <= 1
    await stage.pass_time(1.01)
    assert await granted(stage, sagas) == [2]


async def test_a_grant_that_nobody_takes_is_told_again(stage: Stage) -> None:
    """By whoever looks, for its teller may be dead."""
    saga = await asking(stage, concurrency=1)
    grant = Grant(saga.identity.saga_id, ROOM, 1)
    assert (await look(stage)).granted == (grant,)
    assert (await look(stage)).granted == ()
    await stage.pass_time(0.6)
    assert (await look(stage)).granted == (grant,)
    await taken(stage, saga)
    assert (await look(stage)).granted == ()


async def test_who_withdraws_is_passed_by(stage: Stage) -> None:
    """A saga that turned back waits for nothing."""
    gone = await asking(stage, concurrency=1)
    sagas = [gone, await asking(stage, concurrency=1)]
    await returned(stage, gone)
    assert await granted(stage, sagas) == [1]


async def test_only_a_running_saga_is_granted_anything(stage: Stage) -> None:
    """A suspended one keeps its place in the queue, and is not in the way."""
    first = await asking(stage, concurrency=1)
    sagas = [first, await asking(stage, concurrency=1)]
    suspended = moved(first, await stage.now(), status=SagaStatus.SUSPENDED)
    await stage.store.commit(batch(suspended, orchestrator=ME))
    assert await granted(stage, sagas) == [1]
    await returned(stage, moved(sagas[1], await stage.now()))
    resumed = moved(suspended, await stage.now(), status=SagaStatus.RUNNING)
    await stage.store.commit(batch(resumed, orchestrator=ME))
    assert [g.saga_id for g in (await look(stage)).granted] == [first.identity.saga_id]


async def test_many_queues_are_looked_at_in_stretches(stage: Stage) -> None:
    """The look says where the next one begins."""
    sagas = [await asking(stage, key, concurrency=1) for key in ("a", "b", "c")]
    first = await look(stage, lanes=2)
    assert [g.saga_id for g in first.granted] == [s.identity.saga_id for s in sagas[:2]]
    assert first.last == Lane("hotels", "acme", "b")
    second = await look(stage, first.last, lanes=2)
    assert [g.saga_id for g in second.granted] == [sagas[2].identity.saga_id]
    assert second.last is None


async def test_one_look_grants_at_most_so_many(stage: Stage) -> None:
    """The next one grants the rest."""
    sagas = [await asking(stage, concurrency=5) for _ in range(3)]
    assert await granted(stage, sagas, limit=2) == [0, 1]
    assert await granted(stage, sagas, limit=2) == [2]


async def test_what_a_saga_kept_beyond_its_end_is_taken_back(stage: Stage) -> None:
    """It cannot happen by a decision; a table restored by hand may say so."""
    saga = await asking(stage, concurrency=1)
    sagas = [saga, await asking(stage, concurrency=1)]
    assert await granted(stage, sagas) == [0]
    assert await stage.store.return_strays(10) == 0
    ended = moved(moved(saga, await stage.now()), await stage.now(), status=SagaStatus.COMPLETED)
    await stage.store.commit(batch(replace(ended, wake_at=None), orchestrator=ME))
    assert await stage.store.return_strays(10) == 1
    assert await granted(stage, sagas) == [1]


async def test_a_tick_says_whether_anybody_waits(stage: Stage) -> None:
    """Without permits nobody looks at queues."""

    async def waited() -> bool:
        return (await stage.store.tick(ME, lease_s=3, claim=True, limit=1)).permits

    assert await waited() is False
    saga = await asking(stage, concurrency=1)
    assert await waited() is True
    await look(stage)
    assert await waited() is True
    await taken(stage, saga)
    assert await waited() is False
