"""One supervised AMQP connection with one channel, made anew for ever when it is lost.

The owner says what is to be done with a fresh channel (`ready`: declare, consume). A channel or
connection that closes for whatever reason, also a consumer that the broker cancels, ends the whole
link, and the next one is made: there is one way to recover, and it is taken often.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from aiormq.abc import AbstractChannel
from aiormq.connection import Connection, TransportFactory
from aiormq.exceptions import AMQPError, ChannelPreconditionFailed, ConnectionClosed
from pamqp import commands as spec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential
from yarl import URL

from amends_orchestrator.transport.gathering import GatheringTransport
from amends_orchestrator.transport.tolerance import tolerate

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 5
CONNECT_TIMEOUT_S: Final = 15.0
READY_TIMEOUT_S: Final = 120.0
BACKOFF_S_MAX: Final = 5.0
ASK_AGAIN_S: Final = 1.0
STEADY_S: Final = 10.0
"""A link that was up for less died of something that may well be there still."""
FRAMES_MAX: Final = 1024
"""Written to a connection and not yet to its socket."""

AWAY: Final = (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.CancelledError)
"""What the client raises when the broker is away. aiormq raises CancelledError in tasks that
nobody cancelled when a connection dies: wherever this is caught, `cancelled_by_us` is asked."""


class _Closing(Protocol):
    @property
    def closing(self) -> "asyncio.Future[object]": ...


class _Connection(_Closing, Protocol):
    """What is used of aiormq's connection, whose own types are partly unknown."""

    @property
    def is_closed(self) -> bool: ...
    @property
    def server_properties(self) -> Mapping[str, object]: ...
    async def connect(self) -> bool: ...
    async def channel(self) -> AbstractChannel: ...
    async def close(self, exc: Exception) -> None: ...


class AnotherChannel(ConnectionError):
    """Raised by `ready` when a refusal that it can do without has cost it the channel."""


class TopologyConflict(Exception):
    """An exchange or queue exists at the broker with other arguments than ours.

    Nothing can be published safely until an operator removes it, so this is not retried.
    """


