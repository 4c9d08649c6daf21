"""The door to the engine: run it, stop it, start sagas and send them messages.

An orchestrator is one of many on the same database and broker. All its loops run in one task
group: when one dies, the whole process says so and ends, rather than going on with less.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from amends_contracts.messages import Decide, Signal, Start, StartAnswer, Trace, Undo
from amends_contracts.names import SagaId
from amends_contracts.problems import ProblemType
from amends_contracts.topology import Topology
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.state import Identity
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.circuits import Circuit, Circuits
from amends_orchestrator.engine.circuits import State as CircuitState
from amends_orchestrator.engine.clock import SystemClock
from amends_orchestrator.engine.commit import Committer
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.edge import Edge, PrincipalOf
from amends_orchestrator.engine.envelopes import Envelopes
from amends_orchestrator.engine.granting import Granting
from amends_orchestrator.engine.holdings import Holdings
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.intake import Intake, Pace
from amends_orchestrator.engine.leases import Leases
from amends_orchestrator.engine.ports import CircuitWrite, Clock, Store, StoreUnavailable, Transport
from amends_orchestrator.engine.relay import Relay
from amends_orchestrator.engine.reviews import decision_of
from amends_orchestrator.engine.scheduling import Scheduler
from amends_orchestrator.engine.signals import Signals
from amends_orchestrator.engine.tasks import Tasks
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.tracing import NoTracing, Tracing
from amends_orchestrator.engine.undo import undo_of
from amends_orchestrator.engine.work import (
    ForSaga,
    Replied,
    Result,
    SignalKept,
    SignalKnown,
    Work,
    answer_of,
)
from amends_orchestrator.settings import Settings

log = logging.getLogger(__name__)

NOT_RUNNING: Final = Refused(
    type=ProblemType.NOT_READY, detail="this orchestrator is not running; ask again"
)
OVERLOADED: Final = Refused(
    type=ProblemType.OVERLOADED, detail="too many requests wait for this orchestrator; ask later"
)
ROOM_TIMEOUT_S: Final = 10.0
READY_TICKS: Final = 3
LEARN_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What an orchestrator says of itself at one moment."""

    orchestrator: UUID
    partitions: int
    owned: tuple[int, ...]
    waiting: int
    """Work that is in no batch yet."""
    unsettled: int
    """Outbox rows with messages that the broker may not have."""
    lag_s: float
    """How late the latest wake-up was."""
    batches: int
    messages: int
    commands: int
    envelopes: int
    conflicts: int
    doubts: int
    stuck: int
    republished: int
    refused: Mapping[str, int]
    dead_lettered: Mapping[str, int]
    undeliverable: Mapping[str, int]
    """Returned commands, by service."""


@dataclass(slots=True)
class _Running:
    """The parts of an orchestrator while it runs."""

    inbox: Inbox
    holdings: Holdings
    intake: Intake
    leases: Leases
    relay: Relay
    signals: Signals
    granting: Granting
    scheduler: Scheduler


