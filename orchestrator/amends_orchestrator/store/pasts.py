"""The past of recent sagas, read from a live database, as the checker takes it.

Bounded and short: the newest sagas up to a number, those with long journals left out, one snapshot
of three statements. What a database cannot know (what participants did, what the broker got)
stays unknown, and the checker says so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import asyncpg
from pydantic import ValidationError

from amends_contracts.codec import WireError, load_messages
from amends_contracts.definition import Definition
from amends_contracts.expressions import ExpressionSyntaxError
from amends_contracts.names import SagaId, split_key
from amends_orchestrator.core.checker import History, Made, SagaPast, Stored
from amends_orchestrator.core.compiling import UnsupportedKind, compile_plan
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.core.state_json import from_stored, state_to_json
from amends_orchestrator.store.rows import journal_row

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SAGAS_MAX: Final = 200
ROWS_MAX: Final = 500
"""Journal rows of a saga that is still looked at."""
OUTBOX_MAX: Final = 8
STATEMENT_MS: Final = 5_000

_SAGAS: Final = """
SELECT s.id, s.tenant, s.definition, s.version, s.key, s.partition, s.seq, s.status, s.state,
       s.residue, s.wake_at
FROM amends.saga s WHERE s.seq <= $2 ORDER BY s.id DESC LIMIT $1
"""
_JOURNAL: Final = """
SELECT saga_id, seq, at, kind, step, attempt, data FROM amends.journal
WHERE saga_id = ANY($1::uuid[]) ORDER BY saga_id, seq
"""
_DEFINITIONS: Final = """
SELECT name, version, document FROM amends.definition
WHERE (name, version) IN (SELECT * FROM unnest($1::text[], $2::integer[]))
"""
_OUTBOX: Final = "SELECT body FROM amends.outbox ORDER BY id LIMIT $1"


@dataclass(frozen=True, slots=True)
class Recent:
    """What was read."""

    history: History
    left_out: int
    """Sagas of definitions or states that this release cannot read."""


async def recent(
    connection: Connection,
    expressions: Expressions,
    *,
    sagas: int = SAGAS_MAX,
    rows: int = ROWS_MAX,
) -> Recent:
    """The newest sagas with their journals, and the commands that wait to be published."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_MS}")
        found = await connection.fetch(_SAGAS, sagas, rows)
        ids = [row["id"] for row in found]
        journal = await connection.fetch(_JOURNAL, ids)
        versions = {(row["definition"], row["version"]) for row in found}
        documents = await connection.fetch(
            _DEFINITIONS, [name for name, _ in versions], [version for _, version in versions]
        )
        outbox = await connection.fetch(_OUTBOX, OUTBOX_MAX)
    plans = _plans(documents, expressions)
    by_saga: dict[SagaId, list[JournalRow]] = {}
    for row in journal:
        by_saga.setdefault(SagaId(str(row["saga_id"])), []).append(journal_row(row))
    pasts = [_past(row, plans, by_saga) for row in found]
    known = tuple(past for past in pasts if past is not None)
    there = {past.identity.saga_id for past in known}
    made = [one for row in outbox for one in _made(row["body"]) if one.saga_id in there]
    return Recent(History(sagas=known, committed=tuple(made)), len(pasts) - len(known))


def _plans(
    documents: list[asyncpg.Record], expressions: Expressions
) -> Mapping[tuple[str, int], Plan]:
    plans: dict[tuple[str, int], Plan] = {}
    for row in documents:
        plan = plan_of(row["document"], expressions)
        if plan is not None:
            plans[row["name"], row["version"]] = plan
    return plans


def plan_of(document: str, expressions: Expressions) -> Plan | None:
    """The plan of a stored document; None if it is of a newer release, which alone can read it."""
    try:
        return compile_plan(Definition.model_validate(json.loads(document)), expressions)
    except (ValidationError, UnsupportedKind, ExpressionSyntaxError):
        return None


def _past(
    row: asyncpg.Record,
    plans: Mapping[tuple[str, int], Plan],
    journals: Mapping[SagaId, list[JournalRow]],
) -> SagaPast | None:
    """A saga; None if this release cannot read it."""
    plan = plans.get((row["definition"], row["version"]))
    if plan is None:
        return None
    identity = Identity(
        saga_id=SagaId(str(row["id"])),
        tenant=row["tenant"],
        definition=row["definition"],
        version=row["version"],
        key=row["key"],
        partition=row["partition"],
    )
    status = SagaStatus(row["status"])
    try:
        # Read and written anew: an older release may have left out what is a default now.
        saga = from_stored(identity, row["seq"], status, json.loads(row["state"]))
    except (AssertionError, KeyError, TypeError, ValueError):
        return None
    stored = Stored(
        seq=row["seq"],
        status=status,
        state=state_to_json(saga.state),
        residue=row["residue"],
        wake_at=row["wake_at"],
    )
    rows = tuple(journals.get(identity.saga_id, ()))
    return SagaPast(identity=identity, plan=plan, rows=rows, stored=stored)


def _made(body: bytes) -> list[Made]:
    """The commands of an outbox row; nothing of one that a newer release wrote."""
    try:
        messages = load_messages(body)
    except WireError:
        return []
    found: list[Made] = []
    for order, message in enumerate(messages):
        headers: Mapping[str, Any] = message.headers
        key = headers.get("amends-key")
        if message.message_id is None or not isinstance(key, str):
            continue
        saga_id, path, op = split_key(key)
        if path is not None:
            found.append(
                Made(
                    order=order,
                    id=message.message_id,
                    saga_id=saga_id,
                    path=path,
                    op=op,
                    attempt=headers["amends-attempt"],
                    tenant=headers.get("amends-tenant"),
                )
            )
    return found
