"""What every transport promises the engine: one suite for RabbitMQ and the in-process broker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from amends_contracts.amqp import AmqpMessage, DeliveryTag, PublishResult
from conformance.transports import Bench, amqp_bench, bodies, gather, memory_bench

CONFIRMED, RETURNED = PublishResult.CONFIRMED, PublishResult.RETURNED


@pytest.fixture(params=["memory", pytest.param("amqp", marks=pytest.mark.servers)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A broker, real or not."""
    if request.param == "memory":
        async with memory_bench() as made:
            yield made
        return
    url: str = request.getfixturevalue("broker_url")
    prefix: str = request.getfixturevalue("wire_prefix")
    async with amqp_bench(url, prefix) as made:
        yield made


async def test_a_routed_message_is_confirmed_and_arrives_whole(bench: Bench) -> None:
    """A confirmed message arrives with its properties and headers as they were sent."""
    transport = await bench.open()
    sent = AmqpMessage(
        exchange=bench.topology.replies,
        routing_key="reply.flights.00",
        body="größer".encode(),
        message_id="m:reply",
        type="flights.reserve",
        correlation_id="c",
        reply_to="r",
        content_type="application/json",
        headers={"amends-attempt": 2, "amends-retryable": True, "amends-key": "ä/b/action"},
    )
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 10)
    assert await transport.publish([sent], 30) == [CONFIRMED]
    (delivery,) = await gather(transport, 1)
    assert (delivery.message, delivery.queue, delivery.redelivered) == (sent, queue, False)


async def test_an_unroutable_message_is_returned_and_the_others_are_confirmed(bench: Bench) -> None:
    """A return concerns its own message alone, in a batch of many."""
    transport = await bench.open()
    messages = [bench.reply(n) for n in range(5)]
    lost = AmqpMessage(
        exchange=bench.topology.commands, routing_key="do.nobody.there", body=b"{}", message_id="x"
    )
    messages.insert(2, lost)
    results = await transport.publish(messages, 30)
    assert results == [CONFIRMED, CONFIRMED, RETURNED, CONFIRMED, CONFIRMED, CONFIRMED]


async def test_an_unroutable_message_that_is_not_mandatory_is_confirmed(bench: Bench) -> None:
    """Events and answers may have nobody who listens."""
    transport = await bench.open()
    event = AmqpMessage(
        exchange=bench.topology.events, routing_key="a.b", body=b"{}", mandatory=False
    )
    assert await transport.publish([event], 30) == [CONFIRMED]


async def test_messages_of_one_queue_arrive_in_order(bench: Bench) -> None:
    """The order of publication is the order of delivery."""
    transport = await bench.open()
    await transport.consume(bench.topology.partition_queue(0), 1000)
    await transport.publish([bench.reply(n) for n in range(300)], 30)
    assert bodies(await gather(transport, 300)) == list(range(300))


async def test_prefetch_bounds_what_is_in_hand(bench: Bench) -> None:
    """No more than the prefetch arrives before something is acknowledged."""
    transport = await bench.open()
    await transport.consume(bench.topology.partition_queue(0), 2)
    await transport.publish([bench.reply(n) for n in range(4)], 30)
    first = await gather(transport, 2)
    assert await transport.arrived(10, 0.2) == ()
    await transport.acknowledge([delivery.tag for delivery in first])
    assert bodies(await gather(transport, 2)) == [2, 3]


async def test_acknowledging_some_leaves_the_others_open(bench: Bench) -> None:
    """An acknowledgement covers what it names, in whatever order, and nothing else."""
    transport = await bench.open()
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 100)
    await transport.publish([bench.reply(n) for n in range(6)], 30)
    tags = [delivery.tag for delivery in await gather(transport, 6)]
    await transport.acknowledge([tags[4], tags[0], tags[1]])
    await transport.cancel(queue)
    await transport.consume(queue, 100)
    assert sorted(bodies(await gather(transport, 3))) == [2, 3, 5]