class Orchestrator:
    """One engine. `run` until `stop`; the rest may be called from the same event loop."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        settings: Settings,
        expressions: Expressions,
        *,
        tracing: Tracing | None = None,
        principal_of: PrincipalOf | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.id = uuid7()
        self.counters = Counters()
        self._store = store
        self._transport = transport
        self._settings = settings
        self._topology: Topology = settings.topology
        self._tracing: Tracing = tracing or NoTracing()
        self._clock: Clock = clock or SystemClock()
        self.catalog = Catalog(
            store, expressions, self._clock, newest_for_s=settings.definition_cache_s
        )
        tokens = Tokens([secret.get_secret_value() for secret in settings.token_secrets])
        self._dispatcher = Dispatcher(self._topology, tokens, self._tracing)
        self._edge = Edge(
            self._topology,
            tokens,
            self.catalog,
            store,
            clock=self._clock,
            tenant=settings.tenant,
            principal_of=principal_of,
        )
        self._envelopes = Envelopes(self._topology, self._clock)
        self._running: _Running | None = None
        self._room = asyncio.Semaphore(settings.waiting_max)
        self._asked: set[asyncio.Future[Result]] = set()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()

    # --- life ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Open the broker and work until `stop`. An exception of any loop ends it all."""
        assert self._running is None, "an orchestrator runs once"
        try:
            if await self._opened():
                async with asyncio.TaskGroup() as group:
                    tasks = Tasks(group)
                    running = self._assemble(tasks)
                    tasks.begin(running.intake.run(), "intake")
                    tasks.begin(running.leases.run(), "leases")
                    tasks.begin(running.leases.follow(), "partitions")
                    tasks.begin(running.granting.run(), "permits")
                    tasks.begin(running.scheduler.run(), "schedules")
                    tasks.begin(self._learn(), "hellos")
                    tasks.begin(running.signals.run(), "signals")
                    self._running = running
                    await self._stop.wait()
                    await self._drain(running)
                    tasks.cancel()
        finally:
            self._running = None
            for future in self._asked:
                if not future.done():
                    future.set_result(NOT_RUNNING)
            await self._transport.close()
            self._ended.set()

    async def _learn(self) -> None:
        """Know what any orchestrator was told: a `hello` reaches one of them."""
        while True:
            try:
                for commands in await self._store.hellos():
                    self.catalog.learn(commands)
                self._envelopes.learn(await self._store.taking_envelopes())
                for service in self._envelopes.mishandled():
                    await self._store.note_singly(self._settings.tenant, str(self.id), service)
            except StoreUnavailable as away:
                log.info("hellos not read: %s", away)
            await self._clock.sleep(LEARN_S)

    async def _opened(self) -> bool:
        """Open the broker, which may be away for long; False if it was stopped before that."""
        opening = asyncio.create_task(self._transport.open())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
            return opening.done()
        finally:
            opening.cancel()
            stopping.cancel()

    async def stop(self) -> None:
        """Give partitions up, finish what is in hand, and leave; returns when `run` has ended."""
        self._stop.set()
        await self._ended.wait()

    async def _drain(self, running: _Running) -> None:
        """In order: take nothing new, decide what is in hand, publish it, leave."""
        running.leases.claiming = False
        await running.leases.give_up_all()
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await running.intake.idle.wait()
                await running.relay.drained()
        except TimeoutError:
            log.warning("not everything was published in time; another orchestrator will")
        try:
            settlements = running.relay.settlements()
            await self._store.settle_outbox(self.id, settlements.settled, settlements.rewritten)
            await self._store.leave(self.id)
        except StoreUnavailable as away:
            log.warning("left without saying so: %s", away)

    def _assemble(self, tasks: Tasks) -> _Running:
        settings, clock = self._settings, self._clock
        inbox, holdings = Inbox(), Holdings(clock)
        granting = Granting(self._store, clock, inbox)
        scheduler = Scheduler(self._store, holdings, self.start)
        circuits = Circuits(
            clock.monotonic, settings.circuit_failures, self._plan_of, self._show_circuit(tasks)
        )
        committer = Committer(
            self.id,
            self._store,
            self.catalog,
            self._dispatcher,
            self._tracing,
            clock,
            self.counters,
            bytes_max=settings.batch_bytes_max,
            partitions=holdings.for_starts,
            circuits=circuits,
        )
        relay = Relay(
            self._transport,
            clock,
            self.counters,
            tasks=tasks,
            inbox=inbox,
            envelopes=self._envelopes,
            timeout_s=settings.publish_timeout_s,
            unsettled_max=settings.unsettled_max,
        )
        signals = Signals(self._store, clock, inbox)
        intake = Intake(
            self._store,
            self._transport,
            self._edge,
            committer,
            self._dispatcher,
            self._tracing,
            clock,
            self.counters,
            self._topology,
            Pace(settings.batch_max, settings.pace_ms / 1000, settings.pace_busy_ms / 1000),
            tasks=tasks,
            inbox=inbox,
            relay=relay,
            holdings=holdings,
            signals=signals,
            envelopes=self._envelopes,
            granting=granting,
            circuits=circuits,
        )
        leases = Leases(
            self.id,
            self._store,
            self._transport,
            relay,
            committer,
            self._topology,
            clock,
            tasks=tasks,
            inbox=inbox,
            holdings=holdings,
            granting=granting,
            scheduler=scheduler,
            boundary=intake.boundary,
            lease_s=settings.lease_s,
            prefetch=settings.prefetch,
        )
        return _Running(inbox, holdings, intake, leases, relay, signals, granting, scheduler)

    def _plan_of(self, identity: Identity) -> Plan | None:
        registered = self.catalog.known(identity.definition, identity.version)
        return None if registered is None else registered.plan

    def _show_circuit(self, tasks: Tasks) -> Callable[[Circuit], None]:
        """Say in the table, for people, what became of a circuit."""

        async def keep(shown: CircuitWrite) -> None:
            try:
                await self._store.keep_circuit(self.id, shown)
            except StoreUnavailable as away:
                log.info("circuit of %s not shown: %s", shown.service, away)

        def changed(circuit: Circuit) -> None:
            closed = circuit.state is CircuitState.CLOSED
            log.log(
                logging.INFO if closed else logging.WARNING,
                "circuit of %s is %s",
                circuit.service,
                circuit.state,
            )
            shown = CircuitWrite(
                service=circuit.service,
                state=circuit.state.value,
                bad=circuit.bad(),
                looked_at=len(circuit.lately),
                pause_s=circuit.pause_s,
            )
            tasks.begin(keep(shown))

        return changed

    # --- what others ask -----------------------------------------------------------------------

    async def start(
        self,
        tenant: str,
        by: str,
        start: Start,
        *,
        trace: Trace | None = None,
        requested_by: str | None = None,
    ) -> StartAnswer | Refused:
        """Start a saga; resolves after its commit. The same key again gives the same saga.

        Refused: no such definition, an input that does not fit (`errors` names the fields), a key
        used with another input. Raises StoreUnavailable when the definition cannot be read.
        """
        work = await self._edge.start(tenant, by, start, trace, requested_by)
        if isinstance(work, Refused):
            return self._counted(work)
        result = await self._asked_for(work)
        assert isinstance(result, StartAnswer | Refused)
        return result

    async def submit(self, tenant: str, saga_id: SagaId, message: Input) -> Decision | Refused:
        """Give a saga a message; resolves after the commit. Works for any partition's saga."""
        work = ForSaga(saga_id=saga_id, message=message, tenant=tenant)
        result = await self._asked_for(work)
        assert isinstance(result, Decision | Refused)
        return result

    async def undo(
        self, tenant: str, by: str, asked: Undo, *, trace: Trace | None = None
    ) -> StartAnswer | Refused:
        """Undo a completed saga by a saga of its own; resolves after the commit of its start.

        Asked again it is the same undo saga. Raises StoreUnavailable.
        """
        work = await undo_of(self._store, self.catalog, tenant, by, asked, trace)
        if isinstance(work, Refused):
            return self._counted(work)
        result = await self._asked_for(work)
        assert isinstance(result, StartAnswer | Refused)
        return result

    async def decide(
        self, tenant: str, by: str, roles: frozenset[str], asked: Decide
    ) -> Decision | Refused:
        """Give a review a reviewer's decision; resolves after the commit. Raises StoreUnavailable.

        `by` and `roles` are the authenticated principal's.
        """
        work = await decision_of(self._store, self.catalog, tenant, by, roles, asked)
        if isinstance(work, Refused):
            return self._counted(work)
        result = await self._asked_for(work)
        assert isinstance(result, Decision | Refused)
        return result

    async def signal(
        self, tenant: str, by: str, asked: Signal
    ) -> Decision | SignalKept | SignalKnown | Refused:
        """Give a saga an event; resolves when it is recorded, or kept for a saga yet to come.

        Raises StoreUnavailable.
        """
        work = await self._edge.signal(tenant, by, asked)
        if isinstance(work, SignalKept):
            return work
        if isinstance(work, Refused):
            return self._counted(work)
        answer = answer_of(work, await self._asked_for(work))
        assert not isinstance(answer, StartAnswer | Replied)
        return answer

    async def _asked_for(self, work: Work) -> Result:
        """Join the next batch, once there is room in the queue for it."""
        try:
            async with asyncio.timeout(ROOM_TIMEOUT_S):
                await self._room.acquire()
        except TimeoutError:
            return self._counted(OVERLOADED)
        try:
            running = self._running
            if running is None or self._stop.is_set() or not running.holdings.partitions:
                return self._counted(NOT_RUNNING)
            work.done = asyncio.get_running_loop().create_future()
            self._asked.add(work.done)
            try:
                running.inbox.put(work)
                return await work.done
            finally:
                self._asked.discard(work.done)
        finally:
            self._room.release()

    def _counted(self, refused: Refused) -> Refused:
        self.counters.refused[refused.type.value] += 1
        return refused

    def is_ready(self) -> bool:
        """Whether work is taken in: broker connected, lease renewed lately."""
        running = self._running
        if running is None or self._stop.is_set() or running.holdings.ticked_at is None:
            return False
        since = self._clock.monotonic() - running.holdings.ticked_at
        return self._transport.is_up() and since < max(READY_TICKS, self._settings.lease_s)

    def stats(self) -> Stats:
        """Counters and sizes at this moment."""
        running, counters = self._running, self.counters
        holdings = running.holdings if running else None
        return Stats(
            orchestrator=self.id,
            partitions=holdings.partitions if holdings else 0,
            owned=tuple(sorted(holdings.consumed)) if holdings else (),
            waiting=len(running.inbox) if running else 0,
            unsettled=running.relay.unsettled if running else 0,
            lag_s=holdings.lag_s if holdings else 0.0,
            batches=counters.batches,
            messages=counters.messages,
            commands=counters.commands,
            envelopes=counters.envelopes,
            conflicts=counters.conflicts,
            doubts=counters.doubts,
            stuck=counters.stuck,
            republished=counters.republished,
            refused=dict(counters.refused),
            dead_lettered=dict(counters.dead_lettered),
            undeliverable=dict(counters.undeliverable),
        )
