"""Replies that cannot be what they say: each has its end, and nothing else is disturbed."""

from dataclasses import replace
from typing import Any

import pytest

from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag
from amends_contracts.codec import encode_reply
from amends_contracts.messages import Command, Outcome
from amends_contracts.names import BODY_BYTES_MAX, Op, SagaId, StepPath, key_of
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.tokens import Tokens
from engine.harness import SECRET, Engine, engine
from engine.scripted import reply, silent


async def asked_hotel(e: Engine) -> Command:
    """A saga that waits for its hotel; what the hotel was asked."""
    e.participants.on("hotels.book", silent)
    saga = await e.start("waits")
    await e.until(lambda: any(c.saga_id == saga and c.type == "hotels.book" for c in seen(e)))
    return next(c for c in seen(e) if c.saga_id == saga and c.type == "hotels.book")


def seen(e: Engine) -> list[Command]:
    """Every command so far."""
    return e.participants.seen


def answer_of(e: Engine, asked: Command) -> AmqpMessage:
    """A good answer."""
    assert asked.reply_to is not None
    return encode_reply(reply(asked, Outcome.SUCCEEDED, {}), asked.reply_to, e.topology)


@pytest.mark.parametrize(
    ("headers", "properties", "reason"),
    [
        ({"amends-key": None}, {}, "amends-key"),
        ({"amends-outcome": "won"}, {}, "amends-outcome"),
        ({"amends-attempt": "one"}, {}, "amends-attempt"),
        ({}, {"type": "flights.reserve"}, "routing key"),
        ({}, {"user_id": "flights"}, "user_id"),
        ({}, {"content_type": "text/html"}, "content_type"),
    ],
)
async def test_what_is_no_reply_leaves_its_step_waiting(
    headers: dict[str, str | None], properties: dict[str, Any], reason: str
) -> None:
    """A dead letter with its reason; the real answer still counts, and others go on."""
    async with engine() as e:
        asked = await asked_hotel(e)
        assert asked.saga_id is not None
        good = answer_of(e, asked)
        spoilt = {k: v for k, v in {**good.headers, **headers}.items() if v is not None}
        e.broker.publish(replace(good, headers=spoilt, **properties))
        await e.until(lambda: e.broker.depth(e.topology.dead) == 1)
        (dead,) = e.broker.peek(e.topology.dead)
        assert reason in str(dead.headers["amends-reason"])
        assert e.status(asked.saga_id) == "running"

        e.participants.scripts.pop(("hotels.book", Op.ACTION))
        assert await e.ends(await e.start("other")) == "completed"
        e.broker.publish(answer_of(e, asked))
        assert await e.ends(asked.saga_id) == "completed"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"n": NaN}', b'{"fat": "' + b"x" * BODY_BYTES_MAX + b'"}']
)
async def test_a_body_that_cannot_be_read_is_told_to_its_step(body: bytes) -> None:
    """The effect is there and its output is not: the saga turns back, operators find the body."""
    async with engine() as e:
        asked = await asked_hotel(e)
        assert asked.saga_id is not None
        e.broker.publish(replace(answer_of(e, asked), body=body))
        assert await e.ends(asked.saga_id) == "compensated"
        assert "hotels.book compensation 1" in e.participants.ran()
        (dead,) = e.broker.peek(e.topology.dead)
        assert str(dead.headers["amends-reason"]).startswith("body: ")
        started = e.store.journal[asked.saga_id]
        (told,) = [row for row in started if row.kind == "step.succeeded" and row.step == "hotel"]
        assert "amends:bad-output" in str(told.data)
        queues = [e.topology.partition_queue(p) for p in range(4)]
        await e.until(lambda: not any(map(e.broker.depth, queues)))


async def test_a_body_that_cannot_be_read_waits_for_its_step_and_its_letter() -> None:
    """Its delivery is over when both are safe: the news that is committed, and the dead letter."""
    async with engine() as e:
        asked = await asked_hotel(e)
        edge: Edge = e.orchestrator._edge  # pyright: ignore[reportPrivateUsage]
        bad = replace(answer_of(e, asked), body=b"{")
        read = await edge.read(Delivery(DeliveryTag(1, 1), "q", bad))
        (work,) = read.works
        (dead,) = read.dead_members
        assert read.dead is None
        assert dead.message == bad
        assert read.handle is not None
        assert work.handle is read.handle
        assert read.handle.left == 2


async def test_an_answer_for_nobody_is_refused_and_counted() -> None:
    """A saga that is not there, a step that is over, a step that was never asked."""
    async with engine() as e:
        asked = await asked_hotel(e)
        assert asked.saga_id is not None
        other = answer_of(e, replace_saga(asked))
        over = answer_of(e, next(c for c in seen(e) if c.type == "flights.reserve"))
        before = e.kinds(asked.saga_id)
        for number, stray in enumerate((other, over), 1):
            e.broker.publish(stray)
            await e.until(lambda n=number: sum(e.orchestrator.counters.refused.values()) >= n)
        assert e.kinds(asked.saga_id) == before
        assert e.broker.depth(e.topology.dead) == 0
        e.broker.publish(answer_of(e, asked))
        assert await e.ends(asked.saga_id) == "completed"


def replace_saga(asked: Command) -> Command:
    """The same command of a saga that nobody started, with a token that holds."""
    saga_id = SagaId("01980000-0000-7000-8000-00000000dead")
    key = key_of(saga_id, StepPath("hotel"), Op.ACTION)
    return replace(asked, saga_id=saga_id, key=key, token=Tokens([SECRET]).sign(key))
