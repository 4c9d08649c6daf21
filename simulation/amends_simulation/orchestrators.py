"""Orchestrators: the real intake, committer, relay and leases in each process, over our ports.

What `engine.orchestrator` puts together is put together here, but for its one-second tick: looks
happen when something is due, while somebody waits for a permit, or when the schedule takes a lease
away. No circuit opens: what is decided would depend on more than the journal and the message.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from amends_contracts.messages import Start, StartAnswer, Trace
from amends_contracts.names import SagaId
from amends_orchestrator.core import from_stored
from amends_orchestrator.core.checker import Decided
from amends_orchestrator.core.decision import Decision, Refused, Send
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.state import Identity, Saga, SagaStatus
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.circuits import Circuits
from amends_orchestrator.engine.commit import Committer
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.envelopes import Envelopes
from amends_orchestrator.engine.granting import Granting
from amends_orchestrator.engine.holdings import Holdings
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.intake import Intake, Pace
from amends_orchestrator.engine.leases import Leases
from amends_orchestrator.engine.relay import Relay
from amends_orchestrator.engine.scheduling import Scheduler
from amends_orchestrator.engine.signals import Signals
from amends_orchestrator.engine.tasks import Tasks
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.work import ForSaga
from amends_orchestrator.store.memory import MemoryStore
from amends_simulation.broker import TOPOLOGY, Broker, Link
from amends_simulation.engine_store import EngineStore
from amends_simulation.loop import at_once
from amends_simulation.schedule import Point
from amends_simulation.services import APPS
from amends_simulation.world import Process, World

TOKENS: Final = Tokens(["the secret of every simulated world"])
LEASE_S: Final = 3600.0
"""Leases end when the schedule says so, and a while after a crash."""
LEFT_S: Final = 3.0
DOWN_S: Final = 1.0
TICK_S: Final = 600.0
BATCH_MAX: Final = 64


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
        self, store: EngineStore, record: Record, clock: Clock, counters: Counters
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
        self._granting = Granting(store, clock, self.inbox)
        circuits = Circuits(clock.monotonic, 0, lambda _: None, lambda _: None)
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
            circuits=circuits,
            new_id=self.world.new_id,
        )
        self._envelopes = Envelopes(TOPOLOGY, clock)
        self._learn()
        self.relay = Relay(
            self._link,
            clock,
            counters,
            tasks=tasks,
            timeout_s=5,
            unsettled_max=8,
            inbox=self.inbox,
            envelopes=self._envelopes,
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
            envelopes=self._envelopes,
            granting=self._granting,
            circuits=circuits,
        )
        self._run(intake, self._leases(store, committer, clock, intake))
        if self.shared.awaited:
            self.begin(signals.run())

    def _leases(
        self, store: EngineStore, committer: Committer, clock: Clock, intake: Intake
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
            granting=self._granting,
            scheduler=Scheduler(store, self._holdings, _nobody_starts),
            boundary=intake.boundary,
            lease_s=LEASE_S,
            prefetch=100,
        )

    def _run(self, intake: Intake, leases: Leases) -> None:
        for loop in (intake.run, leases.run, leases.follow, self._granting.run):
            self.begin(loop())

    def submit(self, tenant: str, saga_id: SagaId, message: Input) -> "asyncio.Future[Any]":
        """As `Orchestrator.submit` does."""
        work = ForSaga(saga_id=saga_id, message=message, tenant=tenant)
        work.done = self.world.loop.create_future()
        self.inbox.put(work)
        return work.done

    def look_in(self, seconds: float) -> None:
        """Look at leases and at what is due."""
        self._learn()
        self._holdings.look_in(seconds)

    def _learn(self) -> None:
        """Where services share transactions, they take envelopes."""
        if self.world.schedule.groups:
            self._envelopes.learn(APPS)

    def crashed(self) -> None:
        """Its lease runs out; another process is started."""
        self._link.drop()
        self.shared.engines.remove(self)
        self.world.later(LEFT_S, self._left)
        self.world.later(DOWN_S * (0.2 + self.world.chance.random()), self.shared.start_engine)

    def _left(self) -> None:
        at_once(self.shared.store.leave(self.id))
        self.shared.look()


async def _nobody_starts(
    tenant: str, by: str, start: Start, *, requested_by: str | None
) -> StartAnswer | Refused:
    raise AssertionError(f"there are no schedules: {tenant} {by} {start} {requested_by}")


class _Tasks(Tasks):
    """The engine's task group: the process itself."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def begin(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Run it; its exception ends the process."""
        self._process.begin(work)

    def cancel(self) -> None:
        """It crashes instead."""


def expire(shared: Shared, engine: Engine) -> None:
    """Its lease ends, and it does not know."""
    at_once(shared.store.leave(engine.id))
    shared.world.note(f"{engine.name} loses its lease")
    for other in shared.engines:
        if other is not engine:
            other.look_in(0.0)
    engine.look_in(2 + 5 * shared.world.chance.random())
