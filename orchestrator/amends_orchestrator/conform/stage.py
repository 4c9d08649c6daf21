"""Plays what scripts ask for over a broker: sends, hears, counts, kills. Leaves no queue behind.

Two queues are its own: one for the replies to its own routing key, one for dead letters and
`hello`. They expire by themselves, should this process be killed.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, assert_never

from amends_amqp.connection import Connection
from amends_amqp.errors import NOT_FOUND, Refused
from amends_amqp.link import Link
from amends_contracts.amqp import AmqpMessage, HeaderValue, PublishResult
from amends_contracts.codec import (
    BadMember,
    WireError,
    decode_batch,
    decode_hello,
    encode_batch,
    encode_command,
    is_batch,
)
from amends_contracts.messages import Command, Hello, to_body
from amends_contracts.names import UNDO_OPS, MessageId, Op
from amends_contracts.topology import Queue, Topology
from amends_orchestrator.conform.inbox import Inbox
from amends_orchestrator.conform.keeping import BadRestart, Keeper
from amends_orchestrator.conform.observing import Observer
from amends_orchestrator.conform.script import (
    Bury,
    Count,
    Crash,
    Declare,
    Do,
    Forget,
    Hear,
    Heard,
    Pause,
    Send,
    Strays,
    Tell,
)

CALL_S: Final = 10.0
POLL_S: Final = 0.2
"""Between looks at a queue's consumers: the broker does not say when they come and go."""
PROGRESS_MAX: Final = 10
EXPIRES_MS: Final = 15 * 60 * 1000
PREFETCH: Final = 200
PUBLISH_TIMES: Final = 3


class Gone(Exception):
    """Nobody consumes the service's queues any more, or the broker went away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long is waited for what, in seconds."""

    reply_s: float = 10.0
    recovery_s: float = 90.0
    """For replies, and for the service itself, after it was killed."""


@dataclass(slots=True, kw_only=True)
class Lane:
    """A queue of the service's: what waits in it, and who consumes it."""

    name: str
    waiting: int
    consumers: int


