"""A private RabbitMQ node: its queues, its crashes, its users, its end."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractQueue
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import ChannelAccessRefused

from amends_orchestrator.local import broker_users, servers

pytestmark = pytest.mark.servers

OWNER = """
import sys, time
from amends_orchestrator.local import rabbitmq
node = rabbitmq.start()
print(node.pids["rabbitmq"], node.pids["epmd"], node.log.parent, flush=True)
time.sleep(600)
"""


async def quorum_queue(channel: AbstractChannel, name: str) -> AbstractQueue:
    """Declare a durable quorum queue."""
    return await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})


async def put(url: str, queue: str, body: bytes) -> None:
    """Publish a persistent message with a confirm into a queue that is declared first."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await quorum_queue(channel, queue)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue, mandatory=True)


async def take(url: str, queue: str) -> bytes:
    """Get one message, acknowledged."""
    async with await aio_pika.connect(url) as connection:
        found = await quorum_queue(await connection.channel(), queue)
        message = await found.get()
        await message.ack()
        return message.body


async def test_messages_outlive_a_restart_and_a_crash(own_rabbitmq: servers.Broker) -> None:
    """A confirmed message is there after a restart and after a kill, at the same URL."""
    await put(own_rabbitmq.url, "kept", b"before the restart")
    await asyncio.to_thread(own_rabbitmq.restart)
    assert await take(own_rabbitmq.url, "kept") == b"before the restart"
    await put(own_rabbitmq.url, "kept", b"before the crash")
    await asyncio.to_thread(own_rabbitmq.kill)
    with pytest.raises((AMQPError, OSError)):
        await take(own_rabbitmq.url, "kept")
    await asyncio.to_thread(own_rabbitmq.restart)
    assert await take(own_rabbitmq.url, "kept") == b"before the crash"


@pytest.mark.slow
async def test_two_run_beside_each_other(
    own_rabbitmq: servers.Broker, broker_url: str, wire_prefix: str
) -> None:
    """A second node has its own queues, and its end is not the other's."""
    await put(own_rabbitmq.url, f"{wire_prefix}.q", b"own")
    await put(broker_url, f"{wire_prefix}.q", b"shared")
    assert await take(own_rabbitmq.url, f"{wire_prefix}.q") == b"own"
    await asyncio.to_thread(own_rabbitmq.stop)
    assert await take(broker_url, f"{wire_prefix}.q") == b"shared"


async def test_users_are_held_to_their_permissions(
    managed_rabbitmq: servers.Broker, wire_prefix: str
) -> None:
    """A user may do what its permissions and topic permissions say, and nothing else."""
    name, exchange = f"{wire_prefix}-u", f"{wire_prefix}.topics"
    async with await aio_pika.connect(managed_rabbitmq.url) as connection:
        await (await connection.channel()).declare_exchange(exchange, aio_pika.ExchangeType.TOPIC)
    url = await asyncio.to_thread(
        broker_users.add_user, managed_rabbitmq, name, write=f"^{exchange}$"
    )
    await asyncio.to_thread(
        broker_users.permit_topic, managed_rabbitmq, name, exchange, write="^allowed$"
    )
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        topics = await channel.get_exchange(exchange, ensure=False)
        await topics.publish(aio_pika.Message(b""), "allowed", mandatory=False)
        with pytest.raises(ChannelAccessRefused):
            await topics.publish(aio_pika.Message(b""), "other", mandatory=False)
    await asyncio.to_thread(managed_rabbitmq.ctl, "delete_user", name)


async def test_a_finished_tests_queues_are_swept(
    managed_rabbitmq: servers.Broker, wire_prefix: str
) -> None:
    """Sweeping a prefix removes its queues and exchanges and leaves those of others."""
    from server_fixtures import Sweeper

    async with await aio_pika.connect(managed_rabbitmq.url) as connection:
        channel = await connection.channel()
        for prefix in (wire_prefix, f"{wire_prefix}x"):
            await quorum_queue(channel, f"{prefix}.q")
            await channel.declare_exchange(f"{prefix}.e", durable=True)
    await asyncio.to_thread(Sweeper(managed_rabbitmq).now, [wire_prefix])
    listed = await asyncio.to_thread(managed_rabbitmq.ctl, "list_queues", "name")
    exchanges = await asyncio.to_thread(managed_rabbitmq.ctl, "list_exchanges", "name")
    left = [n for n in (listed + exchanges).split() if n.startswith(wire_prefix)]
    assert left == [f"{wire_prefix}x.q", f"{wire_prefix}x.e"]
    await asyncio.to_thread(Sweeper(managed_rabbitmq).now, [f"{wire_prefix}x"])


@pytest.mark.slow
@pytest.mark.parametrize("node_first", [False, True])
def test_it_goes_with_its_killed_owner(node_first: bool) -> None:
    """SIGKILL to the owner leaves neither node nor epmd nor files; also if the node died before."""
    from local.test_guard import alive, within

    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner.stdout as said:
        node, epmd, home = said.readline().split()
    if node_first:
        os.kill(int(node), signal.SIGKILL)
        assert within(5.0, lambda: not alive(int(node)))
    owner.kill()
    owner.wait()
    assert within(5.0, lambda: not (alive(int(node)) or alive(int(epmd)) or Path(home).exists()))
