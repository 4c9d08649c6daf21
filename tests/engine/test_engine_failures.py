"""What goes wrong around the engine, and what does not go wrong because of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import dump_messages, encode_reply
from amends_contracts.messages import Command, Outcome, StartAnswer, to_body
from amends_contracts.names import SagaId
from amends_orchestrator import core
from amends_orchestrator.core.decision import Answer, Refused
from amends_orchestrator.core.inputs import CancelRequested, Input, ReplyReceived
from amends_orchestrator.core.journal import StepUndeliverable
from amends_orchestrator.core.journal_rows import from_row
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.ports import BadData, Batch, Conflict, OutboxWrite, StoreUnavailable
from amends_orchestrator.store.memory import MemoryStore
from amends_orchestrator.transport.memory import MemoryTransport
from amends_orchestrator.transport.memory_broker import MemoryConsumer
from engine.harness import Engine, engine
from engine.scripted import failed, reply, silent


def asked_once(e: Engine) -> bool:
    """No command was published twice."""
    ids = [command.message_id for command in e.participants.seen]
    return len(ids) == len(set(ids))


class EveryOtherLoses(MemoryStore):
    """Every second commit loses a race, and writes nothing."""

    commits = 0

    async def commit(self, batch: Batch) -> None:
        """Lose, or commit."""
        self.commits += 1
        if self.commits % 2:
            raise Conflict("somebody was first")
        await super().commit(batch)


async def test_a_losing_batch_publishes_nothing() -> None:
    """It is decided again; each command is published once, by the batch that won."""
    async with engine(store=EveryOtherLoses) as e:
        e.participants.on("payments.charge", failed("card-declined"))
        saga = await e.start("k")
        assert await e.ends(saga) == "compensated"
        assert e.orchestrator.counters.conflicts >= 5
        assert asked_once(e)


class DoubtfulButDone(MemoryStore):
    """Every commit comes through, and its answer is lost."""

    async def commit(self, batch: Batch) -> None:
        """Commit, and say that nobody knows."""
        await super().commit(batch)
        raise StoreUnavailable("the connection died after COMMIT")


async def test_a_commit_in_doubt_that_came_through_is_found() -> None:
    """Its messages are published once, and its start is answered as created."""
    async with engine(store=DoubtfulButDone) as e:
        answer = await e.ask("k")
        assert isinstance(answer, StartAnswer)
        assert answer.created
        assert await e.ends(answer.saga_id) == "completed"
        assert asked_once(e)


async def test_what_somebody_else_may_have_published_was_perhaps_delivered() -> None:
    """A return says that nobody has it only if the publication that it belongs to was the only one:
    an outbox row of a commit in doubt may have been taken over by another orchestrator.
    """
    async with engine(store=DoubtfulButDone, services=("hotels", "payments")) as e:
        saga = await e.start("k")
        await e.until(lambda: "step.undeliverable" in e.kinds(saga))
        row = next(r for r in e.store.journal[saga] if r.kind == "step.undeliverable")
        undeliverable = from_row(row)
        assert isinstance(undeliverable, StepUndeliverable)
        assert undeliverable.doubt


class DoubtfulAndLost(MemoryStore):
    """Every other commit is lost with its connection."""

    commits = 0

    async def commit(self, batch: Batch) -> None:
        """Lose it, or commit."""
        self.commits += 1
        if self.commits % 2:
            raise StoreUnavailable("the connection died before COMMIT")
        await super().commit(batch)


async def test_a_commit_in_doubt_that_was_lost_is_repeated() -> None:
    """Nothing of it had been published."""
    async with engine(store=DoubtfulAndLost) as e:
        assert await e.ends(await e.start("k")) == "completed"
        assert asked_once(e)


@dataclass
class Zombie(MemoryStore):
    """A frozen server carries every doubtful commit out later, just before the next one."""

    frozen: list[Batch] = field(default_factory=list[Batch])
    commits: int = 0

    async def commit(self, batch: Batch) -> None:
        """Freeze every other batch; thaw the frozen one before the next."""
        self.commits += 1
        if self.commits % 2:
            self.frozen.append(batch)
            raise StoreUnavailable("no answer in time")
        while self.frozen:
            await super().commit(self.frozen.pop())
        await super().commit(batch)


async def test_a_commit_that_comes_through_late_is_adopted() -> None:
    """The fence refuses the second one, and the first one's messages are published."""
    async with engine(store=Zombie) as e:
        answer = await e.ask("k")
        assert isinstance(answer, StartAnswer)
        assert answer.created
        assert await e.ends(answer.saga_id) == "completed"
        assert asked_once(e)


