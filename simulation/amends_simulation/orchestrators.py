"""Orchestrators: the real intake, committer, relay and leases in each process, over our ports.

What `engine.orchestrator` puts together is put together here, but for its one-second tick: looks
happen when something is due, or when the schedule takes a lease away.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from amends_contracts.codec import load_messages
from amends_contracts.messages import CommandInfo, Hello, Json, Trace
from amends_contracts.names import SagaId
from amends_orchestrator.core import from_stored
from amends_orchestrator.core.checker import Commit, Decided
from amends_orchestrator.core.decision import Decision, Send
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.state import TERMINAL, Identity, Saga, SagaStatus
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.commit import Committer
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.holdings import Holdings
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.intake import Intake, Pace
from amends_orchestrator.engine.leases import Leases
from amends_orchestrator.engine.ports import (
    Batch,
    Conflict,
    Due,
    EarlySignal,
    Kept,
    KnownStart,
    Loaded,
    OutboxWrite,
    ReadySignal,
    SettledSignal,
    StartKey,
    StoreUnavailable,
    Tick,
)
from amends_orchestrator.engine.relay import Relay
from amends_orchestrator.engine.signals import Signals
from amends_orchestrator.engine.tasks import Tasks
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.work import ForSaga
from amends_orchestrator.store.memory import MemoryStore
from amends_simulation.broker import TOPOLOGY, Broker, Link
from amends_simulation.schedule import Point
from amends_simulation.world import Process, World

T = TypeVar("T")
TOKENS: Final = Tokens(["the secret of every simulated world"])
LEASE_S: Final = 3600.0
"""Leases end when the schedule says so, and a while after a crash."""
LEFT_S: Final = 3.0
DOWN_S: Final = 1.0
TICK_S: Final = 600.0
BATCH_MAX: Final = 64


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


class Clock:
    """`engine.ports.Clock` of the virtual loop."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._world.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Virtually."""
        await asyncio.sleep(seconds)


class Record:
    """`engine.tracing.Tracing`: keeps every decision that was committed."""

    def __init__(self, world: World) -> None:
        self._decided = world.decided if world.schedule.again else None

    def started(self, identity: Identity, trace: Trace | None) -> str | None:
        """No trace."""
        return None

    def command(self, identity: Identity, send: Send) -> Trace | None:
        """No trace."""
        return None

    def decided(
        self, identity: Identity, message: Input | None, decision: Decision, now: datetime
    ) -> None:
        """To be decided again by the checker."""
        if self._decided is not None and message is not None:
            self._decided.append(Decided(message=message, decision=decision, now=now))


@dataclass
class Shared:
    """What all orchestrators of a run share: the database, and who is there."""

    world: World
    broker: Broker
    store: MemoryStore
    catalog: Catalog
    open: dict[SagaId, SagaStatus]
    """Sagas that have not ended."""
    engines: "list[Engine]"
    awaited: bool = False
    """Whether any definition awaits signals."""
    changed: Any = None
    """Told of every saga whose status changes."""
    count: int = 0

    def saga(self, saga_id: SagaId) -> Saga:
        """As it is stored."""
        stored = self.store.sagas[saga_id].stored
        return from_stored(stored.identity, stored.seq, stored.status, stored.state)

    def start_engine(self) -> None:
        """One more orchestrator."""
        self.count += 1
        self.engines.append(Engine(self, f"orchestrator {self.count}"))

    def look(self, seconds: float = 0.0) -> None:
        """Something about leases has changed: everybody looks."""
        for engine in self.engines:
            engine.look_in(seconds)


