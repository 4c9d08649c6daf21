"""Amends over the broker: verbs with their answers, and lifecycle events.

Questions are published mandatory and confirmed; answers come to a queue of this client's own.
It outlives a lost connection by a minute, so that an answer under way is not lost with it.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import unquote, urlsplit

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import (
    WireError,
    decode_answer,
    decode_lifecycle,
    encode_client,
)
from amends_contracts.messages import ClientMessage, Json, Lifecycle, Trace
from amends_contracts.problems import Problem, ProblemType
from amends_contracts.topology import Queue, Topology
from amends_participants.client.asking import backoff, is_passing
from amends_participants.client.errors import Refused, Unavailable
from amends_participants.transport import ParticipantTransport

log = logging.getLogger(__name__)

CONFIRM_TIMEOUT_S: Final = 5.0
RESEND_S: Final = 5.0
"""A confirmed question without an answer is asked again: the answer may have been lost."""
QUEUE_EXPIRES_MS: Final = 60_000
ANSWERS_AT_ONCE: Final = 256
EVENTS_AT_ONCE: Final = 100


def user_of(url: str) -> str:
    """The broker user of a URL, which the broker checks against `user_id`."""
    return unquote(urlsplit(url).username or "guest")


class Broker:
    """`Asking` over a transport; opened by the first question."""

    def __init__(
        self,
        transport: ParticipantTransport,
        topology: Topology,
        *,
        where: str,
        user_id: str | None,
    ) -> None:
        self._transport = transport
        self._topology = topology
        self._where = where
        self._user_id = user_id
        self._queue = _own_queue(topology, str(uuid.uuid4()))
        self._waiting: dict[str, asyncio.Future[AmqpMessage]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[None] | None = None

    async def ask(
        self, message: ClientMessage, *, message_id: str, trace: Trace | None, timeout_s: float
    ) -> Json:
        """The answer to the verb; the same message again until there is one."""
        question = self._question(message, message_id, trace)
        said = ["the broker cannot be reached"]
        try:
            async with asyncio.timeout(timeout_s):
                await self._open()
                return await self._until_answered(question, message_id, said)
        except TimeoutError:
            raise Unavailable(self._where, said[0]) from None

    async def close(self) -> None:
        """End the connections; questions under way end as Unavailable."""
        tasks = [task for task in (self._opening, self._receiving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            await self._transport.close()
        self._opening = self._receiving = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unavailable(self._where, "the client was closed"))
        self._waiting.clear()

    def _question(
        self, message: ClientMessage, message_id: str, trace: Trace | None
    ) -> AmqpMessage:
        """The verb on the wire. Refused, as REST would, where the wire cannot carry it."""
        try:
            return encode_client(
                message,
                self._topology,
                reply_to=self._queue.name,
                correlation_id=message_id,
                user_id=self._user_id,
                message_id=message_id,
                trace=trace,
            )
        except WireError as error:
            raise Refused(Problem(type=ProblemType.BAD_REQUEST, detail=error.reason)) from error

    async def _until_answered(self, question: AmqpMessage, id_: str, said: list[str]) -> Json:
        answered = self._waiting[id_] = asyncio.get_running_loop().create_future()
        try:
            async for _ in backoff():
                (result,) = await self._transport.publish([question], CONFIRM_TIMEOUT_S)
                if result is PublishResult.RETURNED:
                    said[0] = "no orchestrator has declared its queues there"
                    continue
                if result is not PublishResult.CONFIRMED:
                    said[0] = "the broker did not confirm"
                    continue
                said[0] = "no orchestrator answered"
                done, _pending = await asyncio.wait({answered}, timeout=RESEND_S)
                if self._receiving is not None and self._receiving.done():
                    self._receiving.result()
                if not done:
                    continue
                answer = self._read(answered.result())
                if not isinstance(answer, Problem):
                    return answer
                if not is_passing(answer):
                    raise Refused(answer)
                said[0] = answer.detail or answer.title
                answered = self._waiting[id_] = asyncio.get_running_loop().create_future()
        finally:
            self._waiting.pop(id_, None)
        raise AssertionError("backoff never ends")

    def _read(self, message: AmqpMessage) -> Json | Problem:
        try:
            return decode_answer(message)
        except WireError as error:
            raise Unavailable(self._where, f"an answer that cannot be read: {error}") from None

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.create_task(self._transport.open([self._queue]))
        await asyncio.shield(self._opening)
        if self._receiving is None:
            self._receiving = asyncio.create_task(self._receive())

    async def _receive(self) -> None:
        """Hand answers to who waits; one that nobody waits for any more is dropped."""
        await self._transport.consume(self._queue.name, ANSWERS_AT_ONCE)
        while True:
            arrived = await self._transport.arrived(ANSWERS_AT_ONCE, None)
            for delivery in arrived:
                waiting = self._waiting.get(delivery.message.correlation_id or "")
                if waiting is not None and not waiting.done():
                    waiting.set_result(delivery.message)
            await self._transport.acknowledge([delivery.tag for delivery in arrived])


def _own_queue(topology: Topology, name: str) -> Queue:
    """For answers alone: gone a minute after its client."""
    arguments = {"x-queue-type": "classic", "x-expires": QUEUE_EXPIRES_MS}
    return Queue(topology.client_queue(name), (), arguments)


async def lifecycle(
    transport: ParticipantTransport, topology: Topology, definition: str | None, name: str | None
) -> AsyncGenerator[Lifecycle]:
    """Events as they come; each is acknowledged when the next is asked for.

    With a `name` the queue stays while nobody listens, and nothing is missed; else it goes.
    """
    pattern = "#" if definition is None else f"{definition}.#"
    arguments: dict[str, str | int | bool] = {"x-queue-type": "quorum"}
    if name is None:
        arguments["x-expires"] = QUEUE_EXPIRES_MS
    queue = Queue(
        topology.client_queue(name or str(uuid.uuid4())),
        ((topology.events, pattern),),
        arguments,
    )
    await transport.open([queue])
    try:
        await transport.consume(queue.name, EVENTS_AT_ONCE)
        while True:
            for delivery in await transport.arrived(EVENTS_AT_ONCE, None):
                try:
                    event = decode_lifecycle(delivery.message)
                except WireError as error:
                    log.warning("an event that cannot be read is passed over: %s", error.reason)
                else:
                    yield event
                await transport.acknowledge([delivery.tag])
    finally:
        await transport.close()