async def test_a_saga_that_cannot_be_decided_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the core makes that saga stuck; its neighbours do not notice."""
    decide = core.decide

    def explosive(
        plan: core.Plan,
        saga: core.Saga,
        values: core.Values,
        message: Input,
        now: datetime,
        sick: Mapping[str, timedelta] | None = None,
    ) -> Answer:
        if saga.identity.key == "bad" and isinstance(message, ReplyReceived):
            raise ZeroDivisionError("as only real code can")
        return decide(plan, saga, values, message, now, sick)

    monkeypatch.setattr(core, "decide", explosive)
    async with engine() as e:
        good, bad = await asyncio.gather(e.start("good"), e.start("bad"))
        assert await e.ends(good) == "completed"
        await e.until(lambda: e.status(bad) == "stuck")
        assert "ZeroDivisionError" in str(e.store.journal[bad][-1].data)
        assert e.orchestrator.counters.stuck == 1


@dataclass
class Picky(MemoryStore):
    """Refuses the data of sagas named here, but for parking them."""

    refused: set[SagaId] = field(default_factory=set[SagaId])
    refusals: int = 0

    async def commit(self, batch: Batch) -> None:
        """BadData for a batch with such a saga."""
        for write in batch.sagas:
            parked = "engine-fault" in str(write.rows[-1].data)
            if write.identity.saga_id in self.refused and not parked:
                self.refusals += 1
                raise BadData("22P05: unsupported Unicode escape sequence")
        await super().commit(batch)


async def test_data_that_the_database_refuses_parks_its_saga_alone() -> None:
    """The batch is halved until the saga is found; all others are committed."""
    async with engine(store=Picky, pace_ms=50) as e:
        assert isinstance(e.store, Picky)
        held: list[Command] = []

        def hold(command: Command) -> None:
            held.append(command)

        e.participants.on("flights.reserve", hold)
        sagas = await asyncio.gather(*(e.start(f"k{n}") for n in range(9)))
        bad = sagas[4]
        e.store.refused.add(bad)
        e.participants.scripts.clear()
        for command in held:
            answer = reply(command, Outcome.SUCCEEDED, {"code": "7C"})
            assert command.reply_to is not None
            e.broker.publish(encode_reply(answer, command.reply_to, e.topology))
        for saga in sagas:
            if saga != bad:
                assert await e.ends(saga) == "completed"
        await e.until(lambda: e.status(bad) == "stuck")
        assert e.store.refusals >= 2


class RefusesStarts(MemoryStore):
    """Refuses a start by its data."""

    async def commit(self, batch: Batch) -> None:
        """BadData for every saga with this key."""
        if any(write.identity.key == "bad" for write in batch.sagas):
            raise BadData("22021: invalid byte sequence")
        await super().commit(batch)


async def test_a_start_that_cannot_be_stored_is_refused() -> None:
    """There is no saga to park: who asked is told, the others start."""
    async with engine(store=RefusesStarts) as e:
        answers = await asyncio.gather(*(e.ask(key) for key in ("a", "bad", "b")))
        kinds = [isinstance(answer, StartAnswer) for answer in answers]
        assert kinds == [True, False, True]


async def test_no_outbox_row_is_left_beside_a_start_that_cannot_be_stored() -> None:
    """Only what a commit has really deleted is forgotten; the rest is deleted by a later one."""
    async with engine(store=RefusesStarts) as e:
        for n in range(20):
            await asyncio.gather(e.ask("bad"), e.start(f"k{n}"))
        await e.settled()


async def test_a_service_that_nobody_runs_is_waited_for() -> None:
    """A returned command costs no attempt; when the service comes, the saga goes on."""
    async with engine(services=("flights", "hotels")) as e:
        saga = await e.start("k")
        await e.until(lambda: e.orchestrator.counters.undeliverable["payments"] >= 1)
        await e.until(lambda: not e.orchestrator.stats().unsettled)
        e.participants.run("payments")
        assert await e.ends(saga) == "completed"
        assert [c.attempt for c in e.participants.seen if c.type == "payments.charge"] == [1]


async def test_what_nobody_ever_got_needs_no_undo() -> None:
    """Cancelled while its service is not there: what was only returned is known to be nothing."""
    async with engine(services=("flights", "hotels")) as e:
        saga = await e.start("k")
        await e.until(lambda: e.orchestrator.counters.undeliverable["payments"] >= 1)
        answer = await e.orchestrator.submit(
            "default", saga, CancelRequested(reason="enough", by="tester")
        )
        assert not isinstance(answer, Refused)
        assert await e.ends(saga) == "compensated"
        assert [c for c in e.participants.seen if c.type == "payments.charge"] == []


class Deaf(MemoryTransport):
    """A broker that confirms nothing while `deaf` is set."""

    deaf = False
    calls = 0

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Unknown, after a while; the message may be there all the same."""
        if self.deaf:
            type(self).calls += 1
            await super().publish(messages[:1], timeout_s)
            await asyncio.sleep(0.01)
            return [PublishResult.UNKNOWN] * len(messages)
        return await super().publish(messages, timeout_s)


