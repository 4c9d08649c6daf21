"""Reading database URLs: whatever form a user has at hand leads to asyncpg.

asyncpg reads the URL itself, so that everything libpq knows works (`sslmode`, several hosts with
`target_session_attrs`, a socket folder as `host`, `passfile`, PG* variables).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg")

Connect = Callable[[], Awaitable[Any]]


class BadDatabaseUrl(ValueError):
    """A database URL reads postgresql://user:password@host:port/database."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        super().__init__(f"{self.__doc__} This one starts with {scheme!r}.")


def plain_url(database_url: str) -> str:
    """The URL as asyncpg and libpq read it: `postgresql://…`."""
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme not in _SCHEMES:
        # The rest may hold a password: it stays out of the message.
        raise BadDatabaseUrl(scheme if separator else "")
    return f"postgresql://{rest}"


def connector(database_url: str, *, timeout_s: float = 10.0, application: str) -> Connect:
    """A function that opens one asyncpg connection."""
    dsn = plain_url(database_url)

    async def connect() -> Any:
        return await asyncpg.connect(
            dsn,
            timeout=timeout_s,
            server_settings={"application_name": application},
            max_cached_statement_lifetime=0,
        )

    return connect


def engine_for(database_url: str, *, application: str, **options: Any) -> AsyncEngine:
    """A SQLAlchemy engine over `connector`; `options` go to `create_async_engine`."""
    connect = connector(database_url, application=application)
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)
