"""Making a batch durable: load, decide, commit, and everything that can go wrong in between.

Here alone the engine writes sagas. A conflict means that somebody else was first: load and decide
again. A commit in doubt is looked for before anything else is decided. A saga whose data the
database refuses is found by halving, and parked as stuck.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from amends_contracts.names import SagaId
from amends_contracts.problems import ProblemType
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import Returned
from amends_orchestrator.engine.batch import Assembled, Assembly, fault_of, start_key
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.circuits import Circuits
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.ports import (
    BadData,
    Clock,
    Conflict,
    Loaded,
    OutboxWrite,
    Store,
    StoreUnavailable,
)
from amends_orchestrator.engine.tracing import Tracing
from amends_orchestrator.engine.work import ForSaga, ForStart, Result, Work

log = logging.getLogger(__name__)

BACKOFF_S: Final = 0.05
BACKOFF_S_MAX: Final = 2.0


@dataclass(frozen=True, slots=True)
class Durable:
    """A batch that is committed (or that changed nothing), and the id of its outbox row."""

    assembled: Assembled
    outbox_id: UUID
    found: bool = False
    """Its commit was in doubt: another orchestrator may have taken the row over and published."""


@dataclass(frozen=True, slots=True)
class Settlements:
    """Outbox rows to delete or rewrite along with a batch."""

    settled: tuple[UUID, ...] = ()
    rewritten: tuple[OutboxWrite, ...] = ()


NOTHING_SETTLED: Final = Settlements()


class Committer:
    """Turns work into durable decisions, one batch at a time."""

    def __init__(
        self,
        orchestrator: UUID,
        store: Store,
        catalog: Catalog,
        dispatcher: Dispatcher,
        tracing: Tracing,
        clock: Clock,
        counters: Counters,
        *,
        bytes_max: int,
        partitions: Callable[[], Sequence[int]],
        circuits: Circuits,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        self._orchestrator = orchestrator
        self._store = store
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._tracing = tracing
        self._clock = clock
        self._counters = counters
        self._bytes_max = bytes_max
        self._partitions = partitions
        self._circuits = circuits
        self._new_id = new_id
        self.doubted = False
        """A call was in doubt since this was last reset: outbox rows may be there unseen."""

    async def run(
        self, works: Sequence[Work], settlements: Settlements, done: Callable[[Durable], None]
    ) -> None:
        """Make all of it durable, in one batch or, if the database refuses data, in several.

        `done` is called after each commit. Waits for as long as the database is away.
        """
        try:
            durable = await self._until_durable(works, settlements)
        except BadData as error:
            log.warning("the database refuses a batch of %d: %s", len(works), error)
            await self._bisect(works, settlements, done, error)
            return
        done(durable)

    async def _until_durable(self, works: Sequence[Work], settlements: Settlements) -> Durable:
        doubts: list[Durable] = []
        failures = 0
        while True:
            try:
                loaded = await self._load(works)
                # After the load: what it did not see and this does not find, the fence refuses.
                for doubt in doubts:
                    batch = doubt.assembled.batch
                    assert batch is not None
                    if await self._store.committed_batch(batch):
                        return replace(doubt, found=True)
                durable = await self._assemble(works, settlements, loaded)
                if durable.assembled.batch is not None:
                    doubts.append(durable)
                    await self._store.commit(durable.assembled.batch)
                return durable
            except Conflict as conflict:
                doubts = [d for d in doubts if d is not doubts[-1]] if doubts else doubts
                self._counters.conflicts += 1
                log.info("batch lost: %s", conflict)
                failures = 0
            except StoreUnavailable as away:
                self.doubted = True
                self._counters.doubts += 1
                log.warning("the database is away: %s", away)
                failures += 1
                await self._back_off(failures)

    async def _load(self, works: Sequence[Work]) -> Loaded:
        sagas = dict.fromkeys(work.saga_id for work in works if isinstance(work, ForSaga))
        starts = dict.fromkeys(start_key(work) for work in works if isinstance(work, ForStart))
        loaded = await self._store.load(list(sagas), list(starts))
        for stored in loaded.sagas.values():
            name, version = stored.identity.definition, stored.identity.version
            if self._catalog.known(name, version) is None:
                await self._catalog.get(name, version)
        return loaded

    async def _assemble(
        self, works: Sequence[Work], settlements: Settlements, loaded: Loaded
    ) -> Durable:
        assembly = Assembly(
            self._store,
            self._catalog,
            self._dispatcher,
            self._tracing,
            self._counters,
            loaded,
            bytes_max=self._bytes_max,
            partitions=self._partitions(),
            circuits=self._circuits.view(),
        )
        await assembly.decide(works)
        outbox_id = self._new_id()
        assembled = assembly.assembled(
            self._orchestrator, outbox_id, settlements.settled, settlements.rewritten
        )
        return Durable(assembled, outbox_id)

    async def _bisect(
        self,
        works: Sequence[Work],
        settlements: Settlements,
        done: Callable[[Durable], None],
        error: BadData,
    ) -> None:
        """Halve until one saga is left; that one is parked, all others are committed."""
        for work in works:
            _make_unsure(work)
        sagas = list(dict.fromkeys(work.saga_id for work in works))
        if len(sagas) == 1:
            await self._park(works, settlements, done, error)
            return
        first = set(sagas[: len(sagas) // 2])
        await self.run([w for w in works if w.saga_id in first], settlements, done)
        rest = [w for w in works if w.saga_id not in first]
        await self.run(rest, NOTHING_SETTLED, done)

    async def _park(
        self,
        works: Sequence[Work],
        settlements: Settlements,
        done: Callable[[Durable], None],
        error: BadData,
    ) -> None:
        """A start that cannot be stored is refused; a saga that cannot be written is stuck."""
        detail = f"the database refuses it: {error}"
        refused = Refused(type=ProblemType.ENGINE_FAULT, detail=detail)
        if isinstance(works[0], ForStart):
            refused = Refused(type=ProblemType.BAD_REQUEST, detail=detail)
        else:
            await self._fault(works[0].saga_id, settlements, done, error)
        results: list[tuple[Work, Result]] = [(work, refused) for work in works]
        loaded = await self._until_loaded()
        done(Durable(_told(loaded, results), self._new_id()))

    async def _fault(
        self,
        saga_id: SagaId,
        settlements: Settlements,
        done: Callable[[Durable], None],
        error: BadData,
    ) -> None:
        fault = ForSaga(saga_id=saga_id, message=fault_of(error))
        try:
            durable = await self._until_durable([fault], settlements)
        except BadData:
            log.exception("saga %s cannot even be parked", saga_id)
            return
        self._counters.stuck += 1
        done(durable)

    async def _until_loaded(self) -> Loaded:
        failures = 0
        while True:
            try:
                return await self._store.load([], [])
            except StoreUnavailable:
                failures += 1
                await self._back_off(failures)

    async def _back_off(self, failures: int) -> None:
        ceiling = min(BACKOFF_S_MAX, BACKOFF_S * 2**failures)
        await self._clock.sleep(ceiling * random.uniform(0.5, 1.0))


def _make_unsure(work: Work) -> None:
    """A return is sure only in the very commit that deletes its outbox row."""
    if isinstance(work, ForSaga) and isinstance(work.message, Returned):
        work.message = replace(work.message, never_delivered=False)


def _told(loaded: Loaded, results: list[tuple[Work, Result]]) -> Assembled:
    """A batch that changes nothing and only tells."""
    return Assembled(
        batch=None,
        messages=(),
        results=tuple(results),
        leftover=(),
        decided=(),
        rearm=(),
        now=loaded.now,
        earliest_wake=None,
    )