async def test_intake_stops_while_the_broker_confirms_nothing() -> None:
    """At most eight rows are open; nothing is lost, and all goes on when it confirms again."""
    async with engine(transport=Deaf, batch_max=1) as e:
        assert isinstance(e.transport, Deaf)
        e.transport.deaf = True
        asked = [asyncio.create_task(e.start(f"k{n}")) for n in range(20)]
        await e.until(lambda: e.orchestrator.stats().unsettled == 8)
        await e.until(lambda: e.orchestrator.counters.republished > 20)
        assert e.orchestrator.stats().unsettled == 8
        assert len(e.store.sagas) == 8
        e.transport.deaf = False
        for saga in await asyncio.gather(*asked):
            assert await e.ends(saga) == "completed"
        await e.settled()


async def test_a_dead_lettered_command_reaches_its_step() -> None:
    """A participant that rejects its command leaves an effect in doubt, not silence."""
    async with engine() as e:

        def take_nothing(consumer: MemoryConsumer, tag: int, *_: object) -> None:
            e.broker.reject(consumer, tag)

        queue, undo = e.topology.service_queues("mail")
        for declared in (queue, undo):
            e.broker.declare_queue(declared)
        e.broker.subscribe(queue.name, 0, take_nothing)
        step = {"id": "mail", "kind": "action", "command": "mail.send", "effect": "none"}
        e.register({"name": "post", "version": 1, "input": {}, "steps": [step]})
        saga = await e.start("k", definition="post")
        await e.until(lambda: e.status(saga) == "stuck")
        assert "rejected" in str([row.data for row in e.store.journal[saga]])
        assert e.broker.depth(e.topology.dead) == 1


