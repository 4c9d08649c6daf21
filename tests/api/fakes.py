"""A service in memory behind REST and console: it answers at once and keeps what it was asked."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import httpx
from fastapi import FastAPI

from amends_contracts.messages import Decide, Json, Signal, Start, StartAnswer, Trace, Undo
from amends_contracts.names import SagaId, undo_start_key
from amends_contracts.problems import FieldError, ProblemType
from amends_orchestrator.api.app import create_app
from amends_orchestrator.api.ports import Caller, Checked, Scope
from amends_orchestrator.core.decision import Decision, JournalRow, Refused
from amends_orchestrator.core.inputs import CancelRequested, Input
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.engine.ports import Schedule
from amends_orchestrator.engine.work import SignalKept, SignalKnown
from amends_orchestrator.store.drills import Proof, RunRow

BEGAN = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def saga_id(n: int) -> SagaId:
    """The n-th id, ascending like UUID v7."""
    return SagaId(str(UUID(int=(0x0197 << 112) | (7 << 76) | (8 << 60) | n)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A saga's row."""

    identity: Identity
    seq: int = 1
    status: SagaStatus = SagaStatus.RUNNING
    residue: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    started_at: datetime = BEGAN
    ended_at: datetime | None = None
    trace_id: str | None = None
    state: Json = None


@dataclass(frozen=True)
class RowPage:
    """A page of rows."""

    items: Sequence[Row]
    next: str | None


@dataclass(frozen=True)
class Registered:
    """A registered definition."""

    name: str
    version: int
    digest: str
    document: Json
    registered_at: datetime = BEGAN
    retired_at: datetime | None = None


@dataclass(frozen=True)
class Debt:
    """What a version owes."""

    open: int = 0
    undoable: int = 0

    def __bool__(self) -> bool:
        return bool(self.open or self.undoable)


@dataclass(frozen=True)
class Instance:
    """A participant instance."""

    service: str
    instance: str
    hello: Json
    seen_at: datetime = BEGAN


@dataclass(frozen=True)
class Numbers:
    """What the engine says of itself."""

    partitions: int = 16
    owned: tuple[int, ...] = (0, 1, 2)
    waiting: int = 0
    unsettled: int = 2
    lag_s: float = 0.25
    batches: int = 5
    messages: int = 40
    commands: int = 30
    envelopes: int = 4
    conflicts: int = 0
    doubts: int = 0
    stuck: int = 1
    republished: int = 0
    refused: Mapping[str, int] = field(default_factory=lambda: {"amends:wrong-state": 3})
    dead_lettered: Mapping[str, int] = field(default_factory=dict[str, int])
    undeliverable: Mapping[str, int] = field(default_factory=lambda: {"hotels": 7})


@dataclass
class DrillBook:
    """The record of drills, newest run first; and what was proven."""

    kept: dict[UUID, tuple[RunRow, Sequence[Json]]] = field(
        default_factory=dict[UUID, tuple[RunRow, Sequence[Json]]]
    )
    proven: list[Proof] = field(default_factory=list[Proof])

    async def newest_runs(self, limit: int) -> Sequence[RunRow]:
        names = dict.fromkeys(run.definition for run, _ in self.kept.values())
        return [(await self.runs(name))[0] for name in names][:limit]

    async def runs(self, definition: str) -> Sequence[RunRow]:
        return [run for run, _ in self.kept.values() if run.definition == definition]

    async def run(self, run_id: UUID) -> RunRow | None:
        return self.kept[run_id][0] if run_id in self.kept else None

    async def cells(self, run_id: UUID) -> Sequence[Json]:
        return self.kept[run_id][1]

    async def proofs(self, definition: str | None = None) -> Sequence[Proof]:
        return [p for p in self.proven if definition in {None, p.definition}]