class Engine(Process):
    """One orchestrator."""

    def __init__(self, shared: Shared, name: str) -> None:
        world = shared.world
        super().__init__(world, name)
        self.shared = shared
        self.id = world.new_id()
        self._link = Link(shared.broker, self, send=Point.SEND, acknowledge=Point.ENGINE_ACK)
        self._assemble(EngineStore(self), Record(world), Clock(world), Counters())

    def _assemble(
        self, store: "EngineStore", record: Record, clock: Clock, counters: Counters
    ) -> None:
        """As `Orchestrator._assemble` does."""
        tasks = _Tasks(self)
        catalog = self.shared.catalog
        edge = Edge(
            TOPOLOGY,
            TOKENS,
            catalog,
            store,
            clock=clock,
            tenant="default",
            principal_of=None,
            new_id=self.world.new_id,
        )
        dispatcher = Dispatcher(TOPOLOGY, TOKENS, record)
        self.inbox = Inbox()
        self._holdings = Holdings(clock, tick_s=TICK_S)
        committer = Committer(
            self.id,
            store,
            catalog,
            dispatcher,
            record,
            clock,
            counters,
            bytes_max=2**20,
            partitions=self._holdings.for_starts,
            new_id=self.world.new_id,
        )
        self.relay = Relay(
            self._link,
            clock,
            counters,
            tasks=tasks,
            timeout_s=5,
            unsettled_max=8,
            inbox=self.inbox,
        )
        signals = Signals(store, clock, self.inbox)
        intake = Intake(
            store,
            self._link,
            edge,
            committer,
            dispatcher,
            record,
            clock,
            counters,
            TOPOLOGY,
            Pace(BATCH_MAX, 0.0, 0.0),
            tasks=tasks,
            inbox=self.inbox,
            relay=self.relay,
            holdings=self._holdings,
            signals=signals,
        )
        self._run(intake, self._leases(store, committer, clock, intake))
        if self.shared.awaited:
            self.begin(signals.run())

    def _leases(
        self, store: "EngineStore", committer: Committer, clock: Clock, intake: Intake
    ) -> Leases:
        return Leases(
            self.id,
            store,
            self._link,
            self.relay,
            committer,
            TOPOLOGY,
            clock,
            tasks=_Tasks(self),
            inbox=self.inbox,
            holdings=self._holdings,
            boundary=intake.boundary,
            lease_s=LEASE_S,
            prefetch=100,
        )

    def _run(self, intake: Intake, leases: Leases) -> None:
        for loop in (intake.run, leases.run, leases.follow):
            self.begin(loop())

    def submit(self, tenant: str, saga_id: SagaId, message: Input) -> "asyncio.Future[Any]":
        """As `Orchestrator.submit` does."""
        work = ForSaga(saga_id=saga_id, message=message, tenant=tenant)
        work.done = self.world.loop.create_future()
        self.inbox.put(work)
        return work.done

    def look_in(self, seconds: float) -> None:
        """Look at leases and at what is due."""
        self._holdings.look_in(seconds)

    def crashed(self) -> None:
        """Its lease runs out; another process is started."""
        self._link.drop()
        self.shared.engines.remove(self)
        self.world.later(LEFT_S, self._left)
        self.world.later(DOWN_S * (0.2 + self.world.chance.random()), self.shared.start_engine)

    def _left(self) -> None:
        at_once(self.shared.store.leave(self.id))
        self.shared.look()


class _Tasks(Tasks):
    """The engine's task group: the process itself."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def begin(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run it; its exception ends the process."""
        self._process.begin(work)

    def cancel(self) -> None:
        """It crashes instead."""


