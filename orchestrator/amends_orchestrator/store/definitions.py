"""Registered definitions: versions that never change, shared by all tenants."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import Json
from amends_orchestrator.core.state import TERMINAL, SagaStatus
from amends_orchestrator.core.undo_debt import undo_window
from amends_orchestrator.store import queries
from amends_orchestrator.store.arrays import dump
from amends_orchestrator.store.database import Database

SQL: Final = queries.load("admin")
DEBT_MAX: Final = 1000
"""Sagas counted of each kind of debt; more are as good a reason."""
_UNENDED: Final = sorted(status.value for status in SagaStatus if status not in TERMINAL)


class Registered(StrEnum):
    """What a registration did."""

    CREATED = "created"
    SAME = "same"
    """It was there already, with this digest."""
    CONFLICT = "conflict"
    """The version is there with other content; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionRow:
    """A registered definition."""

    name: str
    version: int
    digest: str
    document: Json
    registered_at: datetime
    retired_at: datetime | None = None
    """Since when it takes no starts."""


@dataclass(frozen=True, slots=True)
class Debt:
    """What a version still owes; each number counted up to `DEBT_MAX`."""

    open: int
    """Sagas that have not ended."""
    undoable: int
    """Completed sagas whose undo window is open."""

    def __bool__(self) -> bool:
        return bool(self.open or self.undoable)


class Definitions:
    """Table `definition`. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def register(self, document: Json, digest: str) -> Registered:
        """Keep a verified document under its name and version, unless that is taken.

        The digest decides whether a document is the same: it is of what the user wrote, while the
        document may have been resolved against what participants said that day.
        """
        name, version = document["name"], document["version"]
        new = await self._database.row(
            SQL["register"], name=name, version=version, digest=digest, document=dump(document)
        )
        if new is not None:
            return Registered.CREATED
        # A statement of its own: the row may have been committed while the first one waited.
        there = await self.get(name, version)
        assert there is not None
        return Registered.SAME if there.digest == digest else Registered.CONFLICT

    async def get(self, name: str, version: int | None = None) -> DefinitionRow | None:
        """This version, or the newest."""
        row = await self._database.row(SQL["definition"], name=name, version=version)
        return None if row is None else _definition(row)

    async def debt(self, row: DefinitionRow) -> Debt:
        """What a version owes now."""
        found = await self._database.row(
            SQL["debt"],
            name=row.name,
            version=row.version,
            unended=_UNENDED,
            window_s=undo_window(row.document).total_seconds(),
            at_most=DEBT_MAX,
        )
        assert found is not None
        return Debt(found["open"], found["undoable"])

    async def retire(self, row: DefinitionRow) -> Debt:
        """Let a version take no new starts, unless it owes something: then nothing is written.

        A start that another orchestrator has under way at this moment may still come to be; it runs
        to its end like all others.
        """
        debt = Debt(0, 0) if row.retired_at else await self.debt(row)
        if not debt:
            await self._database.fetch(SQL["retire"], name=row.name, version=row.version)
        return debt

    async def list(self, name: str | None = None) -> Sequence[DefinitionRow]:
        """All versions of `name`, newest first; or the newest of every name."""
        if name is None:
            rows = await self._database.fetch(SQL["newest"])
        else:
            rows = await self._database.fetch(SQL["versions"], name=name)
        return [_definition(row) for row in rows]


def _definition(row: asyncpg.Record) -> DefinitionRow:
    return DefinitionRow(
        name=row["name"],
        version=row["version"],
        digest=row["digest"],
        document=json.loads(row["document"]),
        registered_at=row["at"],
        retired_at=row["retired_at"],
    )
