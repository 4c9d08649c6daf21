"""Running the migrations: Alembic driven from code, over asyncpg, one run at a time.

Alembic itself is loaded only when something has to be migrated.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool

from amends_migrations.urls import engine_for

SCHEMA: Final = "amends"
LOCK_ID: Final = 0x616D656E6473  # "amends"
"""Advisory lock that one run holds; database-wide."""
_POLL_S: Final = 0.1

T = TypeVar("T")


class MigrationFailed(Exception):
    """The schema could not be brought up to date; nothing of the failed migration remains."""


class SchemaNewer(MigrationFailed):
    """The database was migrated by a newer release of Amends than this one: upgrade this one."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        super().__init__(f"{self.__doc__} (its revision is {revision})")


def upgrade(database_url: str, *, wait_s: float = 120.0) -> None:
    """Bring the database to `head()`; does nothing when it is there. Runs are serialised.

    May be called with or without a running event loop; it blocks until done. Raises SchemaNewer,
    MigrationFailed, or what the driver says when the database cannot be reached.
    """
    _run(lambda: _upgrade(database_url, wait_s))


def current(database_url: str) -> str | None:
    """The revision of the database; None if it holds no schema of ours."""
    return _run(lambda: _current(database_url))


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end in a loop of its own, beside one that may be running in this thread."""
    outcome: list[T] = []
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            trouble.append(error)

    thread = threading.Thread(target=body, name="amends-migrate")
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return outcome[0]


async def _current(database_url: str) -> str | None:
    engine = engine_for(database_url, application="amends migrate", poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await revision_of(connection)
    finally:
        await engine.dispose()


async def revision_of(connection: AsyncConnection) -> str | None:
    """The revision this connection sees; None if there is no schema of ours."""
    there = await connection.scalar(text("SELECT to_regclass('amends.alembic_version')"))
    if there is None:
        return None
    return await connection.scalar(text("SELECT version_num FROM amends.alembic_version"))


async def _upgrade(database_url: str, wait_s: float) -> None:
    engine = engine_for(database_url, application="amends migrate", poolclass=NullPool)
    try:
        async with _alone(engine, wait_s), engine.connect() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def _alone(engine: AsyncEngine, wait_s: float) -> AsyncGenerator[None]:
    """Hold the advisory lock of migrations; it goes with its session, however that ends.

    Polled instead of waited for: a statement that waits holds a snapshot, and a
    CREATE INDEX CONCURRENTLY of the run ahead would wait for it in turn.
    """
    until = asyncio.get_running_loop().time() + wait_s
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as holder:
        while not await holder.scalar(text("SELECT pg_try_advisory_lock(:id)"), {"id": LOCK_ID}):
            if asyncio.get_running_loop().time() > until:
                raise MigrationFailed(
                    f"another migration has been running for {wait_s:g} s; "
                    "look for its session in pg_locks (locktype advisory)"
                )
            await asyncio.sleep(_POLL_S)
        yield


def _migrate(connection: Connection) -> None:
    """All pending migrations; each in a transaction of its own."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    _make_schema(connection)
    _refuse_newer(connection, config)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise MigrationFailed(str(error)) from error


def _make_schema(connection: Connection) -> None:
    there = connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA})
    # Not IF NOT EXISTS: that asks for the right to create even where it is there.
    if there is None:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    connection.commit()


def _refuse_newer(connection: Connection, config: Any) -> None:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    revision = context.get_current_revision()
    connection.rollback()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaNewer(revision)
