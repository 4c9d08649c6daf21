"""Whole sagas through the real engine: success, compensation, duplicates, refusals."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from amends_contracts.codec import encode_reply
from amends_contracts.messages import (
    Command,
    CommandInfo,
    Effect,
    Hello,
    Outcome,
    Reply,
    Reversal,
    Start,
    StartAnswer,
)
from amends_contracts.names import Op, SagaId
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.inputs import CancelRequested
from engine.harness import TRIP, action, engine
from engine.scripted import failed, reply, silent, succeeded


async def test_a_saga_runs_to_its_end() -> None:
    """Each step once, in order; later inputs see earlier outputs; the outbox is empty after."""
    async with engine() as e:
        saga = await e.start("k")
        assert await e.ends(saga) == "completed"
        assert e.participants.ran() == [
            "flights.reserve action 1",
            "hotels.book action 1",
            "payments.charge action 1",
        ]
        assert e.participants.seen[2].json() == {"flight": "7C"}
        await e.settled()
        stats = e.orchestrator.stats()
        assert (stats.commands, stats.unsettled, stats.conflicts, stats.stuck) == (3, 0, 0, 0)


async def test_a_failed_step_undoes_what_succeeded_before_it() -> None:
    """The newest effect is undone first; the step that failed is not."""
    async with engine() as e:
        e.participants.on("payments.charge", failed("card-declined"))
        assert await e.ends(await e.start("k")) == "compensated"
        assert e.participants.ran()[3:] == [
            "hotels.book compensation 1",
            "flights.reserve compensation 1",
        ]
        undo = e.participants.seen[-1]
        assert undo.json() == {"input": {"to": "Rome"}, "output": {"code": "7C"}}
        assert undo.compensates == e.participants.seen[0].key


async def test_a_retryable_failure_is_tried_again() -> None:
    """The second attempt has a higher number under the same key."""
    async with engine() as e:

        def second_time(command: Command) -> Reply | None:
            script = succeeded() if command.attempt > 1 else failed("busy", retryable=True)
            return script(command)

        e.participants.on("hotels.book", second_time)
        assert await e.ends(await e.start("k")) == "completed"
        hotel = [c for c in e.participants.seen if c.type == "hotels.book"]
        assert [c.attempt for c in hotel] == [1, 2]
        assert hotel[0].key == hotel[1].key


async def test_duplicates_of_every_reply_change_nothing() -> None:
    """Each reply three times: the same journal as with one each, the others are counted."""
    async with engine() as e:
        e.participants.on("payments.charge", failed("card-declined"))
        plain = await e.start("plain")
        await e.ends(plain)
        e.participants.copies = 3
        tripled = await e.start("tripled")
        assert await e.ends(tripled) == "compensated"
        assert e.kinds(tripled) == e.kinds(plain)
        await e.until(lambda: e.orchestrator.counters.refused["duplicate"] == 10)


async def test_starting_again_gives_the_same_saga() -> None:
    """One key, one saga, also among starts that share a batch."""
    async with engine() as e:
        asked = await asyncio.gather(*(e.ask("k") for _ in range(20)))
        answers = [answer for answer in asked if isinstance(answer, StartAnswer)]
        assert len({answer.saga_id for answer in answers}) == 1
        assert Counter(answer.created for answer in answers) == {True: 1, False: 19}
        assert await e.ask("k") == StartAnswer(answers[0].saga_id, created=False)


async def test_a_key_with_another_input_is_refused() -> None:
    """In the same batch and in a later one."""
    async with engine() as e:
        first, second = await asyncio.gather(e.ask("k"), e.ask("k", value={"to": "Oslo"}))
        assert isinstance(first, StartAnswer)
        assert isinstance(second, Refused)
        assert second.type is ProblemType.KEY_CONFLICT
        third = await e.ask("k", value={"to": "Oslo"})
        assert isinstance(third, Refused)
        assert str(first.saga_id) in third.detail


async def test_a_start_that_does_not_fit_is_refused_with_the_field() -> None:
    """Nothing is written for it."""
    async with engine() as e:
        refused = await e.ask("k", value={"to": 3})
        assert isinstance(refused, Refused)
        assert refused.type is ProblemType.BAD_REQUEST
        assert [error.path for error in refused.errors] == ["/input/to"]
        unknown = await e.ask("k", definition="nobody")
        assert isinstance(unknown, Refused)
        assert unknown.type is ProblemType.NOT_FOUND
        assert e.store.sagas == {}


async def test_a_cancelled_saga_is_undone() -> None:
    """What was dispatched is awaited or given up, then everything is undone."""
    document = {**TRIP, "interrupt_after": "PT0.05S"}
    async with engine() as e:
        e.register(document)
        e.participants.on("hotels.book", silent)
        saga = await e.start("k")
        await e.until(lambda: len(e.participants.seen) == 2)
        request = CancelRequested(reason="changed plans", by="tester")
        answer = await e.orchestrator.submit("default", saga, request)
        assert isinstance(answer, Decision)
        assert await e.ends(saga) == "compensated"
        assert "flights.reserve compensation 1" in e.participants.ran()


async def test_a_message_of_another_tenant_is_not_for_this_saga() -> None:
    """It is told that there is no such saga, and the saga goes on."""
    async with engine() as e:
        e.participants.on("hotels.book", silent)
        saga = await e.start("k")
        answer = await e.orchestrator.submit("other", saga, CancelRequested(reason="x", by="y"))
        assert isinstance(answer, Refused)
        assert answer.type is ProblemType.NOT_FOUND
        nobody = SagaId("0198c0de-0000-7000-8000-000000000000")
        missing = await e.orchestrator.submit("other", nobody, CancelRequested(reason="", by=""))
        assert missing == answer
        assert e.status(saga) == "running"


async def test_a_step_that_nobody_answers_times_out() -> None:
    """Timers are the database's; an unanswered step is probed or compensated as unknown."""
    steps = [action("flight", "flights.reserve", timeout="PT0.1S", retry={"max_attempts": 1})]
    async with engine() as e:
        e.register({**TRIP, "name": "slow", "steps": steps})
        e.participants.on("flights.reserve", silent)
        saga = await e.start("k", definition="slow")
        assert await e.ends(saga) == "compensated"
        undo = e.participants.seen[-1]
        assert (undo.op, undo.action_outcome) == (Op.COMPENSATION, "unknown")


