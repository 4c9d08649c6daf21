"""The tables as one orchestrator sees them: away, slow, or in doubt when the schedule says so."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from amends_contracts.codec import load_messages
from amends_contracts.messages import CommandInfo, Hello, Json
from amends_contracts.names import SagaId
from amends_orchestrator.core.checker import Commit
from amends_orchestrator.core.state import TERMINAL
from amends_orchestrator.engine.ports import (
    NO_PERMITS,
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
    Schedule,
    ScheduleMove,
    SettledSignal,
    StartKey,
    StoreUnavailable,
    Tick,
)
from amends_simulation.loop import at_once
from amends_simulation.schedule import Point
from amends_simulation.world import World

if TYPE_CHECKING:
    from amends_simulation.orchestrators import Engine

PERMITS_S: Final = 1.0
"""Between looks while somebody waits for a permit."""


class EngineStore:
    """`engine.ports.Store` of one process, over the tables that all share."""

    def __init__(self, engine: "Engine") -> None:
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
            if write.permits is not NO_PERMITS:
                self._engine.look_in(PERMITS_S)
            shared.changed(saga_id, write.status)
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

    async def tick(self, orchestrator: UUID, *, lease_s: float, claim: bool, limit: int) -> Tick:
        """As the store does."""
        await self._engine.gate()
        tick = await self._store.tick(orchestrator, lease_s=lease_s, claim=claim, limit=limit)
        if tick.permits:
            self._engine.look_in(PERMITS_S)
        return tick

    async def grant(
        self, after: Lane | None, *, lanes: int, limit: int, unheard_s: float
    ) -> Grants:
        """As the store does."""
        await self._engine.gate()
        return await self._store.grant(after, lanes=lanes, limit=limit, unheard_s=unheard_s)

    async def return_strays(self, limit: int) -> int:
        """As the store does."""
        self._engine.check()
        return await self._store.return_strays(limit)

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

    async def due_schedules(self, limit: int) -> tuple[datetime, Sequence[Schedule]]:
        """As the store does."""
        return await self._store.due_schedules(limit)

    async def move_schedule(self, move: ScheduleMove) -> None:
        """As the store does."""
        await self._store.move_schedule(move)

    async def keep_circuit(self, orchestrator: UUID, circuit: CircuitWrite) -> None:
        """As the store does."""
        await self._store.keep_circuit(orchestrator, circuit)

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