class EngineStore:
    """`engine.ports.Store` of one process, over the tables that all share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.shared.store
        self._world = engine.world
        self._slow = engine.world.schedule.orchestrators > 1

    async def load(self, sagas: Sequence[SagaId], starts: Sequence[StartKey]) -> Loaded:
        """As the store does; it may be away, or slow."""
        await self._engine.gate()
        match self._world.faults.at(Point.LOAD):
            case "away":
                self._away()
            case "slow":
                await asyncio.sleep(3 * self._world.chance.random())
            case _:
                pass
        loaded = await self._store.load(sagas, starts)
        if self._slow and self._world.chance.random() < 0.2:
            await asyncio.sleep(0.05 * self._world.chance.random())
        self._engine.check()
        return loaded

    async def values(
        self, wanted: Sequence[tuple[SagaId, int]]
    ) -> Mapping[SagaId, Mapping[int, Json]]:
        """As the store does."""
        return await self._store.values(wanted)

    async def commit(self, batch: Batch) -> None:
        """As the store does, unless the schedule has something in mind."""
        await self._engine.gate()
        match self._world.faults.at(Point.COMMIT):
            case "crash before":
                self._engine.die()
            case "crash after":
                await self._commit(batch)
                self._engine.die()
            case "lost before":
                self._away()
            case "lost after":
                await self._commit(batch)
                self._away()
            case "late":
                self._world.pending += 1
                self._world.later(self._world.chance.random(), self._commit_late, batch)
                self._away()
            case "slow":
                await asyncio.sleep(5 * self._world.chance.random())
                self._engine.check()
                await self._commit(batch)
            case _:
                await self._commit(batch)

    def _commit_late(self, batch: Batch) -> None:
        """A frozen server thaws."""
        self._world.pending -= 1
        try:
            at_once(self._commit(batch))
        except Conflict:
            return

    def _away(self) -> None:
        self._engine.look_in(1.0)
        raise StoreUnavailable("the schedule says so")

    async def _commit(self, batch: Batch) -> None:
        await self._store.commit(batch)
        world, shared = self._world, self._engine.shared
        order = world.tick()
        for write in batch.sagas:
            saga_id = write.identity.saga_id
            if world.story is not None:
                _tell(world, self._engine.name, write)
            world.commits.append(
                Commit(
                    order=order,
                    orchestrator=self._engine.name,
                    saga_id=saga_id,
                    loaded_seq=write.loaded_seq,
                    seq=write.seq,
                    state=write.state,
                )
            )
            if write.status in TERMINAL:
                shared.open.pop(saga_id, None)
            else:
                shared.open[saga_id] = write.status
            shared.changed(saga_id, write.status)
            if self._slow and write.wake_at is not None:
                self._tick_at(write.wake_at)
        if batch.outbox is not None:
            world.commit_of(load_messages(batch.outbox.body))

    async def committed(self, outbox_id: UUID) -> bool:
        """As the store does."""
        return await self._store.committed(outbox_id)

    async def committed_batch(self, batch: Batch) -> bool:
        """As the store does."""
        self._engine.check()
        return await self._store.committed_batch(batch)

    async def rearm(self, due: Sequence[tuple[Due, datetime]]) -> None:
        """As the store does."""
        self._engine.check()
        await self._store.rearm(due)
        for _, later in due:
            self._tick_at(later)

    def _tick_at(self, wake_at: datetime) -> None:
        """Somebody's tick finds what nobody was told of."""
        now = self._world.now()
        for engine in self._engine.shared.engines:
            engine.look_in(max(1.0, (wake_at - now).total_seconds()))

    async def tick(self, orchestrator: UUID, *, lease_s: float, claim: bool, limit: int) -> Tick:
        """As the store does."""
        await self._engine.gate()
        return await self._store.tick(orchestrator, lease_s=lease_s, claim=claim, limit=limit)

    async def release(self, orchestrator: UUID, partitions: Sequence[int]) -> None:
        """As the store does; whoever has less takes them."""
        self._engine.check()
        await self._store.release(orchestrator, partitions)
        self._engine.shared.look(0.1)

    async def leave(self, orchestrator: UUID) -> None:
        """As the store does."""
        await self._store.leave(orchestrator)

    async def claim_outbox(self, orchestrator: UUID, limit: int) -> Sequence[OutboxWrite]:
        """As the store does."""
        self._engine.check()
        return await self._store.claim_outbox(orchestrator, limit)

    async def stray_outbox(
        self, orchestrator: UUID, known: Sequence[UUID]
    ) -> Sequence[OutboxWrite]:
        """As the store does."""
        self._engine.check()
        return await self._store.stray_outbox(orchestrator, known)

    async def settle_outbox(
        self, orchestrator: UUID, settled: Sequence[UUID], rewritten: Sequence[OutboxWrite]
    ) -> None:
        """As the store does."""
        self._engine.check()
        await self._store.settle_outbox(orchestrator, settled, rewritten)

    async def keep_hello(self, hello: Hello) -> None:
        """As the store does."""
        await self._store.keep_hello(hello)

    async def hellos(self) -> Sequence[Mapping[str, CommandInfo]]:
        """As the store does."""
        return await self._store.hellos()

    async def definition(self, name: str, version: int | None) -> tuple[int, Json] | None:
        """As the store does."""
        return await self._store.definition(name, version)

    async def is_retired(self, name: str, version: int) -> bool:
        """As the store does."""
        return await self._store.is_retired(name, version)

    async def keep_signal(self, signal: EarlySignal, most: int) -> KnownStart | Kept:
        """As the store does."""
        return await self._store.keep_signal(signal, most)

    async def ready_signals(
        self, starts: Sequence[StartKey] | None, limit: int
    ) -> Sequence[ReadySignal]:
        """As the store does."""
        return await self._store.ready_signals(starts, limit)

    async def settle_signals(self, settled: Sequence[SettledSignal]) -> None:
        """As the store does."""
        await self._store.settle_signals(settled)

    async def drop_signals(self, kept_s: float) -> int:
        """As the store does."""
        return await self._store.drop_signals(kept_s)


def _tell(world: World, name: str, write: Any) -> None:
    key = write.identity.key
    for row in write.rows:
        words = [row.kind, row.step or "", "" if row.attempt is None else f"attempt {row.attempt}"]
        data: Any = row.data or {}
        problem = data.get("problem") or data.get("failure")
        words.append("" if problem is None else str(problem.get("type")))
        world.note(f"{name} commits {key} row {row.seq}: {' '.join(w for w in words if w)}")


def expire(shared: Shared, engine: Engine) -> None:
    """Its lease ends, and it does not know."""
    at_once(shared.store.leave(engine.id))
    shared.world.note(f"{engine.name} loses its lease")
    for other in shared.engines:
        if other is not engine:
            other.look_in(0.0)
    engine.look_in(2 + 5 * shared.world.chance.random())
