"""Schedules as REST adds, lists and removes them: of one tenant, by the database's clock."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.names import SagaId
from amends_orchestrator.engine.ports import Schedule
from amends_orchestrator.store import queries
from amends_orchestrator.store.arrays import dump
from amends_orchestrator.store.database import Database

SQL: Final = queries.load("schedules")


class Schedules:
    """Table `schedule`. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def now(self) -> datetime:
        """The time by which schedules go."""
        row = await self._database.row(SQL["clock"])
        assert row is not None
        return row["now"]

    async def add(self, schedule: Schedule) -> bool:
        """Keep a new schedule; False where its name is taken."""
        row = await self._database.row(
            SQL["add_schedule"],
            tenant=schedule.tenant,
            name=schedule.name,
            definition=schedule.definition,
            version=schedule.version,
            cron=schedule.cron,
            zone=schedule.zone,
            input=dump(schedule.input),
            labels=dump(dict(schedule.labels)),
            catch_up=schedule.catch_up,
            catch_up_max=schedule.catch_up_max,
            added_by=schedule.added_by,
            next_at=schedule.next_at,
        )
        return row is not None

    async def list(self, tenant: str, name: str | None = None) -> Sequence[Schedule]:
        """All schedules of a tenant by name, or the one of this name."""
        rows = await self._database.fetch(SQL["schedules"], tenant=tenant, name=name)
        return [schedule_of(row) for row in rows]

    async def remove(self, tenant: str, name: str) -> bool:
        """Start nothing by it any more; False where there is none."""
        return (
            await self._database.row(SQL["remove_schedule"], tenant=tenant, name=name) is not None
        )


def schedule_of(row: asyncpg.Record) -> Schedule:
    """A row as the engine and REST know it."""
    saga_id = row["last_saga_id"]
    return Schedule(
        tenant=row["tenant"],
        name=row["name"],
        definition=row["definition"],
        version=row["version"],
        cron=row["cron"],
        zone=row["zone"],
        input=json.loads(row["input"]),
        labels=json.loads(row["labels"]),
        catch_up=row["catch_up"],
        catch_up_max=row["catch_up_max"],
        added_by=row["added_by"],
        added_at=row["added_at"],
        next_at=row["next_at"],
        last_at=row["last_at"],
        last_saga_id=None if saga_id is None else SagaId(str(saga_id)),
        last_problem=row["last_problem"],
    )
