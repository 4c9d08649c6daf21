"""RabbitMQ transport: what strangers send and what older brokers left does not stop it."""

import logging

import pytest
from pamqp.commands import Basic

from amends_contracts.amqp import PublishResult
from amends_contracts.topology import Queue
from conformance.raw import IMPOSSIBLE_TIMES, UNDECODABLE, publish_raw, raw_text
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


async def test_times_beyond_the_calendar_are_passed_over(broker_url: str, wire_prefix: str) -> None:
    """No contract has a time in AMQP's own form: the rest of the message is read."""
    async with amqp_bench(broker_url, wire_prefix) as bench:
        transport = await bench.open()
        await transport.consume(bench.topology.partition_queue(0), 100)
        odd = list(IMPOSSIBLE_TIMES)
        await publish_raw(broker_url, bench.topology.replies, "reply.flights.00", [*odd])
        got = await gather(transport, len(odd))
        assert [dict(delivery.message.headers) for delivery in got] == [{"n": 1}, {}]


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
