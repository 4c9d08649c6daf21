"""Client verbs that come over the broker: answered where an answer may go, refused by reason."""

import json
from collections.abc import AsyncGenerator

import pytest

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import decode_answer, encode_client
from amends_contracts.messages import Cancel, ClientMessage, EnlistOpen, Json, Start
from amends_contracts.names import SagaId
from amends_contracts.problems import Problem
from amends_contracts.topology import Queue
from amends_orchestrator.transport.memory_broker import MemoryConsumer
from engine.harness import TRIP, Engine, engine
from engine.scripted import silent


class Client:
    """A client with a queue of its own."""

    def __init__(self, e: Engine) -> None:
        self.e = e
        self.queue = e.topology.client_queue("c1")
        self.answers: dict[str | None, Json] = {}
        e.broker.declare_queue(Queue(self.queue, ()))
        e.broker.subscribe(self.queue, 0, self._receive)
        self._asked = 0

    def _receive(self, consumer: MemoryConsumer, tag: int, message: AmqpMessage, _: bool) -> None:
        self.answers[message.correlation_id] = decode_answer(message)
        self.e.broker.acknowledge(consumer, tag)

    async def ask(self, message: ClientMessage) -> Json:
        """Send a verb and await its answer."""
        self._asked += 1
        correlation = str(self._asked)
        sent = encode_client(
            message, self.e.topology, reply_to=self.queue, correlation_id=correlation
        )
        self.e.broker.publish(sent)
        await self.e.until(lambda: correlation in self.answers)
        return self.answers[correlation]


@pytest.fixture
async def e() -> AsyncGenerator[Engine]:
    """A running engine."""
    async with engine() as made:
        yield made


async def test_a_start_is_answered_after_its_commit(e: Engine) -> None:
    """With the saga's id; the same key again gives it again, another input a problem."""
    client = Client(e)
    start = Start(definition="trip", key="k", input={"to": "Rome"})
    first = await client.ask(start)
    assert first["created"] is True
    assert SagaId(first["saga_id"]) in e.store.sagas
    assert await client.ask(start) == {"saga_id": first["saga_id"], "created": False}
    other = await client.ask(Start(definition="trip", key="k", input={"to": "Oslo"}))
    assert isinstance(other, Problem)
    assert other.type == "amends:key-conflict"


async def test_a_start_that_does_not_fit_is_answered_with_the_field(e: Engine) -> None:
    """The problem names the member of the input."""
    problem = await Client(e).ask(Start(definition="trip", key="k", input={}))
    assert isinstance(problem, Problem)
    assert problem.type == "amends:bad-request"
    assert "to" in problem.errors[0].reason


async def test_a_cancel_is_answered_with_the_status(e: Engine) -> None:
    """After its commit; a second one is refused once the saga has ended."""
    e.register({**TRIP, "interrupt_after": "PT0.05S"})
    e.participants.on("hotels.book", silent)
    client = Client(e)
    saga = await e.start("k")
    await e.until(lambda: len(e.participants.seen) == 2)
    answer = await client.ask(Cancel(saga_id=saga, reason="changed plans"))
    assert answer == {"saga_id": saga, "status": "compensating"}
    assert await e.ends(saga) == "compensated"
    late = await client.ask(Cancel(saga_id=saga, reason="again"))
    assert isinstance(late, Problem)
    assert late.type == "amends:wrong-state"


async def test_a_verb_of_a_later_version_is_refused_as_such(e: Engine) -> None:
    """It is not swallowed, and no dead letter: there is nothing wrong with it."""
    asked = EnlistOpen(definition="trip", key="k", lease="PT30S")
    problem = await Client(e).ask(asked)
    assert isinstance(problem, Problem)
    assert problem.type == "amends:unsupported"
    assert e.broker.depth(e.topology.dead) == 0


async def test_an_unreadable_start_is_answered_and_dead_lettered(e: Engine) -> None:
    """Who asked is told what is wrong, and operators can see it."""
    client = Client(e)
    broken = AmqpMessage(
        exchange=e.topology.control,
        routing_key="start",
        body=json.dumps({"definition": "trip", "kee": "k", "input": {}}).encode(),
        reply_to=client.queue,
        correlation_id="x",
        content_type="application/json",
    )
    e.broker.publish(broken)
    await e.until(lambda: "x" in client.answers)
    assert client.answers["x"].type == "amends:bad-request"
    await e.until(lambda: e.broker.depth(e.topology.dead) == 1)


async def test_no_answer_goes_to_a_queue_that_is_not_a_clients(e: Engine) -> None:
    """An answer must not become a command or a reply of ours."""
    victim = e.topology.do_queue("flights")
    before = len(e.participants.seen)
    start = Start(definition="nobody", key="k", input={})
    e.broker.publish(encode_client(start, e.topology, reply_to=victim, correlation_id="c"))
    await e.until(lambda: sum(e.orchestrator.counters.refused.values()) == 1)
    assert len(e.participants.seen) == before
    assert e.broker.depth(victim) == 0
