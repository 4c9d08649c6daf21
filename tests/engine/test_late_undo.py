"""Late undo through the real engine: whose key commands carry, asked twice, service away."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from amends_contracts.messages import Json, Start, StartAnswer, Undo
from amends_contracts.names import Key, Op, SagaId, undo_start_key
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import replay
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.inputs import CancelRequested
from engine.harness import TRIP, Engine, action, engine
from engine.scripted import silent, succeeded
from engine.test_clients_over_the_broker import Client


@pytest.fixture
async def e() -> AsyncGenerator[Engine]:
    """A running engine."""
    async with engine() as made:
        yield made


async def completed(e: Engine, key: str = "k", **more: Json) -> SagaId:
    """A trip that has completed."""
    saga = await e.start(key, **more)
    assert await e.ends(saga) == "completed"
    return saga


async def undo(e: Engine, saga: SagaId, **more: bool) -> StartAnswer | Refused:
    """Ask for its late undo."""
    asked = Undo(saga_id=saga, reason="the customer called", **more)
    return await e.orchestrator.undo("default", "ann", asked)


async def test_commands_carry_the_undo_sagas_id_and_name_the_originals_action(e: Engine) -> None:
    """In correlation, message id and key; only `amends-compensates` is the original's."""
    saga = await completed(e)
    answer = await undo(e, saga)
    assert isinstance(answer, StartAnswer)
    assert await e.ends(answer.saga_id) == "compensated"
    undos = [c for c in e.participants.seen if c.op is Op.COMPENSATION]
    assert [c.type for c in undos] == ["payments.charge", "hotels.book", "flights.reserve"]
    for command in undos:
        assert command.saga_id == answer.saga_id
        assert command.key is not None
        assert command.key.startswith(f"{answer.saga_id}/")
        assert command.message_id.startswith(f"{answer.saga_id}:")
        path = command.key.split("/")[1]
        assert command.compensates == Key(f"{saga}/{path}/action")
    assert e.status(saga) == "completed"


async def test_an_undo_asked_for_twice_is_one_undo_saga(e: Engine) -> None:
    """One after the other, and ten at the same time, by two orchestrators."""
    saga = await completed(e)
    async with e.another() as other:
        asked = Undo(saga_id=saga, reason="r")
        both = (e.orchestrator, other)
        answers = await asyncio.gather(
            *(both[n % 2].undo("default", f"ann {n}", asked) for n in range(10))
        )
        again = await undo(e, saga)
    ids = {answer.saga_id for answer in (*answers, again) if isinstance(answer, StartAnswer)}
    assert len(ids) == 1
    assert [a.created for a in answers if isinstance(a, StartAnswer)].count(True) == 1
    assert await e.ends(ids.pop()) == "compensated"
    undone = [c.type for c in e.participants.seen if c.op is Op.COMPENSATION]
    assert sorted(undone) == ["flights.reserve", "hotels.book", "payments.charge"]


async def test_an_undo_while_its_service_is_away_waits_for_it(e: Engine) -> None:
    """As every undo: again and again, until somebody answers."""
    undo_fast = {"timeout": "PT0.05S", "retry": {"initial": "PT0.01S", "max": "PT0.05S"}}
    hotel = action("hotel", "hotels.book", compensation=undo_fast)
    e.register({"name": "stay", "version": 1, "steps": [hotel]})
    saga = await completed(e, definition="stay")
    e.participants.on("hotels.book", silent, Op.COMPENSATION)
    answer = await undo(e, saga)
    assert isinstance(answer, StartAnswer)
    await e.until(lambda: len(e.participants.seen) >= 3)
    assert e.status(answer.saga_id) == "compensating"
    e.participants.on("hotels.book", succeeded(), Op.COMPENSATION)
    assert await e.ends(answer.saga_id) == "compensated"


async def test_the_undo_sagas_journal_tells_it_all(e: Engine) -> None:
    """It replays without the original: which may be archived meanwhile."""
    saga = await completed(e)
    answer = await undo(e, saga)
    assert isinstance(answer, StartAnswer)
    await e.ends(answer.saga_id)
    del e.store.journal[saga], e.store.sagas[saga]
    stored = e.store.sagas[answer.saga_id].stored
    again = replay(e.store.journal[answer.saga_id], stored.identity)
    assert (again.seq, again.status) == (stored.seq, stored.status)
    assert again.state.undoes == saga
    assert isinstance(await undo(e, saga), Refused)  # nothing is known of it any more


async def test_what_cannot_be_undone_is_refused_with_the_reason(e: Engine) -> None:
    """Running, unknown, another tenant's, past its pivot."""
    e.participants.on("hotels.book", silent)
    running = await e.start("running")
    answer = await undo(e, running)
    assert isinstance(answer, Refused)
    assert (answer.type, answer.detail) == (
        ProblemType.WRONG_STATE,
        "the saga has not completed: it is running: cancel it",
    )
    stranger = await e.orchestrator.undo("other", "eve", Undo(saga_id=running, reason="r"))
    assert isinstance(stranger, Refused)
    assert stranger.type is ProblemType.NOT_FOUND
    cancelled = await e.orchestrator.submit(
        "default", running, CancelRequested(reason="r", by="ann")
    )
    assert isinstance(cancelled, Decision)
    card = {**action("card", "payments.charge", pivot=True), "reversal": "irreversible"}
    del card["compensation"]
    e.register({"name": "sale", "version": 1, "steps": [action("flight", "flights.reserve"), card]})
    sale = await completed(e, definition="sale")
    past = await undo(e, sale)
    assert isinstance(past, Refused)
    assert past.type is ProblemType.PAST_PIVOT
    assert [error.path for error in past.errors] == ["/steps/card"]
    across = await undo(e, sale, across_pivot=True)
    assert isinstance(across, StartAnswer)
    assert await e.ends(across.saga_id) == "compensated"
    assert e.store.sagas[across.saga_id].residue == 1


async def test_nobody_else_takes_the_key_of_an_undo(e: Engine) -> None:
    """A start under it is refused: it would stand in the undo's way."""
    saga = await completed(e)
    taken = await e.ask(undo_start_key(saga))
    assert isinstance(taken, Refused)
    assert taken.type is ProblemType.BAD_REQUEST
    assert isinstance(await e.ask("undo: my own words"), StartAnswer)


async def test_an_undo_over_the_broker_is_answered_with_the_undo_saga(e: Engine) -> None:
    """Like a start; a refusal is a problem."""
    client = Client(e)
    started = await client.ask(Start(definition=str(TRIP["name"]), key="k", input={"to": "Rome"}))
    saga = SagaId(started["saga_id"])
    await e.ends(saga)
    answer = await client.ask(Undo(saga_id=saga, reason="r"))
    assert answer["created"] is True
    undo_saga = SagaId(answer["saga_id"])
    assert await client.ask(Undo(saga_id=saga, reason="r")) == {**answer, "created": False}
    await e.ends(undo_saga)
    problem = await client.ask(Undo(saga_id=undo_saga, reason="r"))
    assert isinstance(problem, Problem)
    assert problem.type == "amends:wrong-state"
