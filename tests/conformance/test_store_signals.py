"""Signals for sagas that are not there yet: kept, handed over, dropped, by both stores."""

import asyncio
from dataclasses import replace

import pytest

from amends_orchestrator.engine.ports import (
    BadData,
    EarlySignal,
    Kept,
    KnownStart,
    ReadySignal,
    SettledSignal,
    StartKey,
)
from conformance.stores import ME, Stage, batch, new_saga

TO = StartKey(tenant="acme", definition="book-trip", key="order-17")
PAID = EarlySignal(to=TO, id="p-1", event="paid", by="ann", digest="d1", data={"usd": 7})


async def begin(stage: Stage, to: StartKey) -> KnownStart:
    """Start the saga of a key."""
    now = await stage.now()
    write = new_saga(now, tenant=to.tenant, definition=to.definition, key=to.key)
    await stage.store.commit(batch(write, orchestrator=ME))
    return KnownStart(saga_id=write.identity.saga_id, input_digest="d1")


async def test_a_signal_is_kept_until_its_saga_is_there(stage: Stage) -> None:
    """Nothing is ready before the start, everything after it, in the order in which it came."""
    later = replace(PAID, id="p-0", data=None)
    assert await stage.store.keep_signal(PAID, 10) is Kept.YES
    await stage.pass_time(0.01)
    assert await stage.store.keep_signal(later, 10) is Kept.YES
    assert await stage.store.ready_signals([TO], 10) == []
    assert await stage.store.ready_signals(None, 10) == []
    start = await begin(stage, TO)
    ready = [ReadySignal(signal=s, saga_id=start.saga_id) for s in (PAID, later)]
    assert await stage.store.ready_signals([TO], 10) == ready
    assert await stage.store.ready_signals(None, 10) == ready
    assert await stage.store.ready_signals(None, 1) == ready[:1]


async def test_a_signal_for_a_saga_that_is_there_is_not_kept(stage: Stage) -> None:
    """Its sender is told which saga it is."""
    start = await begin(stage, TO)
    assert await stage.store.keep_signal(PAID, 10) == start
    assert await stage.store.ready_signals(None, 10) == []


async def test_the_same_signal_is_kept_once_and_another_under_its_id_not(stage: Stage) -> None:
    """Known by its id; told apart by its digest."""
    for _ in range(2):
        assert await stage.store.keep_signal(PAID, 10) is Kept.YES
    assert await stage.store.keep_signal(replace(PAID, digest="d2"), 10) is Kept.OTHER
    await begin(stage, TO)
    assert [r.signal for r in await stage.store.ready_signals(None, 10)] == [PAID]


async def test_so_many_are_kept_for_one_start(stage: Stage) -> None:
    """Those beyond are refused, those that are kept already are not, other starts neither."""
    assert await stage.store.keep_signal(PAID, 1) is Kept.YES
    assert await stage.store.keep_signal(replace(PAID, id="p-2"), 1) is Kept.FULL
    assert await stage.store.keep_signal(PAID, 1) is Kept.YES
    other = replace(PAID, to=replace(TO, tenant="other"))
    assert await stage.store.keep_signal(other, 1) is Kept.YES


async def test_only_the_signals_of_the_starts_asked_for_are_ready(stage: Stage) -> None:
    """Another tenant's key of the same name is another start."""
    other = replace(TO, tenant="other")
    await stage.store.keep_signal(PAID, 10)
    await stage.store.keep_signal(replace(PAID, to=other), 10)
    await begin(stage, TO)
    assert await stage.store.ready_signals([other], 10) == []
    assert [r.signal.to for r in await stage.store.ready_signals([TO, other], 10)] == [TO]


async def test_a_settled_signal_is_gone(stage: Stage) -> None:
    """Recorded or refused; doing it twice is doing it once."""
    await stage.store.keep_signal(PAID, 10)
    await stage.store.keep_signal(replace(PAID, id="p-2"), 10)
    start = await begin(stage, TO)
    done = [
        SettledSignal(to=TO, id="p-1", saga_id=start.saga_id),
        SettledSignal(to=TO, id="p-2", saga_id=start.saga_id, refused="amends:wrong-state"),
    ]
    for _ in range(2):
        await stage.store.settle_signals(done)
        assert await stage.store.ready_signals(None, 10) == []


async def test_what_no_saga_came_for_is_dropped(stage: Stage) -> None:
    """After a time, counted by the store's clock; not before."""
    await stage.store.keep_signal(PAID, 10)
    assert await stage.store.drop_signals(3600) == 0
    await stage.pass_time(0.2)
    await stage.store.keep_signal(replace(PAID, id="p-2"), 10)
    assert await stage.store.drop_signals(0.1) == 1
    await begin(stage, TO)
    assert [r.signal.id for r in await stage.store.ready_signals(None, 10)] == ["p-2"]


async def test_signal_and_start_at_the_same_time_never_miss_each_other(stage: Stage) -> None:
    """Each side commits, then looks: one of the two sees the other."""
    for n in range(20):
        to = replace(TO, key=f"race-{n}")
        signal = replace(PAID, to=to)

        async def starts(to: StartKey = to) -> int:
            await begin(stage, to)
            return len(await stage.store.ready_signals([to], 10))

        kept, seen = await asyncio.gather(stage.store.keep_signal(signal, 10), starts())
        assert isinstance(kept, KnownStart) or seen == 1, n


async def test_what_is_no_json_is_bad_data(stage: Stage) -> None:
    """And nothing is kept."""
    with pytest.raises(BadData):
        await stage.store.keep_signal(replace(PAID, data=object()), 10)
