"""The orchestrator's database from the command line: databases, migrations, keys, and errors said.

Imported only by commands that need a database: what it imports is slow to import.
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_migrations.urls import BadDatabaseUrl, engine_for, plain_url
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.engine.ports import StoreUnavailable
from amends_orchestrator.store.keys import ApiKeys

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
        return await asyncpg.connect(plain_url(url), timeout=CONNECT_S)
    except BadDatabaseUrl as error:
        raise _not_a_database(error) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: Exception) -> CliError:
    """A database that cannot be reached, said."""
    return CliError(
        f"The database {without_password(url)} cannot be reached: {error or type(error).__name__}",
        "Check --database-url or AMENDS_DATABASE_URL, and that Postgres runs.",
        exit_code=Exit.UNREACHABLE,
    )


def not_migrated(url: str) -> CliError:
    """A database without the tables or columns that a command needs, said."""
    return CliError(
        f"The database {without_password(url)} is not migrated.",
        "Run `amends migrate`.",
        exit_code=Exit.UNREACHABLE,
    )


@contextmanager
def reaching(url: str) -> Generator[None]:
    """Whatever shows that the database is away becomes a CliError."""
    try:
        yield
    except BadDatabaseUrl as error:
        raise _not_a_database(error) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unreachable(url, error) from error


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[AsyncEngine]:
    """A SQLAlchemy engine on the migrated database; CliError when it is away or not migrated."""
    try:
        engine = engine_for(url, application="amends cli")
    except BadDatabaseUrl as error:
        raise _not_a_database(error) from error
    try:
        yield engine
    except StoreUnavailable as error:
        if isinstance(error.__cause__, asyncpg.UndefinedTableError):
            raise not_migrated(url) from error
        raise unreachable(url, error) from error
    finally:
        await engine.dispose()


async def create_key(url: str, name: str, tenant: str = "default", scope: str = "admin") -> str:
    """A new API key in plain text; only its hash is kept."""
    async with opened(url) as engine:
        return await ApiKeys(engine).create(name, tenant, scope)


def _not_a_database(error: BadDatabaseUrl) -> CliError:
    return CliError(
        str(error), "Check --database-url or AMENDS_DATABASE_URL.", exit_code=Exit.USAGE
    )
