"""The store on Postgres: `engine.ports.Store`, one statement per call.

What the statements do stands in `sql/hot.sql` and `sql/lease.sql`; here their rows become the
port's values. Where a call's outcome is lost (StoreUnavailable), `committed_batch` and
`stray_outbox` tell what came through.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from pydantic_core import from_json
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import CommandInfo, Hello, Json
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.state import TERMINAL, Identity, SagaStatus
from amends_orchestrator.engine.ports import (
    Batch,
    CircuitWrite,
    Due,
    EarlySignal,
    Grant,
    Grants,
    Kept,
    KnownStart,
    Lane,
    Loaded,
    OutboxWrite,
    ReadySignal,
    Schedule,
    ScheduleMove,
    SettledSignal,
    StartKey,
    StoredSaga,
    StoreUnavailable,
    Tick,
)
from amends_orchestrator.store import opening, queries, signals
from amends_orchestrator.store.arrays import batch_arrays, dump, outbox_arrays, permit_arrays
from amends_orchestrator.store.database import Database, close_engine, open_engine
from amends_orchestrator.store.hello import commands_from_json, commands_to_json
from amends_orchestrator.store.recent import RecentRows
from amends_orchestrator.store.schedules import schedule_of

HOT: Final = queries.load("hot")
LEASE: Final = queries.load("lease")
ADMIN: Final = queries.load("admin")
SERVE_SINGLY: Final = "serve-singly"
"""In the audit: a service that takes envelopes, and does not answer them."""
PERMITS: Final = queries.load("permits")
SCHEDULES: Final = queries.load("schedules")
UNREACHABLE: Final = (
    OSError,  # a timeout is one, too
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    DBAPIError,
    DisconnectionError,
)


class PostgresStore:
    """Durable state in Postgres. All methods: Conflict, BadData or StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, *, query_timeout_s: float = 10.0) -> None:
        self.engine = engine
        self.database = Database(engine, query_timeout_s=query_timeout_s, keeps_one=True)
        self._recent = RecentRows()

    @classmethod
    async def open(
        cls,
        database_url: str,
        *,
        query_timeout_s: float = 10.0,
        pool_size: int = 5,
        partitions: int | None = None,
        allow_unsafe: bool = False,
    ) -> "PostgresStore":
        """Connect and check the database; raises DatabaseUnfit or StoreUnavailable.

        `partitions` raises their number where there are fewer. `allow_unsafe` accepts a server
        that may lose commits, for tests.
        """
        engine = open_engine(database_url, query_timeout_s=query_timeout_s, pool_size=pool_size)
        store = cls(engine, query_timeout_s=query_timeout_s)
        try:
            async with asyncio.timeout(query_timeout_s), engine.connect() as connection:
                await opening.check(connection, allow_unsafe=allow_unsafe)
            if partitions is not None:
                await store.add_partitions(partitions)
        except BaseException as error:
            await close_engine(engine)
            if isinstance(error, UNREACHABLE):
                said = str(error) or type(error).__name__
                raise StoreUnavailable(f"the database cannot be opened: {said}") from error
            raise
        return store

    async def close(self) -> None:
        """Close all connections."""
        await self.database.close()
        await close_engine(self.engine)

    async def load(self, sagas: Sequence[SagaId], starts: Sequence[StartKey]) -> Loaded:
        """The sagas (also those that have ended) and the taken start keys among those asked for."""
        rows = await self._hot(
            "load",
            sagas=sagas,
            tenants=[s.tenant for s in starts],
            definitions=[s.definition for s in starts],
            keys=[s.key for s in starts],
        )
        found: dict[SagaId, StoredSaga] = {}
        taken: dict[StartKey, KnownStart] = {}
        for row in rows:
            if row["start"] is None:
                continue
            saga_id = None if row["saga_id"] is None else SagaId(str(row["saga_id"]))
            if row["start"]:
                taken[starts[row["start"] - 1]] = KnownStart(
                    saga_id=saga_id, input_digest=row["input_digest"]
                )
            else:
                assert saga_id is not None
                found[saga_id] = _stored(saga_id, row)
        return Loaded(
            now=rows[0]["now"], sagas=found, starts=taken, remembered=self._recent.of(found)
        )

    async def values(
        self, wanted: Sequence[tuple[SagaId, int]]
    ) -> Mapping[SagaId, Mapping[int, Json]]:
        """`data` of journal rows, by saga and seq."""
        rows = await self._hot(
            "journal_values",
            sagas=[saga_id for saga_id, _ in wanted],
            seqs=[seq for _, seq in wanted],
        )
        values: defaultdict[SagaId, dict[int, Json]] = defaultdict(dict)
        for row in rows:
            values[SagaId(str(row["saga_id"]))][row["seq"]] = json.loads(row["data"])
        return values

    async def commit(self, batch: Batch) -> None:
        """All or nothing."""
        arrays, parts = batch_arrays(batch), ""
        if any(write.reviews for write in batch.sagas):
            parts += "_reviews"
        if batch.permits:
            arrays |= permit_arrays(batch)
            parts += "_permits"
        await self._hot(f"commit_batch_with{parts}" if parts else "commit_batch", **arrays)
        self._recent.keep(arrays["row_saga_id"], arrays["row_seq"], arrays["row_data"])
        self._recent.forget(w.identity.saga_id for w in batch.sagas if w.status in TERMINAL)

    async def _hot(self, name: str, **given: Any) -> Sequence[asyncpg.Record]:
        try:
            return await self.database.fetch(HOT[name], **given)
        except StoreUnavailable:
            self._recent.clear()
            raise

    async def committed(self, outbox_id: UUID) -> bool:
        """After a commit in doubt: whether its outbox row is there."""
        return await self.database.row(HOT["outbox_row"], id=outbox_id) is not None

    async def committed_batch(self, batch: Batch) -> bool:
        """After a commit in doubt: whether it came through. A journal row is the last witness.

        False is not for ever: a server that was frozen may still carry it out, unless the same
        sagas are committed again; the fence lets one of the two through.
        """
        if batch.outbox is not None and await self.committed(batch.outbox.id):
            return True
        if not batch.sagas:
            return batch.outbox is None  # settling is repeated at will
        # The outbox row may be gone again: another orchestrator took it over and had it published.
        last = [(write.identity.saga_id, write.rows[-1]) for write in batch.sagas]
        row = await self.database.row(
            HOT["journal_witness"],
            sagas=[saga_id for saga_id, _ in last],
            seqs=[row.seq for _, row in last],
            ats=[row.at for _, row in last],
            kinds=[row.kind for _, row in last],
        )
        return row is not None and row["there"] == len(last)

    async def rearm(self, due: Sequence[tuple[Due, datetime]]) -> None:
        """Set a later `wake_at` where id, seq and wake_at are still as seen."""
        ordered = sorted(due, key=lambda pair: pair[0].saga_id)
        await self.database.fetch(
            HOT["rearm"],
            ids=[seen.saga_id for seen, _ in ordered],
            seqs=[seen.seq for seen, _ in ordered],
            seen=[seen.wake_at for seen, _ in ordered],
            later=[later for _, later in ordered],
        )

    async def tick(self, orchestrator: UUID, *, lease_s: float, claim: bool, limit: int) -> Tick:
        """Renew the lease, take free partitions up to a fair share, and find what is due."""
        row = await self.database.row(
            LEASE["tick"], orchestrator=orchestrator, lease_s=lease_s, claim=claim, limit=limit
        )
        assert row is not None
        due = zip(row["due_id"], row["due_seq"], row["due_wake_at"], strict=True)
        return Tick(
            now=row["now"],
            lease_until=row["until"],
            live=row["live"],
            partitions=row["partitions"],
            owned=frozenset(row["owned"]),
            due=tuple(Due(saga_id=SagaId(str(i)), seq=s, wake_at=w) for i, s, w in due),
            next_wake=row["next_wake"],
            permits=row["permits"],
            schedules=row["schedules"],
        )

    async def grant(
        self, after: Lane | None, *, lanes: int, limit: int, unheard_s: float
    ) -> Grants:
        """Grant what is free, at most `limit`, in the first `lanes` queues after `after`."""
        begin = after or Lane("", "", "")
        row = await self.database.row(
            PERMITS["grant_permits"],
            pool=begin.pool,
            tenant=begin.tenant,
            key=begin.key,
            lanes=lanes,
            limit=limit,
            unheard_s=unheard_s,
        )
        assert row is not None
        found = zip(row["saga_id"], row["step"], row["ask"], strict=True)
        return Grants(
            now=row["now"],
            granted=tuple(Grant(SagaId(str(i)), StepPath(step), ask) for i, step, ask in found),
            next_at=row["next_at"],
            last=None if row["last"] is None else Lane(*row["last"]),
            busy=row["busy"],
        )

    async def return_strays(self, limit: int) -> int:
        """Take back what sagas hold that have ended or are not there; how many that were."""
        return len(await self.database.fetch(PERMITS["return_strays"], limit=limit))

    async def release(self, orchestrator: UUID, partitions: Sequence[int]) -> None:
        """Give partitions up (they are no longer consumed)."""
        await self.database.fetch(
            LEASE["release"], orchestrator=orchestrator, partitions=partitions
        )

    async def leave(self, orchestrator: UUID) -> None:
        """End the lease at once; outbox rows stay and are claimed by others."""
        await self.database.fetch(LEASE["leave"], orchestrator=orchestrator)

    async def claim_outbox(self, orchestrator: UUID, limit: int) -> Sequence[OutboxWrite]:
        """Take over rows of orchestrators whose lease is over (SKIP LOCKED)."""
        rows = await self.database.fetch(
            LEASE["claim_outbox"], orchestrator=orchestrator, limit=limit
        )
        return [OutboxWrite(id=r["id"], n=r["n"], body=r["body"]) for r in rows]

    async def stray_outbox(
        self, orchestrator: UUID, known: Sequence[UUID]
    ) -> Sequence[OutboxWrite]:
        """Own rows that are not among `known`: of a commit or claim whose answer was lost.

        To be asked for after any StoreUnavailable, and not while a commit is under way.
        """
        rows = await self.database.fetch(
            LEASE["stray_outbox"], orchestrator=orchestrator, known=known
        )
        return [OutboxWrite(id=r["id"], n=r["n"], body=r["body"]) for r in rows]

    async def settle_outbox(
        self, orchestrator: UUID, settled: Sequence[UUID], rewritten: Sequence[OutboxWrite]
    ) -> None:
        """Delete or rewrite own outbox rows outside a batch (when idle or draining)."""
        await self.database.fetch(
            HOT["settle_outbox"],
            orchestrator=orchestrator,
            settled=settled,
            **outbox_arrays("rewritten", rewritten),
        )

    async def add_partitions(self, count: int) -> None:
        """Raise the number of partitions to `count`; never lowers it."""
        await self.database.fetch(LEASE["add_partitions"], count=count)

    async def keep_hello(self, hello: Hello) -> None:
        """Keep what a participant says of itself."""
        await self.database.fetch(
            LEASE["keep_hello"],
            service=hello.service,
            instance=hello.instance,
            sdk=hello.sdk,
            horizon=hello.horizon,
            accepts=sorted(hello.accepts),
            commands=dump(commands_to_json(hello.commands)),
        )

    async def due_schedules(self, limit: int) -> tuple[datetime, Sequence[Schedule]]:
        """The time, and schedules of all tenants whose `next_at` has come."""
        rows = await self.database.fetch(SCHEDULES["due_schedules"], limit=limit)
        if not rows:
            return (await self.load([], [])).now, ()
        return rows[0]["now"], [schedule_of(row) for row in rows]

    async def move_schedule(self, move: ScheduleMove) -> None:
        """On to its next time, unless somebody else was there since it was seen."""
        await self.database.fetch(
            SCHEDULES["move_schedule"],
            tenant=move.tenant,
            name=move.name,
            seen=move.seen,
            next_at=move.next_at,
            last_at=move.last_at,
            last_saga_id=move.last_saga_id,
            last_problem=move.last_problem,
        )

    async def keep_circuit(self, orchestrator: UUID, circuit: CircuitWrite) -> None:
        """Show what this orchestrator thinks of a participant."""
        await self.database.fetch(
            LEASE["keep_circuit"],
            orchestrator=orchestrator,
            service=circuit.service,
            state=circuit.state,
            bad=circuit.bad,
            looked_at=circuit.looked_at,
            pause_s=circuit.pause_s,
        )

    async def hellos(self) -> Sequence[Mapping[str, CommandInfo]]:
        """What participants' instances say of their commands, oldest first."""
        rows = await self.database.fetch(LEASE["hellos"])
        return [commands_from_json(json.loads(row["commands"])) for row in rows]

    async def taking_envelopes(self) -> frozenset[str]:
        """Services of which a live instance says that it does."""
        rows = await self.database.fetch(LEASE["taking_envelopes"])
        return frozenset(row["service"] for row in rows)

    async def note_singly(self, tenant: str, who: str, service: str) -> None:
        """A row in the audit, for `amends doctor`."""
        await self.database.fetch(
            ADMIN["record"],
            saga_id=None,
            tenant=tenant,
            who=f"orchestrator {who}",
            action=SERVE_SINGLY,
            subject=service,
            step=None,
            reason="it leaves what is in envelopes unanswered",
            outcome="done",
        )

    async def keep_signal(self, signal: EarlySignal, most: int) -> KnownStart | Kept:
        """Keep a signal, then look for its saga."""
        return await signals.keep(self.database, signal, most)

    async def ready_signals(
        self, starts: Sequence[StartKey] | None, limit: int
    ) -> Sequence[ReadySignal]:
        """Kept signals whose start is there."""
        return await signals.ready(self.database, starts, limit)

    async def settle_signals(self, settled: Sequence[SettledSignal]) -> None:
        """Delete what its saga has recorded, or refused for good."""
        await signals.settle(self.database, settled)

    async def drop_signals(self, kept_s: float) -> int:
        """Delete what has been kept for longer."""
        return await signals.drop_old(self.database, kept_s)

    async def definition(self, name: str, version: int | None) -> tuple[int, Json] | None:
        """Version and document; None asks for the newest, of those that take starts if any does."""
        row = await self.database.row(ADMIN["definition"], name=name, version=version)
        return None if row is None else (row["version"], json.loads(row["document"]))

    async def is_retired(self, name: str, version: int) -> bool:
        """Whether a version takes no new starts."""
        row = await self.database.row(ADMIN["is_retired"], name=name, version=version)
        return row is not None and row["retired"]


def _stored(saga_id: SagaId, row: asyncpg.Record) -> StoredSaga:
    return StoredSaga(
        identity=Identity(
            saga_id=saga_id,
            tenant=row["tenant"],
            definition=row["definition"],
            version=row["version"],
            key=row["key"],
            partition=row["partition"],
        ),
        seq=row["seq"],
        status=SagaStatus(row["status"]),
        state=from_json(row["state"]),
        wake_at=row["wake_at"],
    )
