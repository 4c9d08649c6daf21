"""What compose.yaml gives to Postgres and RabbitMQ, tried on private ones."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused

from amends_contracts.topology import Topology
from amends_orchestrator.local import postgres, servers
from deploy.composed import ROOT, SERVICES, USERS, environment, password

NAMES = Topology("amends")


@pytest.fixture
async def broker(urls: Mapping[str, str]) -> AsyncIterator[Mapping[str, AbstractChannel]]:
    """A channel of each user, beside the orchestrator's topology."""
    connections = {user: await aio_pika.connect(url) for user, url in urls.items()}
    await declare_engine(await connections["orchestrator"].channel())
    yield {user: await connection.channel() for user, connection in connections.items()}
    for connection in connections.values():
        await connection.close()


async def declare_engine(channel: AbstractChannel) -> None:
    """The exchanges and the engine's queues, as the orchestrator declares them."""
    for exchange in NAMES.exchanges():
        await channel.declare_exchange(
            exchange.name, aio_pika.ExchangeType(exchange.type), durable=True
        )
    for queue in NAMES.engine_queues(2):
        declared = await channel.declare_queue(
            queue.name, durable=True, arguments=dict(queue.arguments)
        )
        for exchange_name, key in queue.bindings:
            await declared.bind(exchange_name, key)


async def declare_service(channel: AbstractChannel, service: str) -> None:
    """A service's own queues with their bindings."""
    for queue in NAMES.service_queues(service):
        declared = await channel.declare_queue(
            queue.name, durable=True, arguments=dict(queue.arguments)
        )
        for exchange_name, key in queue.bindings:
            await declared.bind(exchange_name, key)


async def publish(channel: AbstractChannel, exchange: str, key: str) -> None:
    """Publish with a confirm."""
    found = await channel.get_exchange(exchange, ensure=False)
    await found.publish(aio_pika.Message(b"{}"), key, mandatory=False)


async def test_services_do_their_own_and_nothing_else(
    broker: Mapping[str, AbstractChannel],
) -> None:
    """A service has its queues, its replies and hello, and may not speak or listen for another."""
    for service in SERVICES:
        await declare_service(broker[service], service)
        await publish(broker[service], NAMES.replies, f"reply.{service}.01")
        await publish(broker[service], NAMES.control, "hello")
        await publish(broker[service], NAMES.dead, "")
        await publish(broker["orchestrator"], NAMES.commands, f"do.{service}.verb")
        own = await broker[service].get_queue(NAMES.do_queue(service), ensure=False)
        assert (await own.get()).routing_key == f"do.{service}.verb"


@pytest.mark.parametrize(
    ("exchange", "key"),
    [
        (NAMES.replies, "reply.hotels.01"),
        (NAMES.control, "start"),
        (NAMES.control, "cancel"),
        (NAMES.commands, "do.hotels.book"),
        (NAMES.events, "book-trip.saga.completed"),
        ("", NAMES.partition_queue(0)),
    ],
)
async def test_a_service_cannot_speak_for_others(
    broker: Mapping[str, AbstractChannel], exchange: str, key: str
) -> None:
    """Replies of others, the clients' verbs, commands and events are refused to a service."""
    channel = broker["flights"]
    target = (
        channel.default_exchange
        if not exchange
        else await channel.get_exchange(exchange, ensure=False)
    )
    with pytest.raises(ChannelAccessRefused):
        await target.publish(aio_pika.Message(b"{}"), key, mandatory=False)


async def test_a_service_cannot_listen_to_others(broker: Mapping[str, AbstractChannel]) -> None:
    """A service reads neither another's queue nor, through its own, another's commands."""
    await declare_service(broker["hotels"], "hotels")
    await declare_service(broker["flights"], "flights")
    own = await broker["flights"].get_queue(NAMES.do_queue("flights"), ensure=False)
    with pytest.raises(ChannelAccessRefused):
        await own.bind(NAMES.commands, "do.hotels.#")


async def test_a_service_cannot_consume_anothers_queue(
    broker: Mapping[str, AbstractChannel],
) -> None:
    """Consuming another service's queue is refused."""
    await declare_service(broker["hotels"], "hotels")
    others = await broker["flights"].get_queue(NAMES.do_queue("hotels"), ensure=False)
    with pytest.raises(ChannelAccessRefused):
        await others.get()


async def test_each_service_has_a_database_that_others_cannot_enter(
    own_postgres: servers.Server,
) -> None:
    """The init script makes a role and a database each, and only its owner connects."""
    admin = urlsplit(own_postgres.url)
    connect = {
        "PGHOST": admin.hostname or "",
        "PGPORT": str(admin.port),
        "PGPASSWORD": admin.password or "",
    }
    path = f"{postgres.programs()}{os.pathsep}{os.environ['PATH']}"
    env = {**environment("database"), **connect, "POSTGRES_USER": "amends", "PATH": path}
    script = [ROOT / "deploy/postgres/databases.sh"]
    await asyncio.to_thread(subprocess.run, script, env=env, check=True)
    entered = {
        (user, database): await enters(admin.netloc.rpartition("@")[2], user, database)
        for user in USERS
        for database in USERS
    }
    assert {pair for pair, can in entered.items() if can} == {(user, user) for user in USERS}


async def enters(at: str, user: str, database: str) -> bool:
    """Whether a user can connect to a database and, then, make tables there."""
    url = f"postgresql://{user}:{password('database', user)}@{at}/{database}"
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InsufficientPrivilegeError:
        return False
    try:
        await connection.execute("create table own (id int)")
    finally:
        await connection.close()
    return True


def test_every_user_of_compose_is_defined() -> None:
    """The users in compose's broker URLs are those of the definitions."""
    text = (ROOT / "compose.yaml").read_text()
    assert sorted(re.findall(r"amqp://(\w+):", text)) == sorted(USERS)
