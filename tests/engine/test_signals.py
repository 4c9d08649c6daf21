"""Signals through the real engine: before the start, twice, for two steps, after the end."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from amends_contracts.messages import Json, Signal, Start
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.engine import signals
from amends_orchestrator.engine.ports import StartKey
from amends_orchestrator.engine.work import SignalKept, SignalKnown
from engine.harness import Engine, action, engine
from engine.test_clients_over_the_broker import Client

ORDER: dict[str, Json] = {
    "name": "order",
    "version": 1,
    "steps": [
        {"kind": "await", "id": "payment", "event": "paid"},
        action("flight", "flights.reserve", input={"usd": "${ steps.payment.output.usd }"}),
    ],
}
PAID = Signal(definition="order", key="o-1", event="paid", id="p-1", data={"usd": 7})


@pytest.fixture
async def e() -> AsyncGenerator[Engine]:
    """A running engine that knows the order."""
    async with engine() as made:
        made.register(ORDER)
        yield made


async def send(e: Engine, signal: Signal) -> Decision | SignalKept | SignalKnown | Refused:
    """Send it as REST does."""
    return await e.orchestrator.signal("default", "tester", signal)


def usd(e: Engine) -> list[Json]:
    """What the flights were told."""
    return [command.json() for command in e.participants.seen]


async def test_a_signal_before_the_start_is_handed_over(e: Engine) -> None:
    """Kept, recorded once the saga is there, and gone from where it was kept."""
    assert isinstance(await send(e, PAID), SignalKept)
    saga = await e.start("o-1", definition="order")
    assert await e.ends(saga) == "completed"
    assert usd(e) == [{"usd": 7}]
    await e.until(lambda: not e.store.signals.kept)


async def test_a_signal_reaches_a_saga_that_waits(e: Engine) -> None:
    """By its id, or by definition and key; the same again is known."""
    saga = await e.start("o-1", definition="order")
    answer = await send(e, replace(PAID, definition=None, key=None, saga_id=saga))
    assert isinstance(answer, Decision)
    assert await send(e, PAID) == SignalKnown(saga)
    assert await e.ends(saga) == "completed"
    assert await send(e, PAID) == SignalKnown(saga)
    late = await send(e, replace(PAID, id="p-2"))
    assert isinstance(late, Refused)
    assert late.type is ProblemType.WRONG_STATE
    assert usd(e) == [{"usd": 7}]


async def test_a_signal_and_its_start_may_meet_in_any_order(e: Engine) -> None:
    """Fifty races; every saga gets its event."""

    async def race(n: int) -> str:
        key = f"o-{n}"
        signal = replace(PAID, key=key)
        saga, _ = await asyncio.gather(e.start(key, definition="order"), send(e, signal))
        return await e.ends(saga)

    assert await asyncio.gather(*(race(n) for n in range(50))) == ["completed"] * 50
    assert len(e.participants.seen) == 50
    await e.until(lambda: not e.store.signals.kept)


async def test_a_signal_that_nobody_handed_over_is_found_by_the_sweep(
    e: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orchestrator that died between the commit of a start and its look loses nothing."""

    async def dies(*_: object) -> None:
        return None

    monkeypatch.setattr(signals.Signals, "started", dies)
    await send(e, PAID)
    saga = await e.start("o-1", definition="order")
    await asyncio.sleep(0.05)
    assert e.status(saga) == "running"
    running = e.orchestrator._running  # pyright: ignore[reportPrivateUsage]  # its clock is slow
    assert running is not None
    await running.signals.sweep()
    assert await e.ends(saga) == "completed"


async def test_an_early_signal_that_its_saga_refuses_leaves_an_audit_row(e: Engine) -> None:
    """No step awaits that event: it is not tried for ever."""
    await send(e, replace(PAID, event="payed"))
    await e.start("o-1", definition="order")
    await e.until(lambda: not e.store.signals.kept)
    assert e.store.signals.audited == [("p-1", "amends:bad-request")]


async def test_early_signals_have_one_meaning_per_id(e: Engine) -> None:
    """Another event or other data under a known id is refused, and an unknown definition too."""
    await send(e, PAID)
    other = await send(e, replace(PAID, data={"usd": 8}))
    assert isinstance(other, Refused)
    assert other.type is ProblemType.KEY_CONFLICT
    nobody = await send(e, replace(PAID, definition="nobody"))
    assert isinstance(nobody, Refused)
    assert nobody.type is ProblemType.NOT_FOUND


async def test_a_signal_of_another_tenant_is_another_signal(e: Engine) -> None:
    """Definition and key are a tenant's own."""
    await e.orchestrator.signal("other", "tester", PAID)
    saga = await e.start("o-1", definition="order")
    by_id = replace(PAID, definition=None, key=None, saga_id=saga)
    answer = await e.orchestrator.signal("other", "tester", by_id)
    assert isinstance(answer, Refused)
    assert answer.type is ProblemType.NOT_FOUND
    assert e.status(saga) == "running"
    theirs = StartKey(tenant="other", definition="order", key="o-1")
    assert [to for to, _ in e.store.signals.kept] == [theirs]


async def test_signals_over_the_broker_are_answered(e: Engine) -> None:
    """Kept, recorded, known, refused: each is told apart."""
    client = Client(e)
    assert await client.ask(PAID) == {"kept": True}
    started = await client.ask(Start(definition="order", key="o-1", input={}))
    saga = started["saga_id"]
    await e.ends(saga)
    assert await client.ask(PAID) == {"saga_id": saga}
    late = await client.ask(replace(PAID, id="p-2"))
    assert isinstance(late, Problem)
    assert late.type == "amends:wrong-state"
    waiting = await e.start("o-2", definition="order")
    answer = await client.ask(replace(PAID, key="o-2"))
    assert answer == {"saga_id": waiting, "status": "running"}
