"""The client over RabbitMQ: answered, refused, or unavailable with the reason."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiormq.connection import Connection
from pydantic import BaseModel

from amends_contracts.messages import (
    Cancel,
    ClientMessage,
    Signal,
    Start,
    StartAnswer,
    Undo,
)
from amends_contracts.names import SagaId
from amends_contracts.plan import Plan
from amends_contracts.problems import FieldError, Problem
from amends_orchestrator.local import servers
from amends_participants.client import Amends, NoAddress, Refused, Run, Unavailable
from client.fake_orchestrator import SAGA, FakeOrchestrator, over_rabbitmq

OTHER = SagaId("0197a1b2-c3d4-7e5f-8a6b-0123456789ac")


class Trip(BaseModel):
    """What a traveller asks for."""

    to: str
    nights: int = 2


PLAN = Plan("book-trip", version=3, input=Trip)


async def test_a_start_is_answered(
    amends: Amends, orchestrator: FakeOrchestrator, broker_url: str
) -> None:
    """The plan names definition and version, the model is written whole, the user is set."""
    run = await amends.start(PLAN, Trip(to="LIS"), key="k-1", labels={"channel": "web"})
    (message,) = orchestrator.asked
    assert (run.saga_id, run.created) == (SAGA, True)
    assert orchestrator.messages == [
        Start(
            definition="book-trip",
            version=3,
            key="k-1",
            input={"to": "LIS", "nights": 2},
            labels={"channel": "web"},
        )
    ]
    assert message.user_id == urlsplit(broker_url).username
    assert message.correlation_id == message.message_id
    assert orchestrator.topology.may_be_answered(message.reply_to or "")


async def test_a_definition_may_be_named(amends: Amends, orchestrator: FakeOrchestrator) -> None:
    """Without a plan at hand; the newest version is meant."""
    await amends.start("book-trip", {"to": "LIS"}, key="k-1")
    assert orchestrator.messages == [Start(definition="book-trip", key="k-1", input={"to": "LIS"})]


async def test_a_refusal_is_raised_with_its_problem(
    amends: Amends, orchestrator: FakeOrchestrator
) -> None:
    """The text says type, what is wrong, and which field."""
    problem = Problem(
        type="amends:bad-request",
        title="The input does not fit",
        errors=(FieldError(path="/input/to", reason="is required"),),
    )
    orchestrator.answer = lambda _: problem
    with pytest.raises(Refused) as refused:
        await amends.start("book-trip", {}, key="k-1")
    assert refused.value.problem == problem
    assert str(refused.value) == (
        "Amends refused: amends:bad-request – The input does not fit – /input/to: is required"
    )


async def test_what_the_wire_cannot_carry_is_refused(amends: Amends) -> None:
    """An input beyond 256 KiB ends like any other refusal, and says how much there may be."""
    with pytest.raises(Refused, match="at most 262144 bytes") as refused:
        await amends.start("book-trip", {"to": "x" * 300_000}, key="order-1")

    assert refused.value.problem.type == "amends:bad-request"


async def test_an_overloaded_orchestrator_is_asked_again(
    amends: Amends, orchestrator: FakeOrchestrator
) -> None:
    """What passes in a moment is no refusal; the message id stays the same."""
    answers: Iterator[Problem | StartAnswer] = iter(
        [Problem(type="amends:overloaded"), StartAnswer(SAGA, created=False)]
    )
    orchestrator.answer = lambda _: next(answers)
    run = await amends.start("book-trip", {}, key="k-1")
    assert (run.created, len({m.message_id for m in orchestrator.asked})) == (False, 1)
    assert len(orchestrator.asked) == 2


async def test_a_lost_answer_is_asked_for_again(
    amends: Amends, orchestrator: FakeOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confirmed start that nobody answers is repeated under the same message id."""
    monkeypatch.setattr("amends_participants.client.broker.RESEND_S", 0.1)
    answers: Iterator[StartAnswer | None] = iter([None, StartAnswer(SAGA, created=False)])
    orchestrator.answer = lambda _: next(answers)
    await amends.start("book-trip", {}, key="k-1")
    assert [m.message_id for m in orchestrator.asked] == [orchestrator.asked[0].message_id] * 2


