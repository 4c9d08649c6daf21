"""Journal rows as the database gives them."""

import json

import asyncpg

from amends_contracts.names import StepPath
from amends_orchestrator.core.decision import JournalRow


def journal_row(row: asyncpg.Record) -> JournalRow:
    """A row of seq, at, kind, step, attempt and data (as text)."""
    return JournalRow(
        seq=row["seq"],
        at=row["at"],
        kind=row["kind"],
        step=None if row["step"] is None else StepPath(row["step"]),
        attempt=row["attempt"],
        data=json.loads(row["data"]),
    )
