"""What `amends archive` does: batch after batch, until nothing more may go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from amends_contracts.codec import dump_messages
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.cli import schema
from amends_orchestrator.cli.archive_file import ArchiveFile
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.engine.forgets import forget_messages, services_in
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.ports import OutboxWrite
from amends_orchestrator.store.archive import (
    Connection,
    Over,
    Wanted,
    archive_batch,
    forget_keys,
)
from amends_orchestrator.store.pasts import plan_of

_NEVER: Final = UUID(int=0)


@dataclass(slots=True)
class Tally:
    """What was done."""

    sagas: int = 0
    rows: int = 0
    keys: int = 0
    """Start keys of sagas archived 30 days ago, deleted."""
    file: Path | None = None


@dataclass(slots=True)
class _Keeper:
    """Writes a batch to the file and says what its participants are to be told."""

    file: ArchiveFile
    topology: Topology
    plans: dict[tuple[str, int], Plan] = field(default_factory=dict[tuple[str, int], Plan])

    def keep(self, sagas: Sequence[Over]) -> OutboxWrite | None:
        try:
            self.file.write(sagas)
        except OSError as error:
            raise CliError(
                f"{self.file.path}: {error.strerror}.",
                "Make room there, or name another folder, and run it again: nothing is lost.",
                exit_code=Exit.USAGE,
            ) from error
        batch = uuid7()
        told = [
            (s.saga_id, services_in(self.plans[s.definition, s.version], s.rows)) for s in sagas
        ]
        messages = forget_messages(told, batch, self.topology)
        if not messages:
            return None
        return OutboxWrite(id=batch, n=len(messages), body=dump_messages(messages))


async def archive(
    url: str,
    folder: Path,
    *,
    older_than_s: float,
    definition: str | None,
    tenant: str | None,
    topology: Topology,
    progress: Callable[[Tally], None],
) -> Tally:
    """Archive all that may go, oldest first. Raises CliError; what was archived before stays so."""
    with schema.reaching(url):
        connection = await schema.connect(url)
        try:
            now: datetime = await connection.fetchval(
                "SELECT clock_timestamp() - make_interval(secs => $1)", older_than_s
            )
            wanted = Wanted(
                ended_before=now,
                until=uuid7(int(now.timestamp() * 1000), bytes(10)),
                definition=definition,
                tenant=tenant,
            )
            file = ArchiveFile(folder, await connection.fetchval("SELECT clock_timestamp()"))
            keeper = _Keeper(file, topology, await _plans(connection, definition))
            try:
                return await _run(connection, wanted, keeper, progress)
            finally:
                file.close()
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise schema.not_migrated(url) from error
        finally:
            await connection.close()


async def _run(
    connection: Connection, wanted: Wanted, keeper: _Keeper, progress: Callable[[Tally], None]
) -> Tally:
    """Pass after pass: a child may go once the saga that started it has gone."""
    tally = Tally(keys=await forget_keys(connection))
    before = -1
    while tally.sagas != before:
        before, after = tally.sagas, _NEVER
        while True:
            batch = await archive_batch(connection, wanted, after, keeper.keep)
            if batch.last is None:
                break
            after = batch.last
            tally.sagas += batch.sagas
            tally.rows += batch.rows
            tally.file = keeper.file.path
            progress(tally)
    return tally


async def _plans(connection: Connection, name: str | None) -> dict[tuple[str, int], Plan]:
    """Every registered version, to know which services its sagas have dealt with."""
    rows = await connection.fetch(
        "SELECT name, version, document FROM amends.definition WHERE name = $1 OR $1 IS NULL", name
    )
    if name is not None and not rows:
        raise CliError(f"There is no definition {name!r}.", "`amends definitions` lists them.")
    plans: dict[tuple[str, int], Plan] = {}
    expressions = CelExpressions()
    for row in rows:
        plan = plan_of(row["document"], expressions)
        if plan is None:
            raise CliError(
                f"{row['name']}@{row['version']} cannot be read by this release.",
                "Archive with the newest release that runs here.",
            )
        plans[row["name"], row["version"]] = plan
    return plans
