"""What an orchestrator says to a participant, and what it hears: without one, over RabbitMQ.

step = Step("bank.charge", {"account": "a", "usd": 5})
reply = await caller.ask(step.action())
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    decode_batch,
    decode_reply,
    encode_batch,
    encode_command,
    is_batch,
)
from amends_contracts.messages import (
    ActionOutcome,
    Command,
    Json,
    Outcome,
    Reply,
    digest_of,
    to_body,
)
from amends_contracts.names import (
    Key,
    Op,
    SagaId,
    StepPath,
    key_of,
    ledger_key,
    message_id_of,
)
from amends_contracts.topology import Topology

REPLY_TIMEOUT_S = 20
STEP = StepPath("step")


def saga_id() -> SagaId:
    """A new saga's id: a UUID of version 7 of now."""
    milliseconds = int(datetime.now().timestamp() * 1000)  # noqa: DTZ005
    rest = uuid4().int & ((1 << 80) - 1)
    value = (milliseconds << 80) | rest
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (2 << 62)
    return SagaId(str(UUID(int=value)))


@dataclass
class Step:
    """One step of one saga: makes its commands."""

    type: str
    input: Json
    saga: SagaId = field(default_factory=saga_id)
    path: StepPath = STEP
    undo_type: str | None = None

    @property
    def key(self) -> Key:
        """The action's key."""
        return key_of(self.saga, self.path, Op.ACTION)

    def action(self, attempt: int = 1, **changes: Any) -> Command:
        """The action."""
        body = to_body(self.input)
        return self._command(Op.ACTION, attempt, body, **{"digest": digest_of(body), **changes})

    def compensation(
        self,
        attempt: int = 1,
        *,
        output: Json = None,
        known: ActionOutcome = ActionOutcome.UNKNOWN,
        **changes: Any,
    ) -> Command:
        """Its compensation; by default its outcome is not known."""
        body = to_body({"input": self.input, "output": output})
        more = {"digest": digest_of(body), "compensates": self.key, "action_outcome": known}
        return self._command(Op.COMPENSATION, attempt, body, **{**more, **changes})

    def probe(self, attempt: int = 1) -> Command:
        """What became of the action?"""
        body = to_body({"input": self.input})
        return self._command(Op.PROBE, attempt, body, compensates=self.key)

    def ledger(self) -> Command:
        """Which effects of this saga are held?"""
        return Command(
            type=f"{self.type.partition('.')[0]}.ledger",
            op=Op.LEDGER,
            message_id=message_id_of(self.saga, StepPath("saga"), Op.LEDGER, 1),
            body=b"{}",
            saga_id=self.saga,
            reply_to=f"reply.{self.type.partition('.')[0]}.00",
            key=ledger_key(self.saga),
            token="t",
        )

    def forget(self) -> Command:
        """The saga is over."""
        return Command(
            type=f"{self.type.partition('.')[0]}.forget",
            op=Op.FORGET,
            message_id=message_id_of(self.saga, StepPath("saga"), Op.FORGET, 1),
            body=to_body({"sagas": [self.saga]}),
        )

    def _command(self, op: Op, attempt: int, body: bytes, **more: Any) -> Command:
        type_ = self.undo_type if op is Op.COMPENSATION and self.undo_type else self.type
        values: dict[str, Any] = {
            "type": type_,
            "op": op,
            "message_id": message_id_of(self.saga, self.path, op, attempt),
            "body": body,
            "saga_id": self.saga,
            "reply_to": f"reply.{self.type.partition('.')[0]}.00",
            "key": key_of(self.saga, self.path, op),
            "attempt": attempt,
            "token": f"token of {op}",
            "tenant": "default",
            "definition": "test@1",
        }
        return Command(**{**values, **more})


def charges(count: int, how: str = "") -> list[Step]:
    """As many steps of one dollar each."""
    return [
        Step("bank.charge", {"account": f"a{n % 20 + 1}", "usd": 1, "how": how})
        for n in range(count)
    ]