@dataclass(slots=True, kw_only=True)
class Stage:
    """A connection to speak and one to listen, and what was heard."""

    url: str
    topology: Topology
    service: str
    token: str
    """Of this run: part of its queues' names and of its routing keys."""
    waits: Waits
    observer: Observer
    keeper: Keeper | None
    observe: str | None = None
    """The observation of the present subject."""
    inbox: Inbox = field(default_factory=Inbox)
    dead: list[AmqpMessage] = field(default_factory=list[AmqpMessage])
    hellos: dict[str, Hello] = field(default_factory=dict[str, Hello])
    """The newest of each instance of the service."""
    strangers: set[str] = field(default_factory=set[str])
    """Other services that said hello."""
    bad_hellos: list[str] = field(default_factory=list[str])
    buried: set[str] = field(default_factory=set[str])
    """Message ids of what is to go to the dead letters."""
    _links: tuple[Link, Link] = field(init=False)
    """To speak and to listen; made anew when lost."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _returned: set[str] = field(default_factory=set[str])
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reply_to(self) -> str:
        """The routing key of replies to this run alone."""
        return f"reply.{self.service}.conform-{self.token}"

    @property
    def _lane_names(self) -> tuple[str, str]:
        return self.topology.do_queue(self.service), self.topology.undo_queue(self.service)

    @property
    def _queues(self) -> tuple[Queue, Queue]:
        prefix = f"{self.topology.prefix}.conform.{self.token}"
        arguments = {"x-expires": EXPIRES_MS}
        heard = ((self.topology.dead, ""), (self.topology.control, "hello"))
        return (
            Queue(f"{prefix}.replies", ((self.topology.replies, self.reply_to),), arguments),
            Queue(f"{prefix}.letters", heard, arguments),
        )

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, see to the exchanges, and listen. Raises OSError, TimeoutError, ValueError."""
        async with self._asking() as connection:
            for exchange in self.topology.exchanges():
                await connection.declare_exchange(exchange.name, exchange.type)
        self._links = (
            Link(self.url, "amends conform/publish", self._ready_to_speak),
            Link(self.url, "amends conform/consume", self._listen),
        )
        self._tasks += [asyncio.create_task(link.run()) for link in self._links]
        try:
            async with asyncio.timeout(CALL_S):
                for link in self._links:
                    await link.wait_up()
        except BaseException:
            await self.close()
            raise

    async def _ready_to_speak(self, _: Connection) -> None:
        """Nothing is to be declared for it."""

    async def _listen(self, connection: Connection) -> None:
        """Declare and consume, again where the connection was lost: queues keep what came."""
        for queue, heard in zip(self._queues, (self._replied, self._told), strict=True):
            await connection.declare_queue(queue.name, queue.arguments)
            for exchange, key in queue.bindings:
                await connection.bind(queue.name, exchange, key)
            await connection.consume(
                queue.name, PREFETCH, partial(self._received, connection, heard)
            )

    async def close(self) -> None:
        """Disconnect and delete the queues."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with self._asking() as connection:
                for queue in self._queues:
                    await connection.delete_queue(queue.name)
        except (OSError, TimeoutError):
            pass  # they expire

    async def end_service(self) -> None:
        """End the service if it was started here, and wait until the broker knows."""
        if self.keeper is not None and self.keeper.ends:
            before = await self.lanes()
            await self.keeper.close()
            await self._until_fewer(before)

    async def lanes(self) -> tuple[Lane, Lane] | None:
        """The service's two queues; None unless both are there."""
        do, undo = self._lane_names
        async with self._asking() as connection:
            try:
                return await _lane(connection, do), await _lane(connection, undo)
            except Refused as refused:
                if refused.code != NOT_FOUND:
                    raise
                return None

    async def consumed(self, within_s: float) -> bool:
        """Whether somebody consumes both queues, or comes to it in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while True:
            lanes = await self.lanes()
            if lanes is not None and all(lane.consumers for lane in lanes):
                return True
            if loop.time() >= until or (self.keeper is not None and self.keeper.ended()):
                return False
            await asyncio.sleep(POLL_S)

    # --- what scripts ask for -----------------------------------------------------------------

    async def perform(self, do: Do) -> Any:
        """What a script's step gives it."""
        match do:
            case Tell():
                return await self._tell(do)
            case Send():
                await self._publish([self._encoded(command) for command in do.commands])
                return None
            case Hear():
                return await self._hear(do.commands, do.count, recovering=do.recovering)
            case Bury():
                return await self._bury(do)
            case Forget():
                await self._forget(do)
                return None
            case Strays():
                return tuple(self.inbox.of_saga(do.saga))
            case Count():
                if not self.observe:
                    return None
                return await self.observer.look(self.observe, do.step.key)
            case Declare():
                return await self._refusal(undo=do.undo)
            case Pause():
                await asyncio.sleep(do.seconds)
                return None
            case Crash():
                await self._crash()
                return None
            case _:
                assert_never(do)

    async def _tell(self, tell: Tell) -> tuple[Heard, ...]:
        messages = [self._encoded(command, tell.headers) for command in tell.commands]
        if tell.envelope:
            undo = tell.commands[0].op in UNDO_OPS
            envelope = encode_batch(
                messages,
                exchange=self.topology.batches,
                routing_key=f"{self._lane_names[undo]}.batch",
                message_id=f"{tell.commands[0].message_id}:envelope",
            )
            messages = [envelope]
        await self._publish(messages)
        return await self._hear(tell.commands, len(tell.commands))

    async def _hear(
        self, commands: Sequence[Command], count: int, *, recovering: bool = False
    ) -> tuple[Heard, ...]:
        """Replies to `count` commands, or what there is when the time is over."""
        within = self.waits.recovery_s if recovering else self.waits.reply_s
        dead: set[str] = set()
        in_time = True
        for _ in range(PROGRESS_MAX + 1):
            progressed = self.inbox.progressed

            def is_over(progressed: int = progressed) -> bool:
                dead.update(command.message_id for command in commands if self._letter(command))
                over = self.inbox.answered(commands) + len(dead) >= count
                return over or self.inbox.progressed > progressed

            in_time = await self._until(is_over, within)
            if not in_time or self.inbox.progressed == progressed:
                break
        taken = self.inbox.take(commands, all_in=not in_time)
        return tuple(
            taken.get(n) or Heard(command, None, self._silence(command, within))
            for n, command in enumerate(commands)
        )

    def _silence(self, command: Command, within_s: float) -> str:
        letter = self._letter(command)
        if letter is not None:
            return f"no reply; it came to the dead letters ({_reason(letter)})"
        if command.message_id in self._returned:
            return "no reply; the broker returned it, for no queue takes it"
        heard = self.inbox.of_saga(command.saga_id or "")
        if heard:
            names = f"message_id {heard[0].message_id!r}, headers {dict(heard[0].headers)!r}"
            return f"no reply to it within {within_s:g} s; heard was {names}"
        return f"no reply within {within_s:g} s"

    def _letter(self, command: Command) -> AmqpMessage | None:
        found = (letter for letter in self.dead if letter.message_id == command.message_id)
        return next(found, None)

    async def _bury(self, bury: Bury) -> AmqpMessage | None:
        command = bury.command
        message = encode_command(command, self.topology)
        headers = {k: v for k, v in {**message.headers, **bury.headers}.items() if v is not None}
        body = message.body if bury.body is None else bury.body
        self.buried.add(command.message_id)
        await self._publish([replace(message, headers=headers, body=body)])
        await self._until(lambda: self._letter(command) is not None, self.waits.reply_s)
        return self._letter(command)

    async def _forget(self, forget: Forget) -> None:
        command = Command(
            type=f"{forget.service}.forget",
            op=Op.FORGET,
            message_id=MessageId(f"forget:{forget.service}:{forget.saga}"),
            body=to_body({"sagas": [forget.saga]}),
        )
        await self._publish([self._encoded(command)])

    async def _refusal(self, *, undo: bool) -> str | None:
        queue = self.topology.service_queues(self.service)[undo]
        async with self._asking() as connection:
            try:
                await connection.declare_queue(queue.name, queue.arguments)
            except Refused as refused:
                return str(refused)
        return None

    async def _crash(self) -> None:
        assert self.keeper is not None
        before = await self.lanes()
        await self.keeper.kill()
        if not await self._until_fewer(before):
            raise BadRestart(
                "the process was killed, and its queues have as many consumers as before: is it"
                " the service's, and the only one?"
            )
        await self.keeper.start()
        if not await self.consumed(self.waits.recovery_s):
            code = self.keeper.ended()
            how = f"it ended with {code}" if code else "nobody consumes its queues"
            raise BadRestart(f"--restart did not bring the service back: {how}")

    async def _until_fewer(self, before: tuple[Lane, Lane] | None) -> bool:
        was = 1 if before is None else before[0].consumers
        loop = asyncio.get_running_loop()
        until = loop.time() + CALL_S
        while loop.time() < until:
            lanes = await self.lanes()
            if lanes is None or lanes[0].consumers < was:
                return True
            await asyncio.sleep(POLL_S)
        return False

    # --- speaking and listening ---------------------------------------------------------------

    def _encoded(
        self, command: Command, headers: Mapping[str, HeaderValue] | None = None
    ) -> AmqpMessage:
        message = encode_command(command, self.topology)
        self.inbox.sent.add(command.message_id)
        return replace(message, headers={**message.headers, **(headers or {})})

    async def _publish(self, messages: Sequence[AmqpMessage]) -> None:
        """Until all are confirmed or returned: what is not is published again under its id."""
        left = list(messages)
        for _ in range(PUBLISH_TIMES):
            try:
                async with asyncio.timeout(CALL_S):
                    connection = await self._links[0].wait_up()
            except TimeoutError:
                break
            results = await connection.publish(left, CALL_S)
            for message, result in zip(left, results, strict=True):
                if result is PublishResult.RETURNED and message.message_id:
                    self._returned.add(message.message_id)
            told = zip(left, results, strict=True)
            left = [message for message, result in told if result is PublishResult.UNKNOWN]
            if not left:
                return
        raise Gone("the broker does not confirm what is published, or went away")

    @asynccontextmanager
    async def _asking(self) -> AsyncGenerator[Connection]:
        """A connection for a question whose refusal costs it."""
        async with asyncio.timeout(CALL_S):
            connection = await Connection.connect(self.url, name="amends conform/ask")
            try:
                yield connection
            finally:
                await connection.close()

    async def _until(self, holds: Callable[[], bool], within_s: float) -> bool:
        """Wait until something holds that hearing a message can change."""
        try:
            async with asyncio.timeout(within_s):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return holds()
        return True

    def _received(
        self,
        connection: Connection,
        heard: Callable[[AmqpMessage], None],
        message: AmqpMessage,
        tag: int,
        _redelivered: bool,
    ) -> None:
        connection.acknowledge([tag])
        heard(message)
        self._news.set()

    def _replied(self, message: AmqpMessage) -> None:
        if not is_batch(message):
            self.inbox.add(message)
        else:
            self._unpacked(message)

    def _unpacked(self, envelope: AmqpMessage) -> None:
        try:
            members = decode_batch(envelope, self.topology)
        except WireError as error:
            self.inbox.faults.append(f"an envelope of replies: {error.reason}")
            return
        for member in members:
            if isinstance(member, BadMember):
                self.inbox.faults.append(f"in an envelope of replies: {member.reason}")
            else:
                self.inbox.add(member)

    def _told(self, message: AmqpMessage) -> None:
        if message.exchange == self.topology.control:
            self._greeted(message)
        elif message.message_id in self.inbox.sent | self.buried:
            self.dead.append(message)

    def _greeted(self, message: AmqpMessage) -> None:
        try:
            hello = decode_hello(message)
        except WireError as error:
            if f'"{self.service}"'.encode() in message.body:
                self.bad_hellos.append(error.reason)
            return
        if hello.service == self.service:
            self.hellos[hello.instance] = hello
        else:
            self.strangers.add(hello.service)

    async def heard_hello(self, within_s: float) -> bool:
        """Whether the service said hello, or does so in time."""
        return await self._until(lambda: bool(self.hellos), within_s)


async def _lane(connection: Connection, name: str) -> Lane:
    waiting, consumers = await connection.declare_queue(name, {}, passive=True)
    return Lane(name=name, waiting=waiting, consumers=consumers)


def _reason(letter: AmqpMessage) -> str:
    said = letter.headers.get("amends-reason") or letter.headers.get("x-first-death-reason")
    return str(said or "no reason given")