async def test_a_wrong_token_is_refused_and_counted() -> None:
    """A reply that nobody asked for moves nothing, whoever sends it."""
    async with engine() as e:
        e.participants.on("hotels.book", silent)
        saga = await e.start("k")
        await e.until(lambda: len(e.participants.seen) == 2)
        asked = e.participants.seen[1]
        forged = replace(reply(asked, Outcome.SUCCEEDED, {}), token="00" * 32)
        assert asked.reply_to is not None
        e.broker.publish(encode_reply(forged, asked.reply_to, e.topology))
        await e.until(lambda: e.orchestrator.counters.refused["token"] == 1)
        assert e.kinds(saga).count("step.succeeded") == 1  # the flight
        assert e.status(saga) == "running"


@pytest.mark.parametrize("count", [300])
async def test_many_sagas_share_batches(count: int) -> None:
    """Far fewer commits than messages."""
    async with engine(pace_ms=3) as e:
        sagas = await asyncio.gather(*(e.start(f"k{n}") for n in range(count)))
        assert len(set(sagas)) == count
        for saga in sagas:
            assert await e.ends(saga) == "completed"
        assert e.orchestrator.counters.batches < count


async def test_an_output_is_held_to_what_any_orchestrator_was_told() -> None:
    """A `hello` that another one heard: an output that breaks its promise is an effect, undone."""
    schema = {"type": "object", "required": ["code"], "properties": {"code": {"type": "integer"}}}
    info = CommandInfo(Effect.TRANSACTIONAL, Reversal.COMPENSATABLE, output=schema)
    async with engine() as e:
        hello = Hello(service="flights", instance="i", commands={"flights.reserve": info})
        await e.store.keep_hello(hello)
        async with e.another() as other:
            await e.until(lambda: other.catalog.output_problem("flights.reserve", {}) is not None)
            start = Start(definition="trip", key="k", input={"to": "Rome"})
            answer = await other.start("default", "tester", start)
            assert isinstance(answer, StartAnswer)
            await e.orchestrator.stop()
            assert await e.ends(answer.saga_id) == "compensated"
        assert "flights.reserve compensation 1" in e.participants.ran()
