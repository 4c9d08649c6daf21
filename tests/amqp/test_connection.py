"""One connection to a real broker, and to what is none."""

import asyncio

import aiormq
import pytest

from amends_amqp import urls
from amends_amqp.connection import Connection
from amends_amqp.errors import ConnectionLost, Refused
from amends_contracts.amqp import AmqpMessage, PublishResult


async def test_what_is_no_broker_is_said() -> None:
    """A web server answers in its own words."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConnectionLost, match="no AMQP 0-9-1 broker"):
            await Connection.connect(f"amqp://127.0.0.1:{port}", name="test")


async def test_a_message_of_many_frames_comes_back_whole(broker_url: str, wire_prefix: str) -> None:
    """Half a megabyte, with headers, between two small ones, and all are confirmed."""
    queue = f"{wire_prefix}.big"
    connection = await Connection.connect(broker_url, name="test")
    await connection.declare_queue(queue, {"x-queue-type": "quorum"})
    got: list[AmqpMessage] = []
    arrived = asyncio.Event()

    def receive(message: AmqpMessage, tag: int, redelivered: bool) -> None:
        got.append(message)
        connection.acknowledge([], up_to=tag)
        if len(got) == 3:
            arrived.set()

    await connection.consume(queue, 10, receive)
    user = urls.parse(broker_url).user
    sent = [
        AmqpMessage(
            exchange="",
            routing_key=queue,
            body=bytes([n]) * size,
            message_id=str(n),
            type="flights.reserve",
            correlation_id="c",
            reply_to="r",
            content_type="application/json",
            user_id=user,
            headers={"amends-attempt": n, "amends-retryable": True, "text": "ä"},
        )
        for n, size in enumerate((3, 500_000, 0))
    ]
    assert await connection.publish(sent, 30) == [PublishResult.CONFIRMED] * 3
    async with asyncio.timeout(30):
        await arrived.wait()
    assert got == [
        AmqpMessage(
            exchange="",
            routing_key=queue,
            body=message.body,
            message_id=message.message_id,
            type=message.type,
            correlation_id="c",
            reply_to="r",
            content_type=message.content_type,
            user_id=user,
            headers=message.headers,
        )
        for message in sent
    ]
    await connection.close()


async def test_a_message_that_nobody_takes_is_returned(broker_url: str) -> None:
    """If it is mandatory; one that cannot be encoded stays unknown and harms nobody."""
    connection = await Connection.connect(broker_url, name="test")

    def to(key: str, *, mandatory: bool = True) -> AmqpMessage:
        return AmqpMessage(
            exchange="amq.direct", routing_key=key, body=b"", message_id="m", mandatory=mandatory
        )

    asked = [to("nobody"), to("nobody", mandatory=False), to("x" * 300)]
    assert await connection.publish(asked, 30) == [
        PublishResult.RETURNED,
        PublishResult.CONFIRMED,
        PublishResult.UNKNOWN,
    ]
    assert await connection.publish([], 30) == []
    await connection.close()


async def test_an_exchange_that_is_not_there_ends_the_connection(broker_url: str) -> None:
    """What was published into the void is in doubt, and calls say why they fail."""
    connection = await Connection.connect(broker_url, name="test")
    lost = AmqpMessage(exchange="there-is-none", routing_key="", body=b"")
    assert await connection.publish([lost], 30) == [PublishResult.UNKNOWN]
    assert isinstance(connection.error, Refused)
    assert connection.error.code == 404
    with pytest.raises(ConnectionLost, match="404"):
        await connection.declare_exchange("amq.direct", "direct", passive=True)


async def test_a_deleted_queue_ends_the_connection_of_its_consumer(
    broker_url: str, wire_prefix: str
) -> None:
    """The broker cancels the consumer: who consumed must declare anew."""
    queue = f"{wire_prefix}.gone"
    consuming = await Connection.connect(broker_url, name="consumes")
    other = await aiormq.connect(broker_url)
    await consuming.declare_queue(queue, {"x-queue-type": "classic", "x-expires": 60_000})
    await consuming.consume(queue, 1, lambda message, tag, redelivered: None)
    await (await other.channel()).queue_delete(queue)
    async with asyncio.timeout(30):
        await asyncio.shield(consuming.closed)
    assert "cancelled consumer" in str(consuming.error)
    await other.close()
