"""Commands of one batch to one service travel together, where the service says it takes that."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag
from amends_contracts.codec import encode_batch, encode_reply
from amends_contracts.messages import Command, Hello, Outcome
from amends_contracts.names import Op, SagaId, StepPath
from amends_contracts.problems import ProblemType
from amends_contracts.topology import Topology
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.inputs import ReplyReceived
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.envelopes import LATE_S, SINGLY_S, Envelopes
from amends_orchestrator.engine.tokens import Tokens
from engine.harness import SECRET, Engine, action, engine
from engine.scripted import reply, silent
from wire import golden

FLIGHT = StepPath("flight")
ALONE = {**action("flight", "flights.reserve", input={"to": "${ input.to }"}), "timeout": "PT0.2S"}
HASTY = {
    "name": "hasty",
    "version": 1,
    "input": {"type": "object"},
    "steps": [{**ALONE, "effect": "keyed", "probe": False}],
}


async def crowd(e: Engine, count: int, definition: str = "trip") -> list[SagaId]:
    """Start so many at once."""
    names = [f"{definition}-{n}" for n in range(count)]
    return await asyncio.gather(*(e.start(name, definition=definition) for name in names))


async def heard(e: Engine, service: str = "flights") -> None:
    """Wait until a hello of this service has arrived."""
    await e.until(lambda: (service, "1") in e.store.said)


async def test_a_batch_to_one_service_goes_in_envelopes_of_at_most_64() -> None:
    """Three hundred sagas: flights has envelopes, hotels and payments have single messages."""
    async with engine(pace_ms=20) as e:
        e.participants.take_envelopes("flights")
        await heard(e)
        sagas = await crowd(e, 300)
        assert {await e.ends(saga) for saga in sagas} == {"completed"}
        assert max(e.participants.envelopes) == 64
        assert sum(e.participants.envelopes) > 250
        assert e.orchestrator.stats().envelopes == len(e.participants.envelopes)
        ran = [c for c in e.participants.seen if c.op is Op.ACTION]
        assert len(ran) == len({c.message_id for c in ran}) == 900
        await e.settled()


async def test_undos_share_envelopes_too() -> None:
    """In the lane of their own."""
    async with engine(pace_ms=20) as e:
        e.participants.take_envelopes("flights")
        e.participants.on("payments.charge", lambda c: reply(c, Outcome.FAILED, {"type": "no"}))
        await heard(e)
        sagas = await crowd(e, 100)
        assert {await e.ends(saga) for saga in sagas} == {"compensated"}
        assert sum(e.participants.envelopes) > 150


async def test_a_returned_envelope_is_sent_singly() -> None:
    """Nobody has declared the queue of a service that says it takes envelopes."""
    async with engine(pace_ms=20) as e:
        e.participants.hello("flights", "batch")
        await heard(e)
        sagas = await crowd(e, 200)
        assert {await e.ends(saga) for saga in sagas} == {"completed"}
        assert e.orchestrator.stats().envelopes > 2
        assert e.participants.envelopes == []
        ran = [c.message_id for c in e.participants.seen if c.op is Op.ACTION]
        assert len(ran) == len(set(ran)) == 600


async def test_an_envelope_that_nobody_reads_is_sent_singly_after_its_timeout() -> None:
    """Instances that could read it are gone, those that cannot are there."""
    async with engine(pace_ms=20) as e:
        e.register(HASTY)
        for queue in e.topology.batch_queues("flights"):
            e.broker.declare_queue(queue)
        e.participants.hello("flights", "batch")
        await heard(e)
        sagas = await crowd(e, 50, "hasty")
        assert {await e.ends(saga) for saga in sagas} == {"completed"}
        (do, _) = e.topology.batch_queues("flights")
        assert e.broker.depth(do.name) > 0
        again = [c for c in e.participants.seen if c.attempt > 1]
        assert len(again) > 40


async def test_an_envelope_with_a_bad_reply_is_acknowledged_when_all_of_it_is_safe() -> None:
    """The good replies count; the bad one is a dead letter by then."""
    async with engine() as e:
        e.participants.on("hotels.book", silent)
        sagas = await crowd(e, 8)
        await e.until(lambda: len(asked(e)) == 8)
        commands = asked(e)
        by_partition = {str(c.reply_to): [c] for c in commands}
        for key in by_partition:
            replies = [good(e, c) for c in commands if c.reply_to == key]
            bad = replace(replies[0], headers={**replies[0].headers, "amends-outcome": "won"})
            envelope = encode_batch(
                [bad, *replies], exchange=e.topology.replies, routing_key=key, message_id="e"
            )
            e.broker.publish(envelope)
        assert {await e.ends(saga) for saga in sagas} == {"completed"}
        letters = e.broker.peek(e.topology.dead)
        assert len(letters) == len(by_partition)
        assert all("amends-outcome" in str(x.headers["amends-reason"]) for x in letters)
        assert all(x.type == "hotels.book" for x in letters)
        queues = [e.topology.partition_queue(p) for p in range(4)]
        await e.until(lambda: not any(map(e.broker.depth, queues)))


async def test_a_full_envelope_does_not_overtake_what_waits_beside_it() -> None:
    """Sixty replies in one message, for batches of eight: three starts go into the first two."""
    async with engine(partitions=1, batch_max=8, pace_ms=20) as e:
        e.participants.on("hotels.book", silent)
        sagas = await crowd(e, 60)
        await e.until(lambda: len(asked(e)) == 60)
        commands = asked(e)
        running = e.orchestrator._running  # pyright: ignore[reportPrivateUsage]
        assert running is not None
        await running.intake.idle.wait()
        async with running.intake.boundary:
            key = str(commands[0].reply_to)
            replies = [good(e, c) for c in commands]
            e.broker.publish(
                encode_batch(replies, exchange=e.topology.replies, routing_key=key, message_id="e")
            )
            starts = asyncio.gather(*(e.start(f"late-{n}") for n in range(3)))
            await e.until(lambda: e.orchestrator.stats().waiting == 3)
        await starts
        answered = sum(e.kinds(saga).count("step.succeeded") > 1 for saga in sagas)
        assert 8 <= answered < 60
        assert {await e.ends(saga) for saga in sagas} == {"completed"}


def asked(e: Engine) -> list[Command]:
    """What hotels were asked."""
    return [c for c in e.participants.seen if c.type == "hotels.book" and c.op is Op.ACTION]


def good(e: Engine, command: Command) -> AmqpMessage:
    """Its answer."""
    assert command.reply_to is not None
    return encode_reply(reply(command, Outcome.SUCCEEDED, {}), command.reply_to, e.topology)


async def test_one_bad_reply_of_sixty_four_leaves_sixty_three() -> None:
    """At every position: no decoding, another's service, or a body that is none."""
    async with engine() as e:
        edge: Edge = e.orchestrator._edge  # pyright: ignore[reportPrivateUsage]
        token = Tokens([SECRET]).sign(golden.SUCCEEDED.key)
        replies = encode_reply(
            replace(golden.SUCCEEDED, token=token), golden.REPLY_TO, golden.TOPOLOGY
        )
        spoilt = [
            replace(replies, correlation_id="x"),
            replace(replies, type="hotels.book"),
            replace(replies, headers={**replies.headers, "amends-key": "x"}),
        ]
        for position in range(64):
            members = [replies] * 63
            members.insert(position, spoilt[position % 3])
            envelope = encode_batch(
                members,
                exchange=golden.TOPOLOGY.replies,
                routing_key=golden.REPLY_TO,
                message_id="e",
            )
            read = await edge.read(Delivery(DeliveryTag(1, 1), "q", envelope))
            assert [bad.index for bad in read.dead_members] == [position]
            assert len(read.works) == 63
            assert read.handle is not None
            assert read.handle.left == 64


