"""An orchestrator that answers clients as it is told to, over a real or in-process broker."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import decode_client, encode_answer
from amends_contracts.messages import ClientMessage, Json, StartAnswer
from amends_contracts.names import SagaId
from amends_contracts.problems import Problem
from amends_contracts.topology import Topology
from amends_orchestrator.engine.ports import Transport
from amends_orchestrator.transport.amqp import AmqpTransport

Answering = Callable[[ClientMessage], "Problem | StartAnswer | Json | None"]
SAGA = SagaId("0197a1b2-c3d4-7e5f-8a6b-0123456789ab")


def started(_: ClientMessage) -> StartAnswer:
    """Every start is new."""
    return StartAnswer(SAGA, created=True)


@dataclass
class FakeOrchestrator:
    """`answer` says what is answered; None: nothing, this time."""

    transport: Transport
    topology: Topology
    answer: Answering = started
    asked: list[AmqpMessage] = field(default_factory=list[AmqpMessage])

    @property
    def messages(self) -> list[ClientMessage]:
        """What was asked, in the order in which it came."""
        return [decode_client(message) for message in self.asked]

    async def serve(self) -> None:
        """Until cancelled."""
        for queue in (self.topology.start, self.topology.control):
            await self.transport.consume(queue, 100)
        while True:
            for delivery in await self.transport.arrived(100, None):
                message = delivery.message
                self.asked.append(message)
                answer = self.answer(decode_client(message))
                if answer is not None:
                    assert message.reply_to is not None
                    await self.publish(
                        encode_answer(answer, message.reply_to, message.correlation_id)
                    )
                await self.transport.acknowledge([delivery.tag])

    async def publish(self, message: AmqpMessage) -> Any:
        """Publish with a confirm."""
        return await self.transport.publish([message], 5.0)


@asynccontextmanager
async def serving(transport: Transport, topology: Topology) -> AsyncGenerator[FakeOrchestrator]:
    """A fake that is open and answers."""
    fake = FakeOrchestrator(transport, topology)
    await transport.open()
    task = asyncio.create_task(fake.serve())
    try:
        yield fake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await transport.close()


def over_rabbitmq(
    url: str, prefix: str
) -> "contextlib.AbstractAsyncContextManager[FakeOrchestrator]":
    """A fake on a real broker, under a prefix of its own."""
    topology = Topology(prefix)
    return serving(AmqpTransport(url, topology, partitions=1, name="fake"), topology)