async def test_what_was_not_acknowledged_comes_again_after_a_cancel(bench: Bench) -> None:
    """A cancelled queue gives its messages to whoever consumes it next, marked as redelivered."""
    transport = await bench.open()
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 10)
    await transport.publish([bench.reply(1)], 30)
    await gather(transport, 1)
    await transport.cancel(queue)
    other = await bench.open()
    await other.consume(queue, 10)
    (again,) = await gather(other, 1)
    assert (bodies([again]), again.redelivered) == ([1], True)


async def test_a_closed_transport_gives_back_what_it_held(bench: Bench) -> None:
    """Closing loses nothing."""
    transport = await bench.open()
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 10)
    await transport.publish([bench.reply(1)], 30)
    await gather(transport, 1)
    await transport.close()
    other = await bench.open()
    await other.consume(queue, 10)
    assert bodies(await gather(other, 1)) == [1]


async def test_a_partition_has_one_consumer_at_a_time(bench: Bench) -> None:
    """The second consumer of a partition waits until the first one goes."""
    first, second = await bench.open(), await bench.open()
    queue = bench.topology.partition_queue(1)
    await first.consume(queue, 10)
    await second.consume(queue, 10)
    await first.publish([bench.reply(n, 1) for n in range(3)], 30)
    held = await gather(first, 3)
    assert await second.arrived(10, 0.2) == ()
    await first.acknowledge([held[0].tag])
    await first.cancel(queue)
    assert sorted(bodies(await gather(second, 2))) == [1, 2]


async def test_consume_twice_is_once(bench: Bench) -> None:
    """Consuming a queue again changes nothing, so the lease loop may simply repeat itself."""
    transport = await bench.open()
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 10)
    await transport.consume(queue, 10)
    await transport.publish([bench.reply(1)], 30)
    assert bodies(await gather(transport, 1)) == [1]
    assert await transport.arrived(10, 0.2) == ()


async def test_a_tag_of_an_older_generation_is_ignored(bench: Bench) -> None:
    """An acknowledgement that outlived its channel must not acknowledge another message."""
    transport = await bench.open()
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 10)
    await transport.publish([bench.reply(1)], 30)
    (delivery,) = await gather(transport, 1)
    await transport.acknowledge([DeliveryTag(delivery.tag.generation - 1, delivery.tag.tag)])
    await transport.cancel(queue)
    await transport.consume(queue, 10)
    assert bodies(await gather(transport, 1)) == [1]


async def test_a_rejected_message_is_in_the_dead_letters_with_its_reason(bench: Bench) -> None:
    """Operators find what was refused, whence it came and why; it does not come again."""
    transport = await bench.open()
    queue = bench.topology.partition_queue(0)
    await transport.consume(queue, 10)
    await transport.publish([bench.reply(7)], 30)
    (delivery,) = await gather(transport, 1)
    await transport.reject(delivery.tag, "no such header")
    for copy in (bench.topology.dead, bench.topology.dead_commands):
        dead = await bench.take(copy)
        assert (dead.body, dead.message_id, dead.routing_key) == (b"7", "m-7", "reply.flights.00")
        assert dead.headers["amends-reason"] == "no such header"
        assert dead.headers["amends-exchange"] == bench.topology.replies
    await transport.cancel(queue)
    await transport.consume(queue, 10)
    assert await transport.arrived(1, 0.2) == ()


async def test_a_message_returned_too_often_is_dead_lettered(bench: Bench) -> None:
    """A participant's queue gives up after its delivery limit, and the dead letter says so."""
    transport = await bench.open()
    do_queue, _ = bench.topology.service_queues("flights")
    await bench.declare(do_queue)
    command = AmqpMessage(
        exchange=bench.topology.commands, routing_key="do.flights.reserve", body=b"{}"
    )
    await transport.publish([command], 30)
    async with asyncio.timeout(60):
        for _ in range(21):
            await transport.consume(do_queue.name, 1)
            await gather(transport, 1)
            await transport.cancel(do_queue.name)
    dead = await bench.take(bench.topology.dead)
    assert dead.headers["x-first-death-reason"] == "delivery_limit"
    assert dead.headers["x-first-death-queue"] == do_queue.name
