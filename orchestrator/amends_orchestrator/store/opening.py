"""Whether a database may be used: its version, its durability, and a schema that fits."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_migrations import head

SERVER_VERSION_MIN: Final = 140000
_DURABILITY: Final = ("fsync", "full_page_writes", "synchronous_commit")


class DatabaseUnfit(Exception):
    """The database cannot be used as it is; the message says what to do."""


class ServerTooOld(DatabaseUnfit):
    """Amends needs Postgres 14 or newer."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"{self.__doc__} This server is {version}.")


class NotDurable(DatabaseUnfit):
    """The server may lose what it said was committed, and with it undos that are owed."""

    def __init__(self, settings: tuple[str, ...]) -> None:
        self.settings = settings
        super().__init__(
            f"{self.__doc__} Set to off: {', '.join(settings)}. Set them on in postgresql.conf; "
            "for tests alone, allow it with AMENDS_ALLOW_UNSAFE_DATABASE=true."
        )


class SchemaMissing(DatabaseUnfit):
    """The database does not have this release's tables: run `amends migrate`."""

    def __init__(self, revision: str | None) -> None:
        self.revision = revision
        there = "there are none" if revision is None else f"they are at {revision}"
        super().__init__(f"{self.__doc__} ({there}, needed: {head()})")


class SchemaTooNew(DatabaseUnfit):
    """The tables were migrated for releases newer than this one: replace this process."""

    def __init__(self, revision: str, floor: str) -> None:
        self.revision = revision
        self.floor = floor
        super().__init__(
            f"{self.__doc__} (they are at {revision} and serve releases from {floor} on; this one "
            f"knows {head()}. `amends migrate` cannot go back.)"
        )


async def check(connection: AsyncConnection, *, allow_unsafe: bool) -> None:
    """Raise a DatabaseUnfit where something is not as it must be."""
    await _check_server(connection, allow_unsafe=allow_unsafe)
    await _check_schema(connection)


async def _check_server(connection: AsyncConnection, *, allow_unsafe: bool) -> None:
    row = (
        await connection.execute(
            text(
                "SELECT current_setting('server_version_num')::integer AS number,"
                " current_setting('server_version') AS version, current_setting('fsync') AS fsync,"
                " current_setting('full_page_writes') AS full_page_writes,"
                " current_setting('synchronous_commit') AS synchronous_commit"
            )
        )
    ).one()
    if row.number < SERVER_VERSION_MIN:
        raise ServerTooOld(row.version)
    off = tuple(name for name in _DURABILITY if getattr(row, name) == "off")
    if off and not allow_unsafe:
        raise NotDurable(off)


async def _check_schema(connection: AsyncConnection) -> None:
    """The schema may be newer than this release, as long as it still serves it."""
    if await connection.scalar(text("SELECT to_regclass('amends.schema_floor')")) is None:
        raise SchemaMissing(None)
    row = (
        await connection.execute(
            text(
                "SELECT (SELECT max(version_num) FROM amends.alembic_version) AS revision,"
                " (SELECT max(revision) FROM amends.schema_floor) AS floor"
            )
        )
    ).one()
    # Revisions are numbers of four digits: their order is the text's.
    if row.revision is None or row.revision < head():
        raise SchemaMissing(row.revision)
    if head() < row.floor:
        raise SchemaTooNew(row.revision, row.floor)