async def test_what_is_no_message_is_dead_lettered_with_its_reason() -> None:
    """And nothing else is disturbed."""
    async with engine() as e:
        junk = AmqpMessage(
            exchange=e.topology.replies, routing_key="reply.flights.00", body=b"\x00", headers={}
        )
        e.broker.publish(junk)
        e.broker.publish(AmqpMessage(exchange=e.topology.control, routing_key="start", body=b"{"))
        await e.until(lambda: e.broker.depth(e.topology.dead) == 2)
        reasons = [m.headers["amends-reason"] for m in e.broker.peek(e.topology.dead)]
        assert all(isinstance(reason, str) and reason for reason in reasons)
        assert await e.ends(await e.start("k")) == "completed"


async def test_what_strangers_write_is_not_counted_by_its_words() -> None:
    """Counters are kept for as long as the process lives: their names are ours."""
    async with engine() as e:
        for n in range(20):
            body = to_body({"definition": "trip", "key": "k", "input": {}, f"member{n}": 1})
            bad = AmqpMessage(exchange=e.topology.control, routing_key="start", body=body)
            e.broker.publish(bad)
        await e.until(lambda: e.orchestrator.counters.dead_lettered.total() == 20)
        assert list(e.orchestrator.counters.dead_lettered) == ["body"]


async def test_a_partition_moves_to_a_newcomer_and_back() -> None:
    """Two share what one had; when one leaves, the other has it all, and no saga is lost."""
    async with engine(lease_s=1.0) as e:
        e.participants.on("hotels.book", silent)
        sagas = [await e.start(f"k{n}") for n in range(8)]
        async with e.another() as other:
            await e.until(lambda: len(other.stats().owned) == 2)
            await e.until(lambda: len(e.orchestrator.stats().owned) == 2)
            e.participants.scripts.clear()
            more = [await e.start(f"more{n}", value={"to": "Oslo"}) for n in range(8)]
            for saga in more:
                assert e.store.sagas[saga].stored.identity.partition in range(4)
        await e.until(lambda: len(e.orchestrator.stats().owned) == 4)
        assert {e.status(saga) for saga in sagas} == {"running"}


async def test_what_a_dead_orchestrator_left_is_published() -> None:
    """Its outbox rows are claimed when its lease is over."""
    async with engine(lease_s=0.5) as e:
        e.participants.on("flights.reserve", silent)
        saga = await e.start("k")
        await e.settled()
        dead = uuid7()
        await e.store.tick(dead, lease_s=0.1, claim=False, limit=1)
        left = AmqpMessage(
            exchange=e.topology.events, routing_key="x.y", body=b"{}", mandatory=False
        )
        row = OutboxWrite(id=uuid7(), n=1, body=dump_messages([left]))
        await e.store.commit(Batch(orchestrator=dead, sagas=(), outbox=row))
        await e.until(lambda: row.id not in e.store.outbox)
        assert e.orchestrator.counters.republished == 1
        assert saga in e.store.sagas


async def test_what_a_newer_release_left_is_left_to_it() -> None:
    """An outbox row in a form that is not known here ends nobody, and is not lost."""
    async with engine(lease_s=0.5) as e:
        dead = uuid7()
        await e.store.tick(dead, lease_s=0.1, claim=False, limit=1)
        row = OutboxWrite(id=uuid7(), n=1, body=b"AM\x7f\0\0\0\0")
        await e.store.commit(Batch(orchestrator=dead, sagas=(), outbox=row))
        await e.until(lambda: e.store.outbox[row.id][0] == e.orchestrator.id)
        assert await e.ends(await e.start("k")) == "completed"
        assert row.id in e.store.outbox


async def test_a_loop_that_dies_ends_the_orchestrator() -> None:
    """It does not limp: `run` raises, and who waited is told."""
    with pytest.raises(BaseExceptionGroup) as caught:
        async with engine(store=Broken) as e:
            await e.ask("k")
    assert caught.group_contains(MemoryError)


class Broken(MemoryStore):
    """Fails as no store should."""

    async def commit(self, batch: Batch) -> None:
        """Raise what nobody expects."""
        raise MemoryError("out of it")