@dataclass
class World:
    """Everything behind the application; it plays all the ports."""

    rows: dict[SagaId, Row] = field(default_factory=dict[SagaId, Row])
    journals: dict[SagaId, list[JournalRow]] = field(default_factory=dict[SagaId, list[JournalRow]])
    views: dict[SagaId, Json] = field(default_factory=dict[SagaId, Json])
    registered: dict[tuple[str, int], Registered] = field(
        default_factory=dict[tuple[str, int], Registered]
    )
    schedules: dict[tuple[str, str], Schedule] = field(
        default_factory=dict[tuple[str, str], Schedule]
    )
    known_keys: dict[str, Caller] = field(default_factory=dict[str, Caller])
    instances: list[Instance] = field(default_factory=list[Instance])
    audit_rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    starts: list[tuple[str, str, Start, Trace | None]] = field(
        default_factory=list[tuple[str, str, Start, Trace | None]]
    )
    submitted: list[tuple[str, SagaId, Input]] = field(
        default_factory=list[tuple[str, SagaId, Input]]
    )
    owes: Debt = field(default_factory=Debt)
    drills: DrillBook = field(default_factory=DrillBook)
    undos: list[tuple[Undo, SagaId]] = field(default_factory=list[tuple[Undo, SagaId]])
    signals: list[Signal] = field(default_factory=list[Signal])
    refusal: Refused | None = None
    wrong: Sequence[FieldError] = ()
    failure: Exception | None = None
    ready: bool = True
    polls: int = 0

    def add(self, n: int, *, tenant: str = "default", key: str | None = None, **row: Any) -> SagaId:
        """A saga that is there."""
        identity = Identity(
            saga_id=saga_id(n),
            tenant=tenant,
            definition="book-trip",
            version=1,
            key=key or f"order-{n}",
            partition=0,
        )
        fields: dict[str, Any] = {"started_at": BEGAN + timedelta(seconds=n), **row}
        self.rows[identity.saga_id] = Row(identity=identity, **fields)
        return identity.saga_id

    def move(self, moved: SagaId, **fields: Any) -> None:
        """A saga's next state."""
        row = self.rows[moved]
        self.rows[moved] = replace(row, seq=row.seq + 1, **fields)

    # Orchestrator

    async def start(
        self, tenant: str, by: str, start: Start, *, trace: Trace | None = None
    ) -> StartAnswer | Refused:
        self._fail()
        if self.refusal:
            return self.refusal
        for row in self.rows.values():
            if (row.identity.tenant, row.identity.key) == (tenant, start.key):
                return StartAnswer(row.identity.saga_id, created=False)
        self.starts.append((tenant, by, start, trace))
        made = self.add(len(self.rows) + 1, tenant=tenant, key=start.key, labels=start.labels)
        return StartAnswer(made, created=True)

    async def submit(self, tenant: str, saga_id: SagaId, message: Input) -> Decision | Refused:
        self._fail()
        if self.refusal:
            return self.refusal
        self.submitted.append((tenant, saga_id, message))
        status = self.rows[saga_id].status
        if isinstance(message, CancelRequested):
            status = SagaStatus.COMPENSATING
        self.move(saga_id, status=status)
        return Decision(saga=cast("Any", self.rows[saga_id]), rows=())

    async def undo(
        self, tenant: str, by: str, asked: Undo, *, trace: Trace | None = None
    ) -> StartAnswer | Refused:
        self._fail()
        if self.refusal:
            return self.refusal
        for before, undo in self.undos:
            if before.saga_id == asked.saga_id:
                return StartAnswer(undo, created=False)
        made = self.add(len(self.rows) + 1, tenant=tenant, key=undo_start_key(asked.saga_id))
        self.undos.append((asked, made))
        return StartAnswer(made, created=True)

    async def decide(
        self, tenant: str, by: str, roles: frozenset[str], asked: Decide
    ) -> Decision | Refused:
        return Refused(type=ProblemType.NOT_FOUND, detail="no such review")

    async def signal(
        self, tenant: str, by: str, asked: Signal
    ) -> Decision | SignalKept | SignalKnown | Refused:
        self._fail()
        if self.refusal:
            return self.refusal
        known = asked in self.signals
        self.signals.append(asked)
        ids = [i for i, r in self.rows.items() if asked.key in (None, r.identity.key)]
        if asked.saga_id is None and not ids:
            return SignalKept()
        saga_id = asked.saga_id or ids[0]
        if known:
            return SignalKnown(saga_id)
        return Decision(saga=cast("Any", self.rows[saga_id]), rows=())

    def is_ready(self) -> bool:
        return self.ready

    def stats(self) -> Numbers:
        return Numbers()

    # Reads

    def _fail(self) -> None:
        if self.failure:
            raise self.failure

    async def list_sagas(
        self,
        tenant: str,
        *,
        definition: str | None = None,
        status: SagaStatus | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> RowPage:
        if cursor is not None and cursor not in self.rows:
            raise ValueError("not a cursor of this list")
        found = [
            row
            for saga_id, row in sorted(self.rows.items(), reverse=True)
            if row.identity.tenant == tenant
            and definition in {None, row.identity.definition}
            and status in {None, row.status}
            and (labels or {}).items() <= row.labels.items()
            and (cursor is None or saga_id < cursor)
        ]
        more = len(found) > limit
        found = found[:limit]
        return RowPage(found, found[-1].identity.saga_id if more else None)

    async def saga(self, tenant: str, saga_id: SagaId) -> Row | None:
        self._fail()
        row = self.rows.get(saga_id)
        return row if row and row.identity.tenant == tenant else None

    async def heads(self, saga_ids: Sequence[SagaId]) -> Mapping[SagaId, tuple[int, SagaStatus]]:
        self.polls += 1
        self._fail()
        return {i: (self.rows[i].seq, self.rows[i].status) for i in saga_ids if i in self.rows}

    async def journal(
        self,
        tenant: str,
        saga_id: SagaId,
        *,
        after_seq: int = 0,
        until_seq: int | None = None,
        limit: int = 1000,
    ) -> Sequence[JournalRow]:
        assert self.rows[saga_id].identity.tenant == tenant
        rows = [r for r in self.journals.get(saga_id, []) if r.seq > after_seq]
        return [r for r in rows if until_seq is None or r.seq <= until_seq][:limit]

    async def counts(self, tenant: str) -> Mapping[SagaStatus, int]:
        mine = [r.status for r in self.rows.values() if r.identity.tenant == tenant]
        return {status: mine.count(status) for status in SagaStatus}

    async def participants(self) -> Sequence[Instance]:
        return self.instances

    # Views and Checker

    async def view(self, row: Any) -> Json:
        identity: Identity = row.identity
        base: dict[str, Any] = {
            "saga_id": identity.saga_id,
            "definition": identity.definition,
            "version": identity.version,
            "key": identity.key,
            "status": row.status,
            "steps": [],
            "held": [],
            "residue": [],
            "tree": [],
            "labels": dict(row.labels),
            "started_at": row.started_at.isoformat(),
            "ended_at": row.ended_at and row.ended_at.isoformat(),
            "trace_id": row.trace_id,
        }
        return {**base, **self.views.get(identity.saga_id, {})}

    async def form(self, row: Any) -> Json:
        return None

    async def undo_plan(self, row: Any) -> Json:
        return [{"order": 1, "path": "flight", "command": "flights.release"}]

    async def check(self, text: str) -> Checked | Sequence[FieldError]:
        if self.wrong:
            return self.wrong
        return Checked({"name": "book-trip", "version": 1, "text": text}, digest=str(hash(text)))

    # Audit

    async def record(self, **row: Any) -> None:
        self.audit_rows.append(row)


class KeyRing:
    """The keys port over a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def check(self, plaintext: str) -> Caller | None:
        return self._world.known_keys.get(plaintext)

    async def list(self) -> Sequence[Caller]:
        return list(self._world.known_keys.values())


class Shelf:
    """The definitions port over a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._of = world.registered

    async def register(self, document: Json, digest: str) -> str:
        at = (document["name"], document["version"])
        if at in self._of:
            return "same" if self._of[at].digest == digest else "conflict"
        self._of[at] = Registered(*at, digest, document)
        return "created"

    async def get(self, name: str, version: int | None = None) -> Registered | None:
        rows = [r for r in await self.list(name) if version in {None, r.version}]
        return rows[0] if rows else None

    async def list(self, name: str | None = None) -> Sequence[Registered]:
        return [r for r in self._of.values() if name in {None, r.name}]

    async def debt(self, row: Registered) -> Debt:
        return self._world.owes

    async def retire(self, row: Registered) -> Debt:
        if not self._world.owes:
            self._of[row.name, row.version] = replace(row, retired_at=BEGAN)
        return self._world.owes


class NoReviews:
    """Nobody is asked anything; what reviews do is tested with the real engine."""

    async def list(self, tenant: str, **_: Any) -> Any:
        return RowPage((), None)

    async def get(self, tenant: str, saga_id: SagaId, seq: int) -> None:
        return None

    async def shown(self, review: Any) -> Json:
        raise AssertionError(review)

    async def decisions(self, review: Any) -> Sequence[Any]:
        raise AssertionError(review)

    async def waiting(self, tenant: str) -> int:
        return 0


class Timetable:
    """The schedules port over a world."""

    def __init__(self, world: World) -> None:
        self._of = world.schedules

    async def now(self) -> datetime:
        return BEGAN

    async def add(self, schedule: Schedule) -> bool:
        key = schedule.tenant, schedule.name
        return self._of.setdefault(key, schedule) is schedule

    async def list(self, tenant: str, name: str | None = None) -> Sequence[Schedule]:
        mine = [s for (t, _), s in sorted(self._of.items()) if t == tenant]
        return [s for s in mine if name in {None, s.name}]

    async def remove(self, tenant: str, name: str) -> bool:
        return self._of.pop((tenant, name), None) is not None


def app_of(world: World, **options: Any) -> FastAPI:
    """The application over a world."""
    return create_app(
        orchestrator=world,
        reads=world,
        definitions=Shelf(world),
        schedules=Timetable(world),
        keys=KeyRing(world),
        audit=world,
        views=world,
        review_rows=NoReviews(),
        drills=world.drills,
        checker=world,
        **options,
    )


@asynccontextmanager
async def client_of(
    app: FastAPI, *, key: str | None = None, peer: str = "127.0.0.1"
) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that speaks to the application without a socket."""
    transport = httpx.ASGITransport(app, client=(peer, 50000), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers
    ) as client:
        yield client


def key_for(world: World, scope: Scope, tenant: str = "default") -> str:
    """A new key."""
    plaintext = f"key-{tenant}-{scope}"
    world.known_keys[plaintext] = Caller(f"{scope} of {tenant}", tenant, scope)
    return plaintext


PAST_PIVOT = Refused(type=ProblemType.PAST_PIVOT, detail="The pivot has succeeded.")


async def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something that nobody tells us of."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
