"""Messages that come twice, late, or in the wrong order; and nobody to take them."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aio_pika
import pytest

from acceptance.test_kills import check, trips
from acceptance.world import ALL_ONCE, World, running_world
from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import decode_reply, encode_command
from amends_contracts.messages import ActionOutcome, Command, Outcome, Reply, digest_of, to_body
from amends_contracts.names import Op, SagaId, StepPath, key_of, message_id_of
from amends_contracts.topology import Topology
from cli.running import Amends

pytestmark = [pytest.mark.servers, pytest.mark.slow]

AGAIN = "x-again"
NO_PARTITION = 99
REPLY_S = 30.0


@asynccontextmanager
async def shovel(url: str, topology: Topology) -> AsyncGenerator[list[str]]:
    """Publishes every command and every reply a second time; the ids of what it doubled."""
    doubled: list[str] = []
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        exchanges: dict[str, aio_pika.abc.AbstractExchange] = {}
        for name in (topology.commands, topology.replies):
            exchanges[name] = await channel.get_exchange(name)
            await queue.bind(exchanges[name], "#")

        async def again(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                if AGAIN in message.headers:
                    return
                copy = aio_pika.Message(
                    message.body,
                    headers={**message.headers, AGAIN: "1"},
                    content_type=message.content_type,
                    correlation_id=message.correlation_id,
                    reply_to=message.reply_to,
                    message_id=message.message_id,
                    type=message.type,
                    delivery_mode=2,
                )
                assert message.exchange is not None
                assert message.routing_key is not None
                await exchanges[message.exchange].publish(copy, message.routing_key)
                doubled.append(str(message.message_id))

        await queue.consume(again)
        yield doubled


async def test_every_message_twice_changes_nothing(world: World) -> None:
    """Commands and replies are doubled; effects, undos and ends are not."""
    wanted = trips(30, oslo_max=2)
    async with shovel(world.machine.broker_url, Topology()) as doubled:
        started = await asyncio.to_thread(world.start_many, [changes for changes, _ in wanted])
        await asyncio.to_thread(check, world, wanted, started)

    assert len(doubled) > 2 * len(wanted)


class Asker:
    """Speaks to a participant as an orchestrator would, and hears its replies."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, topology: Topology) -> None:
        self._channel = channel
        self._topology = topology
        self.replies: asyncio.Queue[Reply] = asyncio.Queue()

    async def listen(self) -> None:
        """Hear the replies to a partition that no orchestrator has."""
        queue = await self._channel.declare_queue(exclusive=True)
        await queue.bind(self._topology.replies, f"reply.*.{NO_PARTITION}")

        async def heard(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                await self.replies.put(decode_reply(_plain(message)))

        await queue.consume(heard)

    async def send(self, command: Command) -> None:
        """Publish, confirmed."""
        message = encode_command(command, self._topology)
        exchange = await self._channel.get_exchange(message.exchange, ensure=False)
        await exchange.publish(_amqp(message), message.routing_key)

    async def reply(self) -> Reply:
        """The next reply."""
        async with asyncio.timeout(REPLY_S):
            return await self.replies.get()


async def test_an_undo_that_comes_first_and_twice_leaves_no_effect(world: World) -> None:
    """The compensation twice at once, before its action; the action late: fenced, nothing held."""
    saga_id = SagaId(str(uuid.uuid4()))
    action, undo = reserve_and_release(saga_id)
    connection = await aio_pika.connect(world.machine.broker_url)
    async with connection:
        asker = Asker(await connection.channel(), Topology())
        await asker.listen()

        await asyncio.gather(asker.send(undo), asker.send(undo))
        undone = [await asker.reply(), await asker.reply()]
        await asker.send(action)
        late = await asker.reply()

    assert [reply.outcome for reply in undone] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert late.outcome is Outcome.FENCED
    assert (await asyncio.to_thread(world.held, saga_id))["seat"] == 0


async def test_an_action_delivered_twice_at_once_holds_one_seat(world: World) -> None:
    """Both deliveries are answered with the same seat; then it is given back, once."""
    saga_id = SagaId(str(uuid.uuid4()))
    action, undo = reserve_and_release(saga_id)
    connection = await aio_pika.connect(world.machine.broker_url)
    async with connection:
        asker = Asker(await connection.channel(), Topology())
        await asker.listen()

        await asyncio.gather(asker.send(action), asker.send(action))
        seats = [(await asker.reply()).json()["code"] for _ in range(2)]
        held = (await asyncio.to_thread(world.held, saga_id))["seat"]
        await asker.send(replace(undo, action_outcome=ActionOutcome.SUCCEEDED))
        released = await asker.reply()

    assert seats[0] == seats[1]
    assert held == 1
    assert released.outcome is Outcome.SUCCEEDED
    assert (await asyncio.to_thread(world.held, saga_id))["seat"] == 0


def test_a_service_that_is_not_there_is_shown_and_waited_for(
    own_folder: Path, amends: Amends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command comes back from the broker; show and doctor say so; it resumes by itself."""
    with running_world(own_folder) as world:
        world.stop("mail")
        asyncio.run(remove_queues(world.machine.broker_url, "mail"))
        saga_id = world.start()
        monkeypatch.chdir(own_folder)

        world.until(
            lambda: "undeliverable" in str(world.step(saga_id, "mail").get("reason")),
            "the step to be shown as undeliverable",
        )
        shown, findings = amends("show", saga_id), amends("doctor", "--json")

        assert "undeliverable" in shown.out
        assert findings.code == 1
        mail = next(f for f in findings.json["findings"] if f["check"] == "service mail")
        assert (mail["level"], "undeliverable" in mail["said"]) == ("bad", True)

        world.run("mail")
        assert world.end_of(saga_id)["status"] == "completed"
        assert world.held(saga_id) == ALL_ONCE


async def remove_queues(url: str, service: str) -> None:
    """As if the service had never been there."""
    topology = Topology()
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        for name in (topology.do_queue(service), topology.undo_queue(service)):
            await channel.queue_delete(name)


def reserve_and_release(saga_id: SagaId) -> tuple[Command, Command]:
    """The two commands of a flight step."""
    path = StepPath("flight")
    body = to_body({"traveller": "ada", "to": "Lisbon"})

    def command(op: Op, body: bytes) -> Command:
        return Command(
            type="flights.reserve",
            op=op,
            message_id=message_id_of(saga_id, path, op, 1),
            body=body,
            saga_id=saga_id,
            reply_to=f"reply.flights.{NO_PARTITION}",
            key=key_of(saga_id, path, op),
            digest=digest_of(body),
            token="a-token",
            definition="book-trip@1",
            tenant="default",
        )

    undo_body = to_body({"input": json.loads(body), "output": None})
    undo = replace(
        command(Op.COMPENSATION, undo_body),
        compensates=key_of(saga_id, path, Op.ACTION),
        action_outcome=ActionOutcome.UNKNOWN,
    )
    return command(Op.ACTION, body), undo


def _amqp(message: AmqpMessage) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers=dict(message.headers),
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=message.message_id,
        type=message.type,
        delivery_mode=2,
    )


def _plain(message: aio_pika.abc.AbstractIncomingMessage) -> AmqpMessage:
    return AmqpMessage(
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        body=message.body,
        message_id=message.message_id,
        type=message.type,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        content_type=message.content_type,
        headers=dict(message.headers),  # type: ignore[arg-type]
    )
