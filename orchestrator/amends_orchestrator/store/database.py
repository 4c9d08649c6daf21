"""The one place that talks to Postgres: borrows a connection, bounds the call, sorts the errors.

Every statement of the store is a transaction by itself, sent in one round trip, so nothing here
begins or ends one, and none can be left open. The engine and its pool are SQLAlchemy's; statements
run on the driver's connection, whose arrays cost a tenth of what rows through the ORM do.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import event
from sqlalchemy import exc as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from amends_migrations.urls import connector
from amends_orchestrator.engine.ports import BadData, Conflict, StoreUnavailable
from amends_orchestrator.store.queries import Query

COMMIT: Final = "commit_batch"
"""The statements that may lose a race."""
FENCE: Final = "SG001"
"""SQLSTATE of amends.fence()."""
UNIQUE_VIOLATION: Final = "23505"
_RACES: Final = frozenset({"saga_pkey", "start_key_pkey", "outbox_pkey"})
"""Unique keys that a race or a repeated commit hits. A journal row that exists is neither: the
fence comes before it."""
_LOST_RACES: Final = frozenset({FENCE, "40001", "40P01"})
_DATA: Final = frozenset({"22", "23", "54"})
_STANDBY: Final = asyncpg.ReadOnlySQLTransactionError

_SESSION: Final = """
SET statement_timeout = {timeout_ms};
SET lock_timeout = {timeout_ms};
SET idle_in_transaction_session_timeout = '10s';
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SET seq_page_cost = 0.01;
SET random_page_cost = 0.01;
"""
# Every statement here finds few rows through an index. Left to itself the planner fits the plan
# to tables that are empty when the service is new, and keeps it until the next ANALYZE, while they
# grow by thousands of rows a second; or it plans each execution anew, which costs as much again.


def open_engine(
    database_url: str, *, query_timeout_s: float, pool_size: int = 5, application: str = "amends"
) -> AsyncEngine:
    """An engine whose sessions are set up for the store's statements. Connects to nothing yet."""
    connect = connector(database_url, timeout_s=query_timeout_s, application=application)
    # The server gives up first: a statement that is only slow then costs no connection.
    session = _SESSION.format(timeout_ms=round(query_timeout_s * 900))

    async def connect_and_set() -> Any:
        connection = await connect()
        await connection.execute(session)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect_and_set,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,  # the hot loop finds the connection that knows its statements
        pool_reset_on_return=None,  # there is nothing to roll back
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


async def close_engine(engine: AsyncEngine, *, timeout_s: float = 2.0) -> None:
    """Close all connections; without their goodbyes where the server does not answer any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await engine.dispose()


def _refuse_closed(connection: Any, *_: Any) -> None:
    """Replace what the server closed while it lay in the pool; asks nobody, so it costs nothing."""
    if connection.driver_connection.is_closed():
        raise sa.DisconnectionError


class Database:
    """Runs statements, each within `query_timeout_s`, checkout included."""

    def __init__(
        self, engine: AsyncEngine, *, query_timeout_s: float = 10.0, keeps_one: bool = False
    ) -> None:
        """`keeps_one`: a connection is not given back between two calls, until `close`."""
        self.engine = engine
        self._timeout_s = query_timeout_s
        self._keeps_one = keeps_one
        self._kept: _Borrowed | None = None

    async def close(self) -> None:
        """Give back what is kept."""
        self._keeps_one = False
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.connection.close()

    async def fetch(self, query: Query, **given: Any) -> list[asyncpg.Record]:
        """Run one statement; its rows.

        Raises Conflict, BadData or StoreUnavailable. After the last one it is unknown whether the
        statement was carried out: a frozen server answers nothing, and its keepalives do.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._driver() as driver:
                return await driver.fetch(query.text, *query.arguments(given))
        except TimeoutError as error:
            raise StoreUnavailable(
                f"the database did not answer {query.name} within {self._timeout_s:g} s"
            ) from error
        except asyncpg.PostgresError as error:
            raise sorted_error(query.name, error) from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            if isinstance(error, ValueError):  # an argument that the wire format cannot hold
                raise BadData(f"{query.name}: {error}") from error
            raise StoreUnavailable(f"{query.name}: {error}") from error
        except (sa.DBAPIError, sa.DisconnectionError, sa.InvalidRequestError, sa.TimeoutError) as e:
            raise StoreUnavailable(f"{query.name}: {e}") from e

    async def row(self, query: Query, **given: Any) -> asyncpg.Record | None:
        """The only row, or None."""
        rows = await self.fetch(query, **given)
        assert len(rows) <= 1
        return rows[0] if rows else None

    @contextlib.asynccontextmanager
    async def _driver(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        borrowed = await self._borrow()
        try:
            yield borrowed.driver
        except BaseException as error:
            usable = isinstance(error, asyncpg.PostgresError) and not isinstance(error, _STANDBY)
            if not usable or borrowed.driver.is_closed():
                # Its state is unknown (a deadline, a lost line), or it leads to a server that is
                # no primary any more: never to be used again. At once, because an orderly goodbye
                # would wait for the server.
                borrowed.driver.terminate()
                await borrowed.connection.invalidate()
            raise
        finally:
            await self._give_back(borrowed)

    async def _borrow(self) -> "_Borrowed":
        """What is kept, if nobody uses it and the server has not closed it; else from the pool.

        Going through the pool for each call costs more of our time than the call itself.
        """
        kept, self._kept = self._kept, None
        if kept is not None:
            if not kept.driver.is_closed():
                return kept
            await kept.connection.close()
        connection = await self.engine.connect()
        try:
            return _Borrowed(connection, await _driver_of(connection))
        except BaseException:
            await connection.close()
            raise

    async def _give_back(self, borrowed: "_Borrowed") -> None:
        if self._keeps_one and self._kept is None and not borrowed.driver.is_closed():
            self._kept = borrowed
        else:
            await borrowed.connection.close()


@dataclass(frozen=True, slots=True)
class _Borrowed:
    """A connection of the pool's, and the driver's under it."""

    connection: AsyncConnection
    driver: "asyncpg.Connection[asyncpg.Record]"


async def _driver_of(connection: AsyncConnection) -> "asyncpg.Connection[asyncpg.Record]":
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    assert driver is not None
    return driver


def sorted_error(name: str, error: asyncpg.PostgresError) -> Exception:
    """What a server's error means to the engine: by its SQLSTATE, never by its text."""
    sqlstate: str = error.sqlstate or ""
    said = f"{name}: {sqlstate} {error}"
    if sqlstate in _LOST_RACES:  # only a commit is decided anew; all else is asked again
        return Conflict(said) if name.startswith(COMMIT) else StoreUnavailable(said)
    if sqlstate == UNIQUE_VIOLATION and getattr(error, "constraint_name", None) in _RACES:
        return Conflict(said)
    if sqlstate[:2] in _DATA:
        return BadData(said)
    # Shutting down, too many connections, disk full, read-only after a failover, a cancelled
    # statement, and whatever else may pass: later, again.
    return StoreUnavailable(said)