async def test_a_dead_lettered_envelope_is_told_to_each_of_its_steps() -> None:
    """Its queue gave it up: every step in it learns so at once, not at its timeout."""
    async with engine(pace_ms=20) as e:
        e.participants.on("hotels.book", silent)
        sagas = await crowd(e, 3)
        await e.until(lambda: len(asked(e)) == 3)
        commands = asked(e)
        envelope = encode_batch(
            [golden.encode_command(c, e.topology) for c in commands],
            exchange=e.topology.dead,
            routing_key="x",
            message_id="e",
        )
        e.broker.publish(replace(envelope, headers={"x-first-death-reason": "delivery_limit"}))
        await e.until(lambda: all("delivery_limit" in str(e.store.journal[saga]) for saga in sagas))


# --- services that mishandle them ----------------------------------------------------------------


class Hands:
    """A clock that is set."""

    now = 0.0

    def monotonic(self) -> float:
        """As it was set."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Nobody waits here."""


def timeout(n: int, attempt: int = 1) -> tuple[SagaId, list[JournalRow]]:
    """The rows of a saga whose flight did not answer in time."""
    row = JournalRow(
        seq=3,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        kind="step-retrying",
        step=FLIGHT,
        attempt=attempt,
        data={"problem": {"type": ProblemType.TIMEOUT}},
    )
    return SagaId(f"saga {n}"), [row]


