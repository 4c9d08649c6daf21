"""The runtime of one service: consumes its two lanes, answers every command, drains and stops.

A delivery is acknowledged when its reply is confirmed or returned by the broker, or when an intent
or a stored reply will bring it. Deliveries are worked on at once; how many is bounded by prefetch,
and by slots behind it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import WireError, decode_command
from amends_contracts.drill import is_drill
from amends_contracts.messages import Effect
from amends_contracts.topology import Topology
from amends_participants.app import Participant
from amends_participants.barrier import store
from amends_participants.barrier.rules import Answer
from amends_participants.runtime.answering import Answering, problem_type
from amends_participants.runtime.database import Database
from amends_participants.runtime.drilling import Drilling
from amends_participants.runtime.outside import Job
from amends_participants.runtime.publishing import publish_surely
from amends_participants.runtime.replies import reply_message
from amends_participants.runtime.scope import Scope, clock
from amends_participants.runtime.settings import ParticipantSettings
from amends_participants.runtime.taken import Taken
from amends_participants.runtime.upkeep import Upkeep
from amends_participants.trace import NoTracing, Tracing
from amends_participants.transport import Delivery, ParticipantTransport

log = logging.getLogger(__name__)

TRIES_MAX: Final = 3
"""Of a delivery that raises where nothing should; then it is dead-lettered with the reason."""
ARRIVED_MAX: Final = 256
PREFETCH_TIMES: Final = 2
"""Of what can be at work, or in a group: as much again waits here for its turn."""
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
            drilling=Drilling(settings.drill_secret, exits=settings.drill_exit),
        )
        self._tracing.watch(self.scope.database.engine)
        self._queues = self.scope.topology.service_queues(app.service)
        self._answering = Answering(
            self.scope, self._tracing, self._publish, self._say, self._crowded, self
        )
        self._upkeep = Upkeep(self.scope, transport, self._answering.active, self._revive)
        self._prefetch = PREFETCH_TIMES * settings.concurrency
        if all(r.spec.effect is Effect.TRANSACTIONAL for r in app.registered()):
            self._prefetch = max(self._prefetch, PREFETCH_TIMES * settings.group_max)
        self._crowded_lanes: set[bool] = set()
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_s):
                    while self.tasks:  # groups begin further ones
                        await asyncio.wait(self.tasks)
        await _ended(*self.tasks)
        self._answering.close()

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
        await self._transport.consume(queue, self._prefetch)

    async def _crowded(self, undo: bool, crowded: bool) -> None:
        """Jobs of this lane wait here for a slot: leave further ones to other instances."""
        (self._crowded_lanes.add if crowded else self._crowded_lanes.discard)(undo)
        queue = self._queues[1 if undo else 0].name
        if not self._running:
            return
        if crowded:
            await self._transport.cancel(queue)
        else:
            await self._consume(queue)

    def slow(self) -> None:
        """Take no more in advance than what can be at work: others may have time for it."""
        wanted = PREFETCH_TIMES * self._settings.concurrency
        if wanted < self._prefetch:
            self._prefetch = wanted
            self.begin(self._consume_anew())

    async def _consume_anew(self) -> None:
        for undo, queue in zip((False, True), self._queues, strict=True):
            await self._transport.cancel(queue.name)
            if self._running and undo not in self._crowded_lanes:
                await self._consume(queue.name)

    async def _receive(self) -> None:
        while True:
            for delivery in await self._transport.arrived(ARRIVED_MAX, None):
                self.take(delivery)

    def take(self, delivery: Delivery) -> None:
        """Begin with one delivery, whatever it is."""
        try:
            command = decode_command(delivery.message)
        except WireError as error:
            log.warning("rejected a message of %s: %s", delivery.queue, error.reason)
            self.begin(self._transport.reject(delivery.tag, error.reason))
            return
        if is_drill(command):
            command = self.scope.drilling.admitted(command)
        taken = Taken(delivery, command, self._tracing)
        if not self._answering.group(taken):
            self.alone(taken)

    def begin(
        self, work: Coroutine[Any, Any, None], context: Context | None = None
    ) -> asyncio.Task[None]:
        """Start a task that is waited for, and cancelled after a while, when the runtime stops."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def alone(self, taken: Taken) -> asyncio.Task[None]:
        """Answer one delivery by itself."""
        task = self.begin(self._deal_with(taken), taken.context)
        task.add_done_callback(lambda _: taken.end())
        return task

    def answered(self, answers: Sequence[tuple[Taken, Answer]]) -> None:
        """These are committed together, and told together."""
        if answers:
            self.begin(self._reply(answers))

    async def _reply(self, answers: Sequence[tuple[Taken, Answer]]) -> None:
        """Publish all replies, then acknowledge all; if that fails, each is told its stored one."""
        try:
            await self._publish([self._reply_to(taken, answer) for taken, answer in answers])
            await self._transport.acknowledge([taken.delivery.tag for taken, _ in answers])
        except Exception:
            log.exception("%s: could not reply together", self.scope.service)
            for taken, _ in answers:
                self.alone(taken)
            return
        except asyncio.CancelledError:
            _end(answers)
            raise
        _end(answers)

    def _reply_to(self, taken: Taken, answer: Answer) -> AmqpMessage:
        taken.span.ended(answer.outcome, problem_type(answer))
        topology = self.scope.topology
        return reply_message(taken.command, answer, topology, trace=taken.span.trace)

    async def _deal_with(self, taken: Taken) -> None:
        """Answer one delivery. Nothing but a cancellation leaves here."""
        failure = ""
        for n in range(1, TRIES_MAX + 1):
            try:
                await self._answer(taken)
                return
            except Exception as error:
                message_id = taken.command.message_id
                log.exception("%s: could not answer %s", self.scope.service, message_id)
                failure = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.2 * n)
        await self._transport.reject(taken.delivery.tag, failure)

    async def _answer(self, taken: Taken) -> None:
        async def acknowledge() -> None:
            await self._transport.acknowledge([taken.delivery.tag])

        answer = await self._answering.answer(taken.command, taken.span, acknowledge)
        if answer is not None:
            await self._publish([self._reply_to(taken, answer)])
            await acknowledge()

    async def _revive(self, job: Job) -> None:
        async def settle() -> None:
            try:
                await self._answering.revive(job)
            except Exception:
                log.exception("could not settle %s; it is tried again", job.key)

        self.begin(settle())

    async def _publish(self, messages: Sequence[AmqpMessage]) -> None:
        await publish_surely(self._transport, messages, self._settings.publish_timeout_s)

    async def _say(self, messages: Sequence[AmqpMessage]) -> None:
        await self._transport.publish(messages, self._settings.publish_timeout_s)


def _end(answers: Sequence[tuple[Taken, Answer]]) -> None:
    for taken, _ in answers:
        taken.end()


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel these and wait for them; what they raised is not asked here."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