class Caller:
    """Publishes commands and collects the replies of one partition."""

    def __init__(self, url: str, prefix: str) -> None:
        self.topology = Topology(prefix)
        self.replies: dict[str, list[Reply]] = defaultdict(list)
        """By reply message id; what was heard twice is there twice."""
        self.heard_in: list[int] = []
        """Of each message, how many replies it held."""
        self.hellos: list[AmqpMessage] = []
        self.dead: list[AbstractIncomingMessage] = []
        self._url = url
        self._heard = asyncio.Condition()

    async def open(self) -> None:
        """Declare what the orchestrator declares, and listen."""
        self._connection = await aio_pika.connect_robust(self._url)
        self._channel = await self._connection.channel(on_return_raises=False)
        for exchange in self.topology.exchanges():
            await self._channel.declare_exchange(
                exchange.name, aio_pika.ExchangeType(exchange.type), durable=True
            )
        await self._listen("replies", self.topology.replies, "#", self._on_reply)
        await self._listen("dead", self.topology.dead, "", self._on_dead)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def send(self, *commands: Command) -> None:
        """Publish commands, in this order."""
        for command in commands:
            await self.publish(encode_command(command, self.topology))

    async def publish(self, message: AmqpMessage) -> None:
        """Publish anything."""
        exchange = await self._channel.get_exchange(message.exchange, ensure=False)
        await exchange.publish(
            aio_pika.Message(
                message.body,
                message_id=message.message_id,
                type=message.type,
                correlation_id=message.correlation_id,
                reply_to=message.reply_to,
                content_type=message.content_type,
                headers=dict(message.headers),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            ),
            message.routing_key,
            mandatory=False,
        )

    async def send_together(self, *members: Command | AmqpMessage, undo: bool = False) -> None:
        """Publish an envelope of commands, or of anything that looks like one."""
        await self.publish(self.envelope(*members, undo=undo))

    def envelope(self, *members: Command | AmqpMessage, undo: bool = False) -> AmqpMessage:
        """Commands to one service and lane in one message."""
        messages = [
            encode_command(m, self.topology) if isinstance(m, Command) else m for m in members
        ]
        service = next(m.type for m in messages if m.type).partition(".")[0]
        queue = self.topology.undo_queue(service) if undo else self.topology.do_queue(service)
        return encode_batch(
            messages,
            exchange=self.topology.batches,
            routing_key=self.topology.batch_queue(queue),
            message_id=str(uuid4()),
        )

    async def ask(self, command: Command, *, again: bool = True) -> Reply:
        """Send and wait for the reply; `again`: count those heard before as other ones."""
        name = f"{command.message_id}:reply"
        seen = len(self.replies[name]) if again else 0
        await self.send(command)
        return (await self.heard(command, seen + 1))[-1]

    async def heard(self, command: Command, n: int = 1) -> list[Reply]:
        """Wait until `n` replies to this command's message id were heard."""
        name = f"{command.message_id}:reply"
        await self.until(lambda: len(self.replies[name]) >= n, f"{n} replies to {name}")
        return self.replies[name]

    async def queue_there(self, service: str, *, envelopes: bool = False) -> None:
        """Wait until the service has declared its queues; `envelopes`: those of envelopes."""
        queues = self.topology.batch_queues if envelopes else self.topology.service_queues
        for queue in queues(service):
            while True:
                channel = await self._connection.channel()
                try:
                    await channel.declare_queue(queue.name, passive=True)
                    break
                except aio_pika.exceptions.ChannelClosed:
                    await asyncio.sleep(0.1)

    async def until(self, holds: Any, what: str) -> None:
        """Wait until something holds that hearing a message can change."""
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S), self._heard:
                await self._heard.wait_for(holds)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; heard {list(self.replies)}") from None

    async def _listen(self, name: str, exchange: str, key: str, receive: Any) -> None:
        queue = await self._channel.declare_queue(
            f"{self.topology.prefix}.test.{name}", durable=True
        )
        await queue.bind(exchange, key)
        await queue.consume(receive, no_ack=True)

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        plain = AmqpMessage(
            exchange=message.exchange or "",
            routing_key=message.routing_key or "",
            body=message.body,
            message_id=message.message_id,
            type=message.type,
            correlation_id=message.correlation_id,
            content_type=message.content_type,
            headers=dict(message.headers),  # type: ignore[arg-type]
        )
        replies = decode_batch(plain, self.topology) if is_batch(plain) else [plain]
        async with self._heard:
            self.heard_in.append(len(replies))
            for each in replies:
                assert isinstance(each, AmqpMessage)
                reply = decode_reply(each)
                self.replies[reply.message_id].append(reply)
            self._heard.notify_all()

    async def _on_dead(self, message: AbstractIncomingMessage) -> None:
        async with self._heard:
            self.dead.append(message)
            self._heard.notify_all()


def told(reply: Reply) -> tuple[str, Json]:
    """Outcome and body, or the problem's type: what a test asserts."""
    if reply.outcome is Outcome.SUCCEEDED:
        return reply.outcome.value, reply.json()
    return reply.outcome.value, reply.problem().type