def answer(attempt: int, op: Op = Op.ACTION) -> ReplyReceived:
    """What flights says."""
    return ReplyReceived(
        path=FLIGHT, op=op, attempt=attempt, service="flights", outcome=Outcome.SUCCEEDED
    )


def known() -> tuple[Envelopes, Hands]:
    """Flights takes envelopes, by its own word."""
    clock = Hands()
    envelopes = Envelopes(Topology(), clock)
    hello = Hello(service="flights", instance="1", commands={}, accepts=frozenset({"batch"}))
    envelopes.heard(hello)
    return envelopes, clock


def test_a_service_that_leaves_envelopes_unanswered_is_served_singly_for_a_while() -> None:
    """Three steps timed out and were answered when they were asked singly, or probed."""
    envelopes, clock = known()
    for n in range(3):
        envelopes.timed_out(*timeout(n))
        envelopes.answered(timeout(n)[0], answer(2) if n else answer(1, Op.PROBE))
    assert envelopes.mishandled() == []
    clock.now += LATE_S + 1
    assert envelopes.mishandled() == ["flights"]
    assert not envelopes.takes("flights")
    clock.now += SINGLY_S
    envelopes.learn(["flights"])
    assert envelopes.takes("flights")


def test_a_service_that_is_late_keeps_its_envelopes() -> None:
    """What was in them is answered after all; so are steps that nobody answers at all."""
    envelopes, clock = known()
    for n in range(5):
        envelopes.timed_out(*timeout(n))
        envelopes.answered(timeout(n)[0], answer(2))
        envelopes.answered(timeout(n)[0], answer(1))
        envelopes.timed_out(*timeout(n + 10))
    clock.now += LATE_S + 1
    assert envelopes.mishandled() == []
    assert envelopes.takes("flights")


def test_a_service_not_heard_of_for_long_is_served_singly() -> None:
    """Envelopes are for services of which an instance lives that takes them."""
    envelopes, clock = known()
    clock.now += 91
    assert not envelopes.takes("flights")


def test_what_is_no_first_attempt_travels_alone() -> None:
    """A further attempt, a probe and a ledger go beside two actions in one envelope."""
    envelopes, _ = known()
    names = ["command-action", "command-action", "command-action-again", "command-probe"]
    messages = [golden.encoded()[name] for name in [*names, "command-ledger"]]
    packed = envelopes.packed(UUID(int=1), messages)
    assert [len(p.members) for p in packed] == [2, 0, 0, 0]
    assert packed[0].message.routing_key == "amends.do.flights.batch"
    assert packed[0].message.message_id == f"{UUID(int=1)}:0"
    assert [p.message for p in packed[1:]] == messages[2:]


def test_the_envelopes_of_one_row_have_ids_of_their_own() -> None:
    """Two hundred commands of one service: what comes back is told apart by its id."""
    envelopes, _ = known()
    packed = envelopes.packed(UUID(int=1), [golden.encoded()["command-action"]] * 200)
    assert [p.message.message_id for p in packed] == [f"{UUID(int=1)}:{n}" for n in range(4)]
    assert sum(len(p.members) for p in packed) == 200
