"""The orchestrator's tables in Postgres: `upgrade` brings a database to this release's schema.

What belongs here: one numbered migration per change, its SQL beside it. Everything lies in the
Postgres schema `amends`, so that a database can be shared with an application. Participants' own
tables come with amends-participants.

Rules of change (expand first, contract a release later):

1. A migration only *expands*: new tables, new columns that are nullable or have a default, new
   indexes (concurrently, where the table may be large). The release before it keeps working on the
   new schema, so that a rolling upgrade is: `amends migrate`, then replace the processes.
2. What no supported release uses any more is dropped by a *contracting* migration at least one
   release later. It also raises `amends.schema_floor`, the oldest revision whose code still works;
   a process older than the floor refuses to start.
3. A migration that has been released is never edited.
4. Locks are short: `lock_timeout` is set, rewrites of large tables are done in batches.
"""

from typing import Final

from amends_migrations.run import (
    MigrationFailed,
    SchemaNewer,
    current,
    upgrade,
)

HEAD: Final = "0020"
"""The newest revision; known without loading Alembic, which a running service does not need."""


def head() -> str:
    """The revision that `upgrade` leads to."""
    return HEAD


__all__ = ["HEAD", "MigrationFailed", "SchemaNewer", "current", "head", "upgrade"]
