"""The orchestrator's database from the command line: databases, migrations, keys, and errors said.

Imported only by commands that need a database; what is slow to import stays inside functions.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from amends_orchestrator.cli.exits import CliError, Exit

CONNECT_S = 10.0


def with_database(url: str, name: str) -> str:
    """The same server's database `name`."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def without_password(url: str) -> str:
    """The URL as it may be printed."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


async def create_databases(url: str, names: Sequence[str]) -> None:
    """Create the databases that are missing on the server of `url`."""
    connection = await connect(url)
    try:
        there = {r["datname"] for r in await connection.fetch("SELECT datname FROM pg_database")}
        for name in names:
            if name not in there:
                await connection.execute(f'CREATE DATABASE "{name}"')
    except asyncpg.InsufficientPrivilegeError as error:
        raise CliError(
            f"The user of {without_password(url)} may not create databases.",
            f"Create them as an administrator: {', '.join(names)}",
            exit_code=Exit.FORBIDDEN,
        ) from error
    finally:
        await connection.close()


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection; CliError (unreachable) with what to do when there is none."""
    try:
        return await asyncpg.connect(_plain(url), timeout=CONNECT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: Exception) -> CliError:
    """A database that cannot be reached, said."""
    return CliError(
        f"The database {without_password(url)} cannot be reached: {error or type(error).__name__}",
        "Check --database-url or AMENDS_DATABASE_URL, and that Postgres runs.",
        exit_code=Exit.UNREACHABLE,
    )


def upgrade(url: str) -> None:
    """Bring the orchestrator's tables to the newest migration."""
    from amends_migrations import upgrade as run

    run(url)


async def create_key(url: str, name: str, tenant: str = "default", scope: str = "admin") -> str:
    """A new API key in plain text; only its hash is kept."""
    from sqlalchemy.ext.asyncio import create_async_engine

    from amends_orchestrator.store.keys import ApiKeys

    engine = create_async_engine(driver_url(url))
    try:
        return await ApiKeys(engine).create(name, tenant, scope)
    finally:
        await engine.dispose()


def driver_url(url: str) -> str:
    """The URL for SQLAlchemy's asyncpg dialect."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+asyncpg://{rest}" if scheme.startswith("postgres") else url


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
