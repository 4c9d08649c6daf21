"""Which partitions are ours, and what is due in them: one statement a tick, at least each second.

A partition is consumed only while its lease is surely ours by this process's own clock, counted
from before the renewal was asked for. Giving one up goes in this order: the batch is finished, the
consumer cancelled (what it had goes back to the queue), the lease released.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from amends_contracts.topology import Topology
from amends_orchestrator.engine.commit import Committer
from amends_orchestrator.engine.granting import Granting
from amends_orchestrator.engine.holdings import Holdings
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.ports import Clock, Store, StoreUnavailable, Tick, Transport
from amends_orchestrator.engine.relay import Relay
from amends_orchestrator.engine.scheduling import Scheduler
from amends_orchestrator.engine.tasks import Tasks

log = logging.getLogger(__name__)

DUE_MAX: Final = 512
ORPHANS_MAX: Final = 4
BROKER_AWAY_LEASES: Final = 3
"""After so many leases without the broker, partitions are given up."""


class Leases:
    """Renews, takes, gives up; wakes sagas; takes over outbox rows of the dead."""

    def __init__(
        self,
        orchestrator: UUID,
        store: Store,
        transport: Transport,
        relay: Relay,
        committer: Committer,
        topology: Topology,
        clock: Clock,
        *,
        tasks: Tasks,
        inbox: Inbox,
        holdings: Holdings,
        granting: Granting,
        scheduler: Scheduler,
        boundary: asyncio.Lock,
        lease_s: float,
        prefetch: int,
    ) -> None:
        self._orchestrator = orchestrator
        self._store = store
        self._transport = transport
        self._relay = relay
        self._committer = committer
        self._topology = topology
        self._clock = clock
        self._tasks = tasks
        self._boundary = boundary
        self._lease_s = lease_s
        self._prefetch = prefetch
        self._inbox = inbox
        self._holdings = holdings
        self._granting = granting
        self._scheduler = scheduler
        self._owning = asyncio.Lock()
        """One at a time changes what is consumed: a tick, a lapse, the end."""
        self._lapse: asyncio.TimerHandle | None = None
        self._latest: Tick | None = None
        self._ticked = asyncio.Event()
        self._broker_seen_at = clock.monotonic()
        self.claiming = True
        """False while draining: nothing is taken any more."""

    async def run(self) -> None:
        """Renew the lease and wake sagas until cancelled; waits for the database alone."""
        while True:
            self._holdings.looking()
            await self._renew()
            await self._holdings.next_look()

    async def follow(self) -> None:
        """Consume what the lease says, until cancelled; the broker may make this wait."""
        while True:
            await self._ticked.wait()
            self._ticked.clear()
            tick = self._latest
            assert tick is not None
            await self._own(tick)
            try:
                await self._outbox()
            except StoreUnavailable as away:
                self._committer.doubted = True
                log.warning("outbox not looked at: %s", away)

    async def give_up_all(self) -> None:
        """Consume nothing any more. The last batch is finished first."""
        async with self._owning, self._boundary:
            self._stop_lapse()
            await self._transport.cancel(self._topology.start)
            await self._transport.cancel(self._topology.control)
            await self._transport.cancel(self._topology.dead_commands)
            await self._give_up(sorted(self._holdings.consumed))

    # --- one tick ------------------------------------------------------------------------------

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        if self._transport.is_up():
            self._broker_seen_at = asked_at
        # Who cannot reach the broker for long leaves the partitions to those who can.
        claim = (
            self.claiming and asked_at - self._broker_seen_at < BROKER_AWAY_LEASES * self._lease_s
        )
        try:
            tick = await self._store.tick(
                self._orchestrator, lease_s=self._lease_s, claim=claim, limit=DUE_MAX
            )
            if self.claiming and not claim and tick.owned:
                log.warning("no broker: partitions %s given up", sorted(tick.owned))
                await self._store.release(self._orchestrator, sorted(tick.owned))
                tick = replace(tick, owned=frozenset(), due=())
        except StoreUnavailable as away:
            log.warning("no tick: %s", away)
            return
        self._renewed(asked_at)
        self._holdings.partitions = tick.partitions
        self._wake(tick)
        if tick.permits:
            self._granting.look()
        if tick.schedules:
            self._scheduler.look()
        self._latest = tick
        self._ticked.set()

    def _renewed(self, asked_at: float) -> None:
        self._stop_lapse()
        self._holdings.ticked_at = asked_at
        left = asked_at + self._lease_s - self._clock.monotonic()
        loop = asyncio.get_running_loop()
        self._lapse = loop.call_later(max(0.0, left), self._lapsed)

    def _stop_lapse(self) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None

    def _lapsed(self) -> None:
        """The lease may be another's now: stop consuming at once, whatever batch is under way."""
        if self._holdings.consumed:
            log.warning(
                "lease not renewed in time: partitions %s let go", sorted(self._holdings.consumed)
            )
            gone, self._holdings.consumed = sorted(self._holdings.consumed), set()
            self._tasks.begin(self._let_go(gone))

    async def _let_go(self, partitions: Sequence[int]) -> None:
        async with self._owning:
            await self._cancel([p for p in partitions if p not in self._holdings.consumed])

    async def _own(self, tick: Tick) -> None:
        """Consume what is ours and fair; give up what is over the share; let go what is lost."""
        async with self._owning:
            if self.claiming:
                await self._change(tick)

    async def _change(self, tick: Tick) -> None:
        await self._transport.consume(self._topology.control, self._prefetch)
        await self._transport.consume(self._topology.dead_commands, self._prefetch)
        lost = sorted(self._holdings.consumed - tick.owned)
        if lost:
            await self._cancel(lost)
            self._holdings.consumed.difference_update(lost)
        share = -(-tick.partitions // max(1, tick.live))
        over = sorted(tick.owned)[share:]
        if over:
            async with self._boundary:
                await self._give_up(over)
        for partition in sorted(tick.owned.difference(over)):
            queue = self._topology.partition_queue(partition)
            await self._transport.consume(queue, self._prefetch)
            self._holdings.consumed.add(partition)
        if self._holdings.consumed:
            await self._transport.consume(self._topology.start, self._prefetch)
        else:
            await self._transport.cancel(self._topology.start)

    async def _give_up(self, partitions: Sequence[int]) -> None:
        await self._cancel(partitions)
        self._holdings.consumed.difference_update(partitions)
        try:
            await self._store.release(self._orchestrator, partitions)
        except StoreUnavailable as away:
            log.warning("partitions %s run out by themselves: %s", partitions, away)

    async def _cancel(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            await self._transport.cancel(self._topology.partition_queue(partition))

    def _wake(self, tick: Tick) -> None:
        for due in tick.due:
            self._inbox.wake(due)
        if tick.due:
            self._holdings.lag_s = (tick.now - tick.due[0].wake_at).total_seconds()
        if len(tick.due) >= DUE_MAX:
            self._holdings.look_in(0)
        elif tick.next_wake is not None:
            self._holdings.note_wake(tick.now, tick.next_wake)

    async def _outbox(self) -> None:
        """Settle what no batch has settled, and take over what nobody publishes."""
        settlements = self._relay.settlements()
        if settlements.settled or settlements.rewritten:
            async with self._boundary:
                settlements = self._relay.settlements()
                await self._store.settle_outbox(
                    self._orchestrator, settlements.settled, settlements.rewritten
                )
                self._relay.settle(settlements)
        orphans = await self._store.claim_outbox(self._orchestrator, ORPHANS_MAX)
        self._relay.adopt(orphans)
        if len(orphans) == ORPHANS_MAX:
            self._holdings.look_in(0)
        if self._committer.doubted:
            async with self._boundary:
                known = self._relay.known()
                self._relay.adopt(await self._store.stray_outbox(self._orchestrator, known))
                self._committer.doubted = False
