"""The in-memory twin of `PostgresStore`: the same promises, no server, a clock that is given.

For the engine's unit tests and for simulation. What the schema's CHECKs refuse is refused here
too, and values come back as JSON brings them back, so that a test that passes here does not
pass by luck.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from amends_contracts.messages import ACCEPTS_BATCH, CommandInfo, Hello, Json
from amends_contracts.names import STEP_PATH_BYTES_MAX, SagaId
from amends_contracts.topology import PARTITIONS_DEFAULT
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.review_tasks import ReviewTask
from amends_orchestrator.core.state import TERMINAL, SagaStatus
from amends_orchestrator.engine.ports import (
    BadData,
    Batch,
    CircuitWrite,
    Conflict,
    Due,
    EarlySignal,
    Grants,
    Kept,
    KnownStart,
    Lane,
    Loaded,
    OutboxWrite,
    ReadySignal,
    SagaWrite,
    Schedule,
    ScheduleMove,
    SettledSignal,
    StartKey,
    StoredSaga,
    Tick,
)
from amends_orchestrator.store.arrays import check
from amends_orchestrator.store.memory_permits import MemoryPermits
from amends_orchestrator.store.memory_signals import MemorySignals

START_KEY_BYTES_MAX = 1024


@dataclass
class _Lease:
    until: datetime
    claiming: bool


@dataclass(frozen=True)
class _Saga:
    """A stored saga and what is stored beside its hot columns."""

    stored: StoredSaga
    residue: int
    labels: Mapping[str, str]
    trace_id: str | None
    started_at: datetime
    ended_at: datetime | None


@dataclass
class MemoryStore:
    """`engine.ports.Store` in memory; every call happens at once, nothing is ever unavailable."""

    clock: Callable[[], datetime]
    """The database's time."""
    partitions: int = PARTITIONS_DEFAULT
    plain: bool = False
    """Values are kept as they are given: for who changes none and cannot wait for copies."""
    sagas: dict[SagaId, _Saga] = field(default_factory=dict[SagaId, _Saga])
    journal: dict[SagaId, list[JournalRow]] = field(default_factory=dict[SagaId, list[JournalRow]])
    starts: dict[StartKey, KnownStart] = field(default_factory=dict[StartKey, KnownStart])
    outbox: dict[UUID, tuple[UUID, OutboxWrite]] = field(
        default_factory=dict[UUID, tuple[UUID, OutboxWrite]]
    )
    """By id: the orchestrator that publishes it, and the row."""
    said: dict[tuple[str, str], Hello] = field(default_factory=dict[tuple[str, str], Hello])
    served_singly: list[str] = field(default_factory=list[str])
    _heard_at: dict[tuple[str, str], datetime] = field(
        default_factory=dict[tuple[str, str], datetime]
    )
    definitions: dict[tuple[str, int], Json] = field(default_factory=dict[tuple[str, int], Json])
    retired: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    circuits: dict[tuple[UUID, str], CircuitWrite] = field(
        default_factory=dict[tuple[UUID, str], CircuitWrite]
    )
    schedules: dict[tuple[str, str], Schedule] = field(
        default_factory=dict[tuple[str, str], Schedule]
    )
    permits: MemoryPermits = field(default_factory=MemoryPermits)
    _leases: dict[UUID, _Lease] = field(default_factory=dict[UUID, _Lease])
    _owners: dict[int, UUID] = field(default_factory=dict[int, UUID])

    reviews: dict[tuple[SagaId, int], ReviewTask] = field(
        default_factory=dict[tuple[SagaId, int], ReviewTask]
    )

    def __post_init__(self) -> None:
        self.signals = MemorySignals(self.clock, self.starts)

    async def load(self, sagas: Sequence[SagaId], starts: Sequence[StartKey]) -> Loaded:
        """The sagas (also those that have ended) and the taken start keys among those asked for."""
        return Loaded(
            now=self.clock(),
            sagas={i: self._out(self.sagas[i].stored) for i in sagas if i in self.sagas},
            starts={key: self.starts[key] for key in starts if key in self.starts},
        )

    async def values(
        self, wanted: Sequence[tuple[SagaId, int]]
    ) -> Mapping[SagaId, Mapping[int, Json]]:
        """`data` of journal rows, by saga and seq."""
        found: dict[SagaId, dict[int, Json]] = {}
        for saga_id, seq in wanted:
            rows = self.journal.get(saga_id, [])
            if 1 <= seq <= len(rows):
                found.setdefault(saga_id, {})[seq] = self._copy(rows[seq - 1].data)
        return found

    async def commit(self, batch: Batch) -> None:
        """All or nothing."""
        for write in batch.sagas:
            check(write)
        keys = [w.start for w in batch.sagas if w.start is not None]
        if len(set(keys)) != len(keys):
            raise BadData("one start key twice in a batch")
        for write in batch.sagas:
            _refuse_bad_data(write)
            if not self.plain:
                _refuse_what_is_no_json(write)
        for write in batch.sagas:
            self._fence(write)
        if batch.outbox is not None and batch.outbox.id in self.outbox:
            raise Conflict(f"outbox row {batch.outbox.id} is there")
        for write in batch.sagas:
            self._write(write)
        if batch.outbox is not None:
            self.outbox[batch.outbox.id] = (batch.orchestrator, batch.outbox)
        await self.settle_outbox(batch.orchestrator, batch.outbox_settled, batch.outbox_rewritten)

    def _fence(self, write: SagaWrite) -> None:
        there = self.sagas.get(write.identity.saga_id)
        seq = there.stored.seq if there else 0
        if seq != write.loaded_seq:
            raise Conflict(f"saga {write.identity.saga_id} is not at the seq it was loaded at")
        if write.start is not None and write.start in self.starts:
            raise Conflict(f"start key {write.start} is taken")

    def _write(self, write: SagaWrite) -> None:
        saga_id = write.identity.saga_id
        ended = write.status in TERMINAL
        before = self.sagas.get(saga_id)
        wake_at = None if ended else write.wake_at
        if before and wake_at and before.stored.wake_at:
            wake_at = min(wake_at, before.stored.wake_at)
        self.sagas[saga_id] = _Saga(
            stored=StoredSaga(
                identity=write.identity,
                seq=write.seq,
                status=write.status,
                state=self._copy(write.state),
                wake_at=wake_at,
            ),
            residue=write.residue,
            labels=before.labels if before else dict(write.labels),
            trace_id=before.trace_id if before else write.trace_id,
            started_at=before.started_at if before else write.rows[0].at,
            ended_at=(before and before.ended_at) or (write.rows[-1].at if ended else None),
        )
        self.permits.write(write, self.clock())
        rows = self.journal.setdefault(saga_id, [])
        rows += write.rows if self.plain else [_row(row) for row in write.rows]
        for task in write.reviews:
            self._review(task)
        if write.start is not None:
            assert write.input_digest is not None
            self.starts[write.start] = KnownStart(saga_id=saga_id, input_digest=write.input_digest)

    def _out(self, stored: StoredSaga) -> StoredSaga:
        return stored if self.plain else replace(stored, state=_copy(stored.state))

    def _copy(self, value: Json) -> Json:
        return value if self.plain else _copy(value)

    def _review(self, task: ReviewTask) -> None:
        at = (task.saga_id, task.seq)
        before = self.reviews.get(at)
        if before is not None:
            first, shown = before.decided_at, max(before.shown_seq, task.shown_seq)
            decided_at = first or task.decided_at
            task = replace(task, request=before.request, shown_seq=shown, decided_at=decided_at)
        if task.request is not None:
            self.reviews[at] = task

    async def grant(
        self, after: Lane | None, *, lanes: int, limit: int, unheard_s: float
    ) -> Grants:
        """Grant what is free, at most `limit`, in the first `lanes` queues after `after`."""
        return self.permits.grant(
            after,
            lanes=lanes,
            limit=limit,
            unheard=timedelta(seconds=unheard_s),
            now=self.clock(),
            runs=self._runs,
        )

    def _runs(self, saga_id: SagaId) -> bool:
        saga = self.sagas.get(saga_id)
        return saga is not None and saga.stored.status is SagaStatus.RUNNING

    async def return_strays(self, limit: int) -> int:
        """Take back what sagas hold that have ended or are not there; how many that were."""
        return self.permits.return_strays(limit, self.clock(), self._lives)

    def _lives(self, saga_id: SagaId) -> bool:
        saga = self.sagas.get(saga_id)
        return saga is not None and saga.stored.wake_at is not None

    async def committed(self, outbox_id: UUID) -> bool:
        """Whether this outbox row is there."""
        return outbox_id in self.outbox

    async def committed_batch(self, batch: Batch) -> bool:
        """Whether the batch came through, also one without messages."""
        if batch.outbox is not None and await self.committed(batch.outbox.id):
            return True
        if not batch.sagas:
            return batch.outbox is None
        return all(
            any(
                (r.seq, r.at, r.kind) == (last.seq, last.at, last.kind)
                for r in self.journal.get(write.identity.saga_id, [])
            )
            for write in batch.sagas
            for last in write.rows[-1:]
        )

    async def rearm(self, due: Sequence[tuple[Due, datetime]]) -> None:
        """Set a later `wake_at` where id, seq and wake_at are still as seen."""
        for seen, later in due:
            saga = self.sagas.get(seen.saga_id)
            if saga and (saga.stored.seq, saga.stored.wake_at) == (seen.seq, seen.wake_at):
                self.sagas[seen.saga_id] = replace(saga, stored=replace(saga.stored, wake_at=later))

    async def tick(self, orchestrator: UUID, *, lease_s: float, claim: bool, limit: int) -> Tick:
        """Renew the lease, take free partitions up to a fair share, and find what is due."""
        now = self.clock()
        until = now + timedelta(seconds=lease_s)
        self._leases[orchestrator] = _Lease(until, claim)
        live = 1 + sum(
            lease.claiming
            for other, lease in self._leases.items()
            if other != orchestrator and lease.until > now
        )
        if claim:
            self._claim(orchestrator, -(-self.partitions // live), now)
        owned = frozenset(p for p, owner in self._owners.items() if owner == orchestrator)
        waiting = sorted(self._waiting(owned), key=lambda due: (due.wake_at, due.saga_id))
        return Tick(
            now=now,
            lease_until=until,
            live=live,
            partitions=self.partitions,
            owned=owned,
            due=tuple(w for w in waiting if w.wake_at <= now)[:limit],
            next_wake=next((w.wake_at for w in waiting if w.wake_at > now), None),
            permits=self.permits.waited_for(),
            schedules=any(s.next_at <= now for s in self.schedules.values()),
        )

    def _claim(self, orchestrator: UUID, share: int, now: datetime) -> None:
        mine = sum(owner == orchestrator for owner in self._owners.values())
        for partition in range(self.partitions):
            if mine >= share:
                return
            owner = self._owners.get(partition)
            if owner != orchestrator and not self._alive(owner, now):
                self._owners[partition] = orchestrator
                mine += 1

    def _alive(self, orchestrator: UUID | None, now: datetime) -> bool:
        lease = self._leases.get(orchestrator) if orchestrator else None
        return lease is not None and lease.until > now

    def _waiting(self, owned: frozenset[int]) -> Iterable[Due]:
        for saga_id, saga in self.sagas.items():
            wake_at = saga.stored.wake_at
            if wake_at is not None and saga.stored.identity.partition in owned:
                yield Due(saga_id=saga_id, seq=saga.stored.seq, wake_at=wake_at)

    async def release(self, orchestrator: UUID, partitions: Sequence[int]) -> None:
        """Give partitions up (they are no longer consumed)."""
        for partition in partitions:
            if self._owners.get(partition) == orchestrator:
                del self._owners[partition]

    async def leave(self, orchestrator: UUID) -> None:
        """End the lease at once; outbox rows stay and are claimed by others."""
        self._leases.pop(orchestrator, None)
        await self.release(orchestrator, list(self._owners))

    async def claim_outbox(self, orchestrator: UUID, limit: int) -> Sequence[OutboxWrite]:
        """Take over rows of orchestrators whose lease is over."""
        now = self.clock()
        orphans = sorted(
            outbox_id
            for outbox_id, (owner, _) in self.outbox.items()
            if owner != orchestrator and not self._alive(owner, now)
        )[:limit]
        for outbox_id in orphans:
            self.outbox[outbox_id] = (orchestrator, self.outbox[outbox_id][1])
        return [self.outbox[outbox_id][1] for outbox_id in orphans]

    async def stray_outbox(
        self, orchestrator: UUID, known: Sequence[UUID]
    ) -> Sequence[OutboxWrite]:
        """Own rows that are not among `known`."""
        return [
            row
            for outbox_id, (owner, row) in sorted(self.outbox.items())
            if owner == orchestrator and outbox_id not in known
        ]

    async def settle_outbox(
        self, orchestrator: UUID, settled: Sequence[UUID], rewritten: Sequence[OutboxWrite]
    ) -> None:
        """Delete or rewrite own outbox rows outside a batch (when idle or draining)."""
        for outbox_id in settled:
            if self._owns(orchestrator, outbox_id):
                del self.outbox[outbox_id]
        for row in rewritten:
            if self._owns(orchestrator, row.id):
                self.outbox[row.id] = (orchestrator, row)

    def _owns(self, orchestrator: UUID, outbox_id: UUID) -> bool:
        return outbox_id in self.outbox and self.outbox[outbox_id][0] == orchestrator

    async def add_partitions(self, count: int) -> None:
        """Raise the number of partitions to `count`; never lowers it."""
        self.partitions = max(self.partitions, count)

    async def keep_hello(self, hello: Hello) -> None:
        """Keep what a participant says of itself."""
        self.said.pop((hello.service, hello.instance), None)
        self.said[hello.service, hello.instance] = hello
        self._heard_at[hello.service, hello.instance] = self.clock()

    async def due_schedules(self, limit: int) -> tuple[datetime, Sequence[Schedule]]:
        """The time, and schedules of all tenants whose `next_at` has come."""
        now = self.clock()
        due = [s for s in self.schedules.values() if s.next_at <= now]
        return now, sorted(due, key=lambda s: s.next_at)[:limit]

    async def move_schedule(self, move: ScheduleMove) -> None:
        """On to its next time, unless somebody else was there since it was seen."""
        there = self.schedules.get((move.tenant, move.name))
        if there is not None and there.next_at == move.seen:
            self.schedules[move.tenant, move.name] = replace(
                there,
                next_at=move.next_at,
                last_at=move.last_at or there.last_at,
                last_saga_id=move.last_saga_id or there.last_saga_id,
                last_problem=move.last_problem,
            )

    async def keep_circuit(self, orchestrator: UUID, circuit: CircuitWrite) -> None:
        """Show what this orchestrator thinks of a participant."""
        self.circuits[orchestrator, circuit.service] = circuit
        if circuit.state == "closed":
            del self.circuits[orchestrator, circuit.service]

    async def hellos(self) -> Sequence[Mapping[str, CommandInfo]]:
        """What participants' instances say of their commands, oldest first."""
        return [hello.commands for hello in self.said.values()]

    async def taking_envelopes(self) -> frozenset[str]:
        """Services of which a live instance says that it does."""
        since = self.clock() - timedelta(seconds=90)
        return frozenset(
            hello.service
            for name, hello in self.said.items()
            if ACCEPTS_BATCH in hello.accepts and self._heard_at[name] > since
        )

    async def note_singly(self, tenant: str, who: str, service: str) -> None:
        """Kept in order."""
        self.served_singly.append(service)

    async def definition(self, name: str, version: int | None) -> tuple[int, Json] | None:
        """Version and document; None asks for the newest, of those that take starts if any does."""
        versions = [v for n, v in self.definitions if n == name and version in (None, v)]
        if not versions:
            return None
        found = max(versions, key=lambda v: ((name, v) not in self.retired, v))
        return found, self.definitions[name, found]

    async def is_retired(self, name: str, version: int) -> bool:
        """Whether a version takes no new starts."""
        return (name, version) in self.retired

    async def keep_signal(self, signal: EarlySignal, most: int) -> KnownStart | Kept:
        """Keep a signal, then look for its saga."""
        _dump(signal.data)
        return self.signals.keep(signal, most)

    async def ready_signals(
        self, starts: Sequence[StartKey] | None, limit: int
    ) -> Sequence[ReadySignal]:
        """Kept signals whose start is there."""
        return self.signals.ready(starts, limit)

    async def settle_signals(self, settled: Sequence[SettledSignal]) -> None:
        """Delete what its saga has recorded, or refused for good."""
        self.signals.settle(settled)

    async def drop_signals(self, kept_s: float) -> int:
        """Delete what has been kept for longer."""
        return self.signals.drop_old(kept_s)

    async def close(self) -> None:
        """Nothing to close."""


def _row(row: JournalRow) -> JournalRow:
    return replace(row, data=_copy(row.data))


def _copy(value: Json) -> Json:
    return json.loads(_dump(value))


def _dump(value: Json) -> bytes:
    """Strictly JSON, where Postgres' own store also takes what it can make JSON of."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadData(f"not a JSON value: {error}") from error


def _refuse_bad_data(write: SagaWrite) -> None:
    """What the schema's CHECKs and Postgres' types refuse."""
    texts = [write.identity.key, write.identity.tenant, write.identity.definition]
    texts += [text for row in write.rows for text in (row.kind, row.step) if text is not None]
    texts += [write.start.key] if write.start else []
    texts += [part for pair in write.labels.items() for part in pair]
    if any("\0" in text or not _encodable(text) for text in texts):
        raise BadData("a text with U+0000 or a lone surrogate")
    if write.status not in TERMINAL and write.wake_at is None:
        raise BadData(f"saga {write.identity.saga_id} would be silent")
    if write.residue < 0 or write.identity.version < 1:
        raise BadData(f"saga {write.identity.saga_id}: a number out of range")
    if any(row.step is not None and len(row.step) > STEP_PATH_BYTES_MAX for row in write.rows):
        raise BadData("a step path over 160 bytes")
    if write.start and not 1 <= len(write.start.key.encode()) <= START_KEY_BYTES_MAX:
        raise BadData("a start key of 0 or over 1024 bytes")


def _refuse_what_is_no_json(write: SagaWrite) -> None:
    for value in (write.state, *(row.data for row in write.rows)):
        _dump(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
