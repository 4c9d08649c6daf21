"""One supervised AMQP connection with one channel, made anew for ever when it is lost.

The owner says what is to be done with a fresh channel (`ready`: check, declare, consume). A
channel or connection that closes for whatever reason, also a consumer that the broker cancels,
ends the whole link, and the next one is made: there is one way to recover, and it is taken often.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiormq.abc import AbstractChannel
from aiormq.connection import Connection
from aiormq.exceptions import (
    AMQPError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
)
from pamqp import commands as spec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential
from yarl import URL

from amends_participants.amqp_gathering import GatheringTransport
from amends_participants.amqp_tolerance import tolerate

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 5
CONNECT_TIMEOUT_S: Final = 15.0
READY_TIMEOUT_S: Final = 60.0
BACKOFF_S_MAX: Final = 3.0
ASK_AGAIN_S: Final = 1.0
STEADY_S: Final = 10.0
"""A link that was up for less died of something that may well be there still."""
FRAMES_MAX: Final = 1024
"""Written to a connection and not yet to its socket."""

AWAY: Final = (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.CancelledError)
"""What the client raises when the broker is away. It raises CancelledError in tasks that nobody
cancelled when a connection dies: wherever this is caught, `cancelled_by_us` is asked."""


class TopologyConflict(Exception):
    """A queue exists at the broker with other arguments than ours.

    Instances of one service must declare the same. Nothing works until an operator removes the
    queue, so this is not retried.
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
        ready: Callable[[AbstractChannel], Awaitable[None]],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = URL(url).update_query(heartbeat=str(HEARTBEAT_S), name=name)
        self._where = f"{self._url.host}:{self._url.port or 5672}"
        self._name = name
        self._ready = ready
        self._lost = lost
        self._up = asyncio.Event()
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
            log.warning("lost the broker at %s (%s); connecting again", self._where, self._name)
            deaths = deaths + 1 if time.monotonic() - began < STEADY_S else 0
            if deaths > 1:
                await asyncio.sleep(min(0.1 * 2 ** min(deaths, 10), BACKOFF_S_MAX))

    async def wait_up(self) -> AbstractChannel:
        """The channel, as soon as there is one."""
        while self.channel is None:
            await self._up.wait()
        return self.channel

    def reset(self) -> None:
        """End this channel, and let `run` make the next one."""
        if self.channel is not None and not self.channel.is_closed:
            asyncio.ensure_future(self.channel.close()).add_done_callback(_retrieve)

    async def _connect(self) -> tuple[Any, AbstractChannel]:
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=BACKOFF_S_MAX),
            retry=retry_if_exception(_worth_retrying),
            before_sleep=self._say,
        ):
            with attempt:
                return await self._connect_once()
        raise AssertionError("tenacity retries for ever")

    async def _connect_once(self) -> tuple[Any, AbstractChannel]:
        # aiormq's own types of its connection are partly unknown
        connection: Any = _Roomy(self._url, transport_factory=GatheringTransport(self._url))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect()
                channel: AbstractChannel = await connection.channel()
            channel.on_consumer_cancel_callbacks.add(self._consumer_cancelled)
            self.generation += 1
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._ready(channel)
        except BaseException as error:
            await _close(connection)
            if isinstance(error, ChannelPreconditionFailed):
                raise TopologyConflict(
                    f"the broker has a queue with other arguments than ours: {error}"
                ) from error
            if isinstance(error, asyncio.CancelledError) and not cancelled_by_us(error):
                raise ConnectionError("the connection died while it was set up") from error
            raise
        self.channel = channel
        self._up.set()
        return connection, channel

    def _consumer_cancelled(self, frame: spec.Basic.Cancel) -> None:
        log.warning("the broker cancelled consumer %s; connecting anew", frame.consumer_tag)
        self.reset()

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ChannelNotFoundEntity):
            log.warning("waiting for the orchestrator to declare its exchanges: %s", error)
        else:
            text = str(error) or type(error).__name__
            log.warning("no broker at %s yet: %s; trying again", self._where, text)


class _Roomy(Connection):
    """The client's queue to its writer has ten places: beyond, one frame goes per loop turn."""

    FRAME_BUFFER_SIZE = FRAMES_MAX


def _worth_retrying(error: BaseException) -> bool:
    """Not what a cancellation of ours was turned into: the client raises errors of its own then."""
    task = asyncio.current_task()
    cancelled = task is not None and task.cancelling() > 0
    return isinstance(error, Exception) and isinstance(error, AWAY) and not cancelled


async def _closed(connection: Any, channel: Any) -> None:
    """Wait until either has closed; `closing` of both raises whatever closed it."""
    watched: set[asyncio.Future[Any]] = {connection.closing, channel.closing}
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in watched:
            one.add_done_callback(_retrieve)
            if not one.done():
                one.cancel()


async def _close(connection: Any) -> None:
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
