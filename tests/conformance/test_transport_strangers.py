"""RabbitMQ transport: what strangers send and what older brokers left does not stop it."""

import asyncio
import logging

import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from amends_contracts.amqp import AmqpMessage
from amends_contracts.topology import Queue
from amends_orchestrator.engine.ports import PublishResult
from amends_orchestrator.transport.frames import rejected
from amends_orchestrator.transport.link import Link
from amends_participants import amqp_link
from conformance.raw import UNDECODABLE, publish_raw, raw_text
from conformance.transports import amqp_bench, gather

pytestmark = pytest.mark.servers


async def test_what_cannot_be_decoded_is_delivered_as_such(
    broker_url: str, wire_prefix: str
) -> None:
    """Messages with undecodable properties come marked, on the same link, and can be rejected."""
    async with amqp_bench(broker_url, wire_prefix) as bench:
        transport = await bench.open()
        await transport.consume(bench.topology.partition_queue(0), 100)
        bad = list(UNDECODABLE.values())
        await publish_raw(broker_url, bench.topology.replies, "reply.flights.00", [*bad])
        assert await transport.publish([bench.reply(1)], 30) == [PublishResult.CONFIRMED]
        *marked, good = await gather(transport, len(bad) + 1)
        assert good.message == bench.reply(1)
        assert {d.tag.generation for d in marked} == {good.tag.generation}
        for delivery in marked:
            assert list(delivery.message.headers) == ["amends-undecodable"]
            assert delivery.message.body == b"{}"
            await transport.reject(delivery.tag, "undecodable")
            dead = await bench.take(bench.topology.dead)
            assert dead.headers["amends-reason"] == "undecodable"
            assert "amends-undecodable" in dead.headers


async def test_a_routing_key_that_is_no_text_is_delivered(
    broker_url: str, wire_prefix: str
) -> None:
    """Bytes of a routing key that are no text are question marks, and the link stays."""
    async with amqp_bench(broker_url, wire_prefix) as bench:
        transport = await bench.open()
        await transport.consume(bench.topology.partition_queue(0), 100)
        key = raw_text(b"reply.x\xff.00")
        await publish_raw(broker_url, bench.topology.replies, key, [Basic.Properties()])
        await transport.publish([bench.reply(1)], 30)
        odd, good = await gather(transport, 2)
        assert odd.message.routing_key == "reply.x?.00"
        assert odd.tag.generation == good.tag.generation


async def test_other_users_of_the_client_see_no_change(broker_url: str, wire_prefix: str) -> None:
    """Outside our connections, what cannot be decoded raises as it always did."""
    async with amqp_bench(broker_url, wire_prefix) as bench:
        await bench.open()
        data = ContentHeader(properties=UNDECODABLE["message-id"]).marshal()
        with pytest.raises(UnicodeDecodeError):
            ContentHeader().unmarshal(data)


@pytest.mark.parametrize("difference", [{"x-overflow": "drop-head"}, {"x-delivery-limit": 7}])
async def test_a_queue_with_other_arguments_is_used_as_it_is(
    difference: dict[str, str | int],
    broker_url: str,
    wire_prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Queues declared otherwise are consumed from, and each is warned of once, with its name."""
    async with amqp_bench(broker_url, wire_prefix) as bench:
        queues = [bench.topology.engine_partition(n) for n in (0, 2)]
        for queue in queues:
            arguments = {**queue.arguments, "x-dead-letter-strategy": "at-most-once", **difference}
            await bench.declare(Queue(queue.name, (), arguments))
        transport = await bench.open()
        for n, queue in enumerate(queues):
            await transport.consume(queue.name, 10)
            await transport.publish([bench.reply(n, partition=2 * n)], 30)
        assert {d.queue for d in await gather(transport, 2)} == {q.name for q in queues}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    for queue in queues:
        (warning,) = [text for text in warnings if f"queue {queue.name} is not" in text]
        assert "inequivalent arg" in warning


async def test_a_link_that_dies_when_it_is_up_is_made_anew_ever_more_slowly(
    broker_url: str,
) -> None:
    """A link that never lasts does not hammer the broker, on either side of the wire."""
    made = {"orchestrator": 0, "participant": 0}

    def dies(channel: AbstractChannel, whose: str) -> None:
        made[whose] += 1
        task = asyncio.ensure_future(asyncio.sleep(0.01))
        task.add_done_callback(lambda _: links[whose].reset())

    async def ready(channel: AbstractChannel, major: int) -> None:
        dies(channel, "orchestrator")

    async def ready_too(channel: AbstractChannel) -> None:
        dies(channel, "participant")

    links = {
        "orchestrator": Link(broker_url, "dies", ready, lambda: None),
        "participant": amqp_link.Link(broker_url, "dies", ready_too),
    }
    tasks = [asyncio.create_task(link.run()) for link in links.values()]
    await asyncio.sleep(3)
    await amqp_link.ended(tasks)
    assert all(2 <= n <= 6 for n in made.values()), made


def test_a_dead_letter_keeps_what_is_ours_and_fits_into_a_frame() -> None:
    """Of the headers only ours and the trace's are kept, and none of them if they are too big."""
    ours = {"amends-key": "k", "traceparent": "t"}
    message = AmqpMessage(
        exchange="e",
        routing_key="r",
        body=b"",
        headers={**ours, "foreign": "x" * 127_000},
    )
    said = {"amends-reason": "why", "amends-exchange": "e"}
    assert rejected(message, "dead", "why").headers == {**ours, **said}
    big = AmqpMessage(
        exchange="e", routing_key="r", body=b"", headers={**ours, "amends-big": "ä" * 40_000}
    )
    assert rejected(big, "dead", "why").headers == said
