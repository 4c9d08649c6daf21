"""What REST, pages, the command line and `amends doctor` read: short, bounded, by tenant.

Nothing here writes, holds a transaction, or counts without a bound. Statements: `sql/reads.sql`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import CommandInfo, Json
from amends_contracts.names import SagaId
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.store import queries
from amends_orchestrator.store.database import Database
from amends_orchestrator.store.hello import commands_from_json
from amends_orchestrator.store.rows import journal_row

SQL: Final = queries.load("reads")
COUNT_MAX: Final = 10_000
"""Counts stop here."""
PARTICIPANT_LIVE_S: Final = 90.0
"""Three hellos missed."""
_SEQ_MAX: Final = 2**31 - 1
_NEWEST: Final = UUID(int=2**128 - 1)
_ALL: Final = [status.value for status in SagaStatus]

Item = TypeVar("Item")


class BadCursor(ValueError):
    """A cursor is what `next` of a page said, unchanged."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items in order, and the cursor of the next page; None at the end."""

    items: Sequence[Item]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaRow:
    """A saga as lists and pages show it."""

    identity: Identity
    seq: int
    status: SagaStatus
    residue: int
    labels: Mapping[str, str]
    trace_id: str | None
    started_at: datetime
    ended_at: datetime | None
    wake_at: datetime | None
    state: Json = None
    """None in lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantRow:
    """What one instance of a participant last said of itself."""

    service: str
    instance: str
    seen_at: datetime
    live: bool
    """Heard within the last 90 s, by the database's clock."""
    hello: Json
    """As on the wire."""

    @property
    def commands(self) -> dict[str, CommandInfo]:
        """What it serves."""
        return commands_from_json(self.hello["commands"])


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorRow:
    """An orchestrator and its lease."""

    id: UUID
    started_at: datetime
    until: datetime
    live: bool
    claiming: bool
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """A partition and its owner."""

    pp: int
    owner: UUID | None
    live: bool
    """Whether somebody works on it now."""
    behind_s: float | None
    """Since when its earliest saga is due; negative: not yet; None: none waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """The messages that one orchestrator has not got rid of."""

    orchestrator: UUID
    live: bool
    rows: int
    messages: int
    bytes: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """A pool of permits for which somebody waits."""

    pool: str
    waiting: int
    """Counted up to `COUNT_MAX`."""
    at_work: int
    unheard_s: float | None
    """For how long the oldest grant, of whatever pool, has not been heard by its saga."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRow:
    """A participant that is held off."""

    service: str
    open: bool
    """False: one attempt is out to see whether it answers."""
    bad: int
    looked_at: int
    since_s: float
    """Since the latest change."""


