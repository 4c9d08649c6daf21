"""The participant's database: its engine, the one place that opens a transaction, and what its
errors mean. Errors are told apart by SQLSTATE, never by text.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from amends_participants.runtime.settings import ParticipantSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

LOCK_TIMEOUT: Final = "55P03"
CONTENTION: Final = frozenset({"40001", "40P01", LOCK_TIMEOUT})
"""Serialization failure, deadlock, lock timeout: the same work may succeed a moment later."""
AWAY_CLASSES: Final = frozenset({"08", "57", "53"})
"""Connection exceptions, operator intervention (shutdown, crash), out of resources."""
CONNECT_TIMEOUT_S: Final = 5
BACKOFF_S_MAX: Final = 5.0


class HandlerRaised(Exception):
    """Raised out of a transaction to roll it back; whoever runs handlers catches it."""


class Database:
    """The engine of one service and its transactions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @classmethod
    def connect(cls, settings: ParticipantSettings, service: str) -> "Database":
        """An engine by the settings; connections are made when they are needed."""
        assert settings.database_url is not None, "checked by whoever starts a runtime"
        url = make_url(settings.database_url.get_secret_value())
        server = {
            "application_name": f"amends-participant {service}",
            "lock_timeout": str(settings.lock_timeout_ms),
            "idle_in_transaction_session_timeout": "60000",
        }
        engine = create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            pool_size=settings.concurrency + 4,
            max_overflow=settings.concurrency,
            pool_timeout=settings.query_timeout_s,
            connect_args={
                "command_timeout": settings.query_timeout_s,
                "timeout": CONNECT_TIMEOUT_S,
                "server_settings": server,
            },
        )
        return cls(engine)

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction and commit; the one place that opens one.

        While the database is away the whole is done again, for ever: `work` begins with the row
        of its key, so that a commit without an answer is found there, if it took place.
        """
        try:  # the hot path: what follows costs more than a statement
            return await self._once(work)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("the database does not answer (%r); trying again", error)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_away),
            wait=wait_random_exponential(multiplier=0.05, max=BACKOFF_S_MAX),
            before_sleep=_say,
        ):
            with attempt:
                return await self._once(work)
        raise AssertionError("tenacity retries for ever")

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self.engine.begin() as tx:
            return await work(tx)

    async def close(self) -> None:
        """Close the pool."""
        await self.engine.dispose()


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE that the server gave, wherever it is in the chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        state: Any = getattr(seen, "sqlstate", None) or getattr(
            getattr(seen, "orig", None), "sqlstate", None
        )
        if isinstance(state, str):
            return state
        seen = seen.__cause__
    return None


def is_away(error: BaseException) -> bool:
    """Whether the database could not be reached or has dropped us: trying again is right."""
    if isinstance(error, HandlerRaised):
        return False
    if isinstance(error, PoolTimeout | OSError | TimeoutError):
        return True
    state = sqlstate_of(error)
    if state is not None:
        return state[:2] in AWAY_CLASSES
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or type(error).__name__ == "InterfaceError"
    return type(error).__module__.startswith("asyncpg")


def is_contention(error: BaseException) -> bool:
    """Whether another transaction was in the way."""
    return sqlstate_of(error) in CONTENTION


def is_locked(error: BaseException) -> bool:
    """Whether a row was locked for longer than the lock timeout."""
    return sqlstate_of(error) == LOCK_TIMEOUT


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("the database does not answer (%r); trying again", error)
