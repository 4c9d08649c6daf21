"""The runtime of one service: consumes its two lanes, answers every command, drains and stops.

A delivery is acknowledged when its reply is confirmed or returned by the broker, or when an intent
or a stored reply will bring it. Deliveries are worked on at once; how many is bounded by prefetch,
and by slots behind it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import WireError, decode_command
from amends_contracts.messages import Command
from amends_contracts.topology import Topology
from amends_participants.app import Participant
from amends_participants.barrier import store
from amends_participants.runtime.answering import Answering, problem_type
from amends_participants.runtime.database import Database
from amends_participants.runtime.outside import Job
from amends_participants.runtime.publishing import publish_surely
from amends_participants.runtime.replies import reply_message
from amends_participants.runtime.scope import Scope, clock
from amends_participants.runtime.settings import ParticipantSettings
from amends_participants.runtime.upkeep import Upkeep
from amends_participants.trace import NoTracing, Tracing
from amends_participants.transport import Delivery, ParticipantTransport

log = logging.getLogger(__name__)

TRIES_MAX: Final = 3
"""Of a delivery that raises where nothing should; then it is dead-lettered with the reason."""
ARRIVED_MAX: Final = 256
PREFETCH_PER_SLOT: Final = 2
LEAVE_TIMEOUT_S: Final = 5


class Runtime:
    """One service in this process: `run` serves until `stop` is called."""

    def __init__(
        self,
        app: Participant,
        transport: ParticipantTransport,
        settings: ParticipantSettings,
        *,
        tracing: Tracing | None = None,
        database: Database | None = None,
        now: Callable[[], datetime] = clock,
    ) -> None:
        app.check()
        self._transport = transport
        self._settings = settings
        self._tracing: Tracing = tracing or NoTracing()
        self._owns_database = database is None
        self.scope = Scope(
            app=app,
            database=database or Database.connect(settings, app.service),
            topology=Topology(settings.prefix),
            settings=settings,
            instance=uuid4(),
            now=now,
        )
        self._tracing.watch(self.scope.database.engine)
        self._queues = self.scope.topology.service_queues(app.service)
        self._answering = Answering(
            self.scope, self._tracing, self._publish, self._say, self._crowded
        )
        self._upkeep = Upkeep(self.scope, transport, self._answering.active, self._revive)
        self.tasks: set[asyncio.Task[None]] = set()
        """What is at work now."""
        self._stopping = asyncio.Event()
        self._running = False

    # --- life ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until `stop`: then finish what is at work, publish, and leave."""
        for hook in self.scope.app.start_hooks:
            await hook()
        try:
            await self._transport.open(self._queues)
            await self._upkeep.begin()
            await self._serve()
        finally:
            await self._leave()

    def stop(self) -> None:
        """Ask `run` to drain and return."""
        self._stopping.set()

    def is_ready(self) -> bool:
        """Whether commands are being answered now."""
        return self._running and self._transport.is_connected() and self._upkeep.is_alive()

    async def _serve(self) -> None:
        upkeep = asyncio.create_task(self._upkeep.run())
        receiving = asyncio.create_task(self._receive())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            self._running = True
            for queue in self._queues:
                await self._consume(queue.name)
            names = ", ".join(r.spec.name for r in self.scope.app.registered())
            log.info("%s is ready: %s", self.scope.service, names)
            await asyncio.wait({upkeep, receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._running = False
            await self._drain(receiving)
            await _ended(upkeep, stopping)
        for task in (upkeep, receiving):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _drain(self, receiving: asyncio.Task[None]) -> None:
        """Stop consuming, let what is at work finish for a while, cancel the rest."""
        for queue in self._queues:
            await self._transport.cancel(queue.name)
        await _ended(receiving)
        if self.tasks:
            log.info("%s: finishing %d commands", self.scope.service, len(self.tasks))
            await asyncio.wait(self.tasks, timeout=self._settings.drain_s)
        await _ended(*self.tasks)
        await self._answering.close()

    async def _leave(self) -> None:
        """Give up the lease, so that others take at once what is left; close everything."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self.scope.database.transact(
                    lambda tx: store.end_lease(tx, self.scope.instance)
                )
        await self._transport.close()
        for hook in self.scope.app.stop_hooks:
            await hook()
        if self._owns_database:
            await self.scope.database.close()

    async def sweep(self) -> None:
        """Look for what dead instances left and for replies that nobody confirmed, once."""
        await self._upkeep.sweep()

    # --- receiving -----------------------------------------------------------------------------

    async def _consume(self, queue: str) -> None:
        await self._transport.consume(queue, self._settings.concurrency * PREFETCH_PER_SLOT)

    async def _crowded(self, undo: bool, crowded: bool) -> None:
        """Jobs of this lane wait here for a slot: leave further ones to other instances."""
        queue = self._queues[1 if undo else 0].name
        if not self._running:
            return
        if crowded:
            await self._transport.cancel(queue)
        else:
            await self._consume(queue)

    async def _receive(self) -> None:
        while True:
            for delivery in await self._transport.arrived(ARRIVED_MAX, None):
                self._spawn(self.deal_with(delivery))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def deal_with(self, delivery: Delivery) -> None:
        """Answer one delivery, whatever it is. Nothing but a cancellation leaves here."""
        try:
            command = decode_command(delivery.message)
        except WireError as error:
            log.warning("rejected a message of %s: %s", delivery.queue, error.reason)
            await self._transport.reject(delivery.tag, error.reason)
            return
        failure = ""
        for n in range(1, TRIES_MAX + 1):
            try:
                await self._answer(delivery, command)
                return
            except Exception as error:
                log.exception("%s: could not answer %s", self.scope.service, command.message_id)
                failure = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.2 * n)
        await self._transport.reject(delivery.tag, failure)

    async def _answer(self, delivery: Delivery, command: Command) -> None:
        async def acknowledge() -> None:
            await self._transport.acknowledge([delivery.tag])

        with self._tracing.start(command) as span:
            answer = await self._answering.answer(command, span, acknowledge)
            if answer is None:
                return
            span.ended(answer.outcome, problem_type(answer))
            topology = self.scope.topology
            await self._publish([reply_message(command, answer, topology, trace=span.trace)])
        await acknowledge()

    async def _revive(self, job: Job) -> None:
        async def settle() -> None:
            try:
                await self._answering.revive(job)
            except Exception:
                log.exception("could not settle %s; it is tried again", job.key)

        self._spawn(settle())

    async def _publish(self, messages: Sequence[AmqpMessage]) -> None:
        await publish_surely(self._transport, messages, self._settings.publish_timeout_s)

    async def _say(self, messages: Sequence[AmqpMessage]) -> None:
        await self._transport.publish(messages, self._settings.publish_timeout_s)


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel these and wait for them; what they raised is not asked here."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