class Reads:
    """Short reads. Every method may raise StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self._database = Database(engine, query_timeout_s=query_timeout_s)

    async def list_sagas(
        self,
        tenant: str,
        *,
        definition: str | None = None,
        status: SagaStatus | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[SagaRow]:
        """Newest first. BadCursor for a cursor that no page has given."""
        given: dict[str, Any] = {
            "tenant": tenant,
            "definition": definition,
            "statuses": _ALL if status is None else [status.value],
            "before": _NEWEST if cursor is None else _position(cursor),
            "limit": limit + 1,
        }
        if labels:
            (name, value), *others = labels.items()
            given |= {"name": name, "value": value}
            given |= {"other_names": [n for n, _ in others], "other_values": [v for _, v in others]}
            query = SQL["list_sagas_labelled"]
        else:
            query = SQL["list_sagas_of_definition" if definition else "list_sagas"]
        rows = [_saga(r) for r in await self._database.fetch(query, **given)]
        more = len(rows) > limit
        items = rows[:limit]
        return Page(items, _cursor(items[-1].identity.saga_id) if more and items else None)

    async def saga(self, tenant: str, saga_id: SagaId) -> SagaRow | None:
        """One saga with its state; None if this tenant has none of that id."""
        if not _is_uuid(saga_id):
            return None
        row = await self._database.row(SQL["saga"], tenant=tenant, id=saga_id)
        return None if row is None else _saga(row)

    async def by_key(self, tenant: str, definition: str, key: str) -> SagaRow | None:
        """The saga that a start with this key made."""
        row = await self._database.row(
            SQL["saga_by_key"], tenant=tenant, definition=definition, key=key
        )
        return None if row is None else _saga(row)

    async def heads(self, saga_ids: Sequence[SagaId]) -> Mapping[SagaId, tuple[int, SagaStatus]]:
        """`seq` and status of these sagas. The ids came from a read that knew the tenant."""
        rows = await self._database.fetch(SQL["heads"], ids=saga_ids)
        return {SagaId(str(r["id"])): (r["seq"], SagaStatus(r["status"])) for r in rows}

    async def changed_since(self, tenant: str, seen: Mapping[SagaId, int]) -> Sequence[SagaRow]:
        """Those of the sagas that are not at the seq they were seen at any more."""
        rows = await self._database.fetch(
            SQL["changed_since"], tenant=tenant, ids=list(seen), seqs=list(seen.values())
        )
        return [_saga(r) for r in rows]

    async def journal(
        self,
        tenant: str,
        saga_id: SagaId,
        *,
        after_seq: int = 0,
        until_seq: int | None = None,
        limit: int = 1000,
    ) -> Sequence[JournalRow]:
        """Rows after `after_seq` up to `until_seq`, in order.

        With a saga's `seq` as `until_seq` the rows are those that its state was folded from,
        whatever happened between the two reads.
        """
        if not _is_uuid(saga_id):
            return []
        rows = await self._database.fetch(
            SQL["journal"],
            tenant=tenant,
            id=saga_id,
            after_seq=after_seq,
            until_seq=_SEQ_MAX if until_seq is None else until_seq,
            limit=limit,
        )
        return [journal_row(r) for r in rows]

    async def counts(self, tenant: str) -> Mapping[SagaStatus, int]:
        """A tenant's sagas by status, each counted up to `COUNT_MAX`."""
        rows = await self._database.fetch(
            SQL["counts"], tenant=tenant, statuses=_ALL, at_most=COUNT_MAX
        )
        return {SagaStatus(r["status"]): r["n"] for r in rows}

    async def totals(self) -> Mapping[SagaStatus, int]:
        """Sagas of all tenants by status, each tenant counted up to `COUNT_MAX`."""
        rows = await self._database.fetch(SQL["totals"], statuses=_ALL, at_most=COUNT_MAX)
        return {SagaStatus(r["status"]): r["n"] for r in rows}

    async def participants(self) -> Sequence[ParticipantRow]:
        """Every participant instance that has said hello; the latest of a service first."""
        rows = await self._database.fetch(SQL["participants"], live_s=PARTICIPANT_LIVE_S)
        return [_participant(r) for r in rows]

    async def commands(self) -> Mapping[str, CommandInfo]:
        """What is known of every command: what the latest instance of its service said."""
        known: dict[str, CommandInfo] = {}
        services: set[str] = set()
        for row in await self.participants():
            if row.service not in services:
                services.add(row.service)
                known |= row.commands
        return known

    async def orchestrators(self) -> Sequence[OrchestratorRow]:
        """Every orchestrator seen in the last day."""
        rows = await self._database.fetch(SQL["orchestrators"])
        return [OrchestratorRow(**dict(r)) for r in rows]

    async def partitions(self) -> Sequence[PartitionRow]:
        """Every partition, and how far behind it is."""
        rows = await self._database.fetch(SQL["partitions"])
        return [PartitionRow(**dict(r)) for r in rows]

    async def pools(self) -> Sequence[PoolRow]:
        """Where steps wait for permits."""
        rows = await self._database.fetch(SQL["pools"], at_most=COUNT_MAX)
        return [PoolRow(**dict(row)) for row in rows]

    async def circuits(self) -> Sequence[CircuitRow]:
        """Participants that are held off because they do not answer."""
        return [CircuitRow(**dict(row)) for row in await self._database.fetch(SQL["circuits"])]

    async def outbox(self) -> Sequence[OutboxRow]:
        """Messages the broker has not taken, by orchestrator, longest waiting first."""
        rows = await self._database.fetch(SQL["outbox"])
        return [OutboxRow(**dict(r)) for r in rows]


def _saga(row: asyncpg.Record) -> SagaRow:
    state = row.get("state")
    return SagaRow(
        identity=Identity(
            saga_id=SagaId(str(row["id"])),
            tenant=row["tenant"],
            definition=row["definition"],
            version=row["version"],
            key=row["key"],
            partition=row["partition"],
        ),
        seq=row["seq"],
        status=SagaStatus(row["status"]),
        residue=row["residue"],
        labels=json.loads(row["labels"]),
        trace_id=row["trace_id"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        wake_at=row["wake_at"],
        state=None if state is None else json.loads(state),
    )


def _participant(row: asyncpg.Record) -> ParticipantRow:
    hello = {
        "service": row["service"],
        "instance": row["instance"],
        "sdk": row["sdk"],
        "accepts": row["accepts"],
        "horizon": row["horizon"],
        "commands": json.loads(row["commands"]),
    }
    return ParticipantRow(
        service=row["service"],
        instance=row["instance"],
        seen_at=row["seen_at"],
        live=row["live"],
        hello={name: value for name, value in hello.items() if value not in (None, [])},
    )


def _cursor(saga_id: SagaId) -> str:
    return base64.urlsafe_b64encode(UUID(saga_id).bytes).rstrip(b"=").decode()


def _position(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except ValueError as error:
        raise BadCursor(cursor) from error


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
