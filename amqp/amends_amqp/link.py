"""One supervised connection, made anew for ever when it is lost.

The owner says what is to be done with a fresh one (`ready`: check, declare, consume). A connection
that ends for whatever reason, also because the broker closed its channel or cancelled a consumer,
is over as a whole, and the next one is made: there is one way to recover, and it is taken often.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from amends_amqp import errors, urls
from amends_amqp.connection import Connection

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 15.0
READY_TIMEOUT_S: Final = 120.0
BACKOFF_S_MAX: Final = 5.0
STEADY_S: Final = 10.0
"""A link that was up for less died of something that may well be there still."""


class AnotherConnection(ConnectionError):
    """Raised by `ready` when a refusal that it can do without has cost it the channel."""


class TopologyConflict(Exception):
    """An exchange or queue exists at the broker with other arguments than ours.

    Nothing works safely until an operator removes it, so this is not retried.
    """


class Link:
    """A connection. `run` keeps it up; `connection` is None while it is down."""

    def __init__(
        self,
        url: str,
        name: str,
        ready: Callable[[Connection], Awaitable[None]],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        where = urls.parse(url)
        self._url = url
        self._where = f"{where.host}:{where.port}"
        self._name = name
        self._ready = ready
        self._lost = lost
        self._up = asyncio.Event()
        self.connection: Connection | None = None
        self.generation = 0
        """Counts the connections of this link; a delivery tag is worth nothing on another one."""

    async def run(self) -> None:
        """Keep the link up until cancelled. Raises TopologyConflict alone."""
        deaths = 0
        while True:
            connection = await self._connect()
            began = time.monotonic()
            try:
                await asyncio.shield(connection.closed)
            finally:
                self.connection = None
                self._up.clear()
                self._lost()
                await connection.close()
            reason = connection.error
            log.warning("lost the broker at %s (%s): %s", self._where, self._name, reason)
            deaths = deaths + 1 if time.monotonic() - began < STEADY_S else 0
            if deaths > 1:
                await asyncio.sleep(min(0.1 * 2 ** min(deaths, 10), BACKOFF_S_MAX))

    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self.connection is not None

    async def wait_up(self) -> Connection:
        """The connection, as soon as there is one that is open."""
        while self.connection is None or self.connection.is_closed:
            self._up.clear()
            await self._up.wait()
        return self.connection

    def reset(self) -> None:
        """End this connection, and let `run` make the next one."""
        if self.connection is not None:
            self.connection.abort()

    async def _connect(self) -> Connection:
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=BACKOFF_S_MAX),
            retry=retry_if_exception(_worth_retrying),
            before_sleep=self._say,
        ):
            with attempt:
                return await self._connect_once()
        raise AssertionError("tenacity retries for ever")

    async def _connect_once(self) -> Connection:
        while True:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await Connection.connect(self._url, name=self._name)
            self.generation += 1
            try:
                async with asyncio.timeout(READY_TIMEOUT_S):
                    await self._ready(connection)
            except AnotherConnection:
                await connection.close()
                continue
            except BaseException as error:
                await connection.close()
                if isinstance(error, errors.Refused) and error.code == errors.PRECONDITION_FAILED:
                    raise TopologyConflict(
                        f"the broker has an entity with other arguments than ours: {error}"
                    ) from error
                raise
            self.connection = connection
            self._up.set()
            return connection

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, errors.Refused) and error.code == errors.NOT_FOUND:
            log.warning("waiting for the orchestrator to declare its exchanges: %s", error)
            return
        text = str(error) or type(error).__name__
        log.warning(
            "no broker at %s yet (%s): %s; trying again (%d)",
            self._where,
            self._name,
            text,
            state.attempt_number,
        )


def _worth_retrying(error: BaseException) -> bool:
    return isinstance(error, OSError | TimeoutError)