async def ended(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """End tasks that use the client, which may swallow a cancellation: ask until they have."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=ASK_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


def cancelled_by_us(error: BaseException) -> bool:
    """Whether `error` is a cancellation that somebody asked of the current task."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class Link:
    """A connection and its channel. `run` keeps it up; `channel` is None while it is down."""

    def __init__(
        self,
        url: str,
        name: str,
        ready: Callable[[AbstractChannel, int], Awaitable[None]],
        lost: Callable[[], None],
    ) -> None:
        self._url = URL(url).update_query(heartbeat=str(HEARTBEAT_S), name=name)
        self._name = name
        self._ready = ready
        self._lost = lost
        self._up = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self.channel: AbstractChannel | None = None
        self.generation = 0
        """Counts the channels of this link; a delivery tag is worth nothing on another one."""

    async def run(self) -> None:
        """Keep the link up until cancelled. Raises TopologyConflict alone."""
        tolerate()
        deaths = 0
        while True:
            connection, channel = await self._connect()
            began = time.monotonic()
            try:
                await _closed(connection, channel)
            finally:
                self.channel = None
                self._up.clear()
                self._lost()
                await _close(connection)
            log.warning("broker link %s lost; connecting again", self._name)
            deaths = deaths + 1 if time.monotonic() - began < STEADY_S else 0
            if deaths > 1:
                await asyncio.sleep(min(0.1 * 2 ** min(deaths, 10), BACKOFF_S_MAX))

    def is_up(self) -> bool:
        """Whether there is a channel."""
        return self.channel is not None

    async def wait_up(self) -> AbstractChannel:
        """The channel, as soon as there is one that is open."""
        while self.channel is None or self.channel.is_closed:
            self._up.clear()
            await self._up.wait()
        return self.channel

    async def drained(self) -> None:
        """Wait until the socket takes more: a blocked connection takes nothing."""
        writer = self._writer
        if writer is not None:
            await writer.drain()

    def reset(self) -> None:
        """End this channel, and let `run` make the next one."""
        if self.channel is not None and not self.channel.is_closed:
            task = asyncio.ensure_future(self.channel.close())
            task.add_done_callback(_retrieve)

    async def _connect(self) -> tuple[_Connection, AbstractChannel]:
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=BACKOFF_S_MAX),
            retry=retry_if_exception(_worth_retrying),
            before_sleep=self._say,
        ):
            with attempt:
                return await self._connect_once()
        raise AssertionError("tenacity retries for ever")

    async def _connect_once(self) -> tuple[_Connection, AbstractChannel]:
        gathering = GatheringTransport(self._url)
        connection = _new_connection(self._url, gathering, self._name)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect()
            async with asyncio.timeout(READY_TIMEOUT_S):
                channel = await self._ready_channel(connection)
        except BaseException as error:
            await _close(connection)
            if isinstance(error, ChannelPreconditionFailed):
                raise TopologyConflict(
                    f"the broker has an entity with other arguments than ours: {error}"
                ) from error
            if isinstance(error, asyncio.CancelledError) and not cancelled_by_us(error):
                raise ConnectionError("the connection died while it was set up") from error
            raise
        self._writer = gathering.writer
        self.channel = channel
        self._up.set()
        return connection, channel

    async def _ready_channel(self, connection: _Connection) -> AbstractChannel:
        while True:
            channel = await connection.channel()
            channel.on_consumer_cancel_callbacks.add(self._consumer_cancelled)
            self.generation += 1
            try:
                await self._ready(channel, _major_version(connection))
            except AnotherChannel:
                cast("_Closing", channel).closing.add_done_callback(_retrieve)
            else:
                return channel

    def _consumer_cancelled(self, frame: spec.Basic.Cancel) -> None:
        log.warning("the broker cancelled consumer %s; making the link anew", frame.consumer_tag)
        self.reset()

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "broker link %s: %s; trying again (%d)",
            self._name,
            error or type(error).__name__,
            state.attempt_number,
        )


def _worth_retrying(error: BaseException) -> bool:
    """Not what a cancellation of ours was turned into: the client raises errors of its own then."""
    task = asyncio.current_task()
    cancelled = task is not None and task.cancelling() > 0
    return isinstance(error, Exception) and isinstance(error, AWAY) and not cancelled


class _Roomy(Connection):
    """The client's queue to its writer has ten places: beyond, one frame goes per loop turn."""

    FRAME_BUFFER_SIZE = FRAMES_MAX


def _new_connection(url: URL, factory: TransportFactory, name: str) -> _Connection:
    properties = {"connection_name": name}
    made: Any = _Roomy(url, transport_factory=factory, client_properties=cast("Any", properties))
    return made


async def _closed(connection: _Connection, channel: AbstractChannel) -> None:
    """Wait until either has closed; `closing` of both raises whatever closed it."""
    watched = {connection.closing, cast("_Closing", channel).closing}
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in watched:
            one.add_done_callback(_retrieve)
            if not one.done():
                one.cancel()


async def _close(connection: _Connection) -> None:
    if connection.is_closed or not hasattr(connection, "_writer_task"):
        return
    try:
        async with asyncio.timeout(3):
            await connection.close(ConnectionClosed(0, "closed by us"))
    except AWAY as error:
        if cancelled_by_us(error):
            raise


def _retrieve(done: "asyncio.Future[Any]") -> None:
    with contextlib.suppress(asyncio.CancelledError):
        done.exception()


def _major_version(connection: _Connection) -> int:
    version = connection.server_properties.get("version")
    text = version.decode() if isinstance(version, bytes) else str(version)
    major = text.partition(".")[0]
    return int(major) if major.isdigit() else 3