async def test_no_answer_is_unavailable(amends: Amends, orchestrator: FakeOrchestrator) -> None:
    """It says what is known, and that the same start may be repeated."""
    orchestrator.answer = lambda _: None
    with pytest.raises(Unavailable) as unavailable:
        await amends.start("book-trip", {}, key="k-1", timeout=0.3)
    assert unavailable.value.reason == "no orchestrator answered"
    assert "the same call\nagain, with the same key, is safe" in str(unavailable.value)


async def test_a_broker_without_orchestrator_is_unavailable(
    broker_url: str, wire_prefix: str
) -> None:
    """Its exchanges are missing: nothing is lost, nothing hangs."""
    async with Amends(broker_url, prefix=wire_prefix) as amends:
        with pytest.raises(Unavailable, match="the broker cannot be reached"):
            await amends.start("book-trip", {}, key="k-1", timeout=0.5)


async def test_a_missing_queue_is_unavailable(
    amends: Amends, orchestrator: FakeOrchestrator, broker_url: str
) -> None:
    """A returned start was accepted by nobody."""
    await amends.start("book-trip", {}, key="k-0")
    await _unbind(broker_url, orchestrator)
    with pytest.raises(Unavailable) as unavailable:
        await amends.start("book-trip", {}, key="k-1", timeout=0.5)
    assert unavailable.value.reason == "no orchestrator has declared its queues there"


async def test_many_are_started_at_once(amends: Amends, orchestrator: FakeOrchestrator) -> None:
    """Each key has its run or its refusal."""

    def answer(message: ClientMessage) -> StartAnswer | Problem:
        assert isinstance(message, Start)
        return Problem(type="no") if message.key == "k-7" else StartAnswer(SAGA, created=True)

    orchestrator.answer = answer
    runs = await amends.start_many(PLAN, {f"k-{n}": Trip(to="LIS") for n in range(300)})
    assert {key for key, run in runs.items() if isinstance(run, Refused)} == {"k-7"}
    assert [key for key, run in runs.items() if isinstance(run, Run)] == [
        f"k-{n}" for n in range(300) if n != 7
    ]


async def test_a_saga_is_changed(amends: Amends, orchestrator: FakeOrchestrator) -> None:
    """signal, cancel and undo, by the run or by definition and key."""
    orchestrator.answer = lambda m: {"saga_id": OTHER if isinstance(m, Undo) else SAGA}
    run = amends.run(SAGA)
    await run.signal("paid", {"usd": 3}, id="p-1")
    await run.cancel("the customer called")
    undo = await run.undo("the customer called")
    await amends.signal("book-trip", "k-1", "paid", id="p-2")
    assert undo.saga_id == OTHER
    assert orchestrator.messages == [
        Signal(saga_id=SAGA, event="paid", id="p-1", data={"usd": 3}),
        Cancel(saga_id=SAGA, reason="the customer called"),
        Undo(saga_id=SAGA, reason="the customer called"),
        Signal(definition="book-trip", key="k-1", event="paid", id="p-2"),
    ]


async def test_results_need_rest(amends: Amends) -> None:
    """The truth is there: without its address a client that has the broker alone says so."""
    with pytest.raises(NoAddress, match=r"Amends\(api_url=…\), set AMENDS_API_URL"):
        await amends.run(SAGA).result()


async def test_a_broker_that_comes_back_is_used_again(
    own_rabbitmq: servers.Broker, wire_prefix: str
) -> None:
    """A question asked while it is away is answered when it is back."""
    async with (
        over_rabbitmq(own_rabbitmq.url, wire_prefix),
        Amends(own_rabbitmq.url, prefix=wire_prefix) as amends,
    ):
        await amends.start("book-trip", {}, key="k-1")
        await asyncio.to_thread(own_rabbitmq.restart)
        run = await amends.start("book-trip", {}, key="k-2", timeout=60)
        assert run.saga_id == SAGA


async def _unbind(url: str, orchestrator: FakeOrchestrator) -> None:
    connection: Any = Connection(url)
    await connection.connect()
    channel = await connection.channel()
    await channel.queue_unbind(orchestrator.topology.start, orchestrator.topology.control, "start")
    await connection.close()
