"""The runtime of one service: consumes its two lanes, answers every command, drains and stops.

A delivery is acknowledged when its reply is confirmed or returned by the broker, or when an intent
or a stored reply will bring it; an envelope, when that holds of every command in it. What arrives
is worked on at once; how much is bounded by prefetch, and by slots behind it.

An envelope that comes again was perhaps in the hands of a process that one of its commands has
ended: these are begun one after the other, each marked before, until it is known which.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from amends_amqp.dead_letters import rejected
from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    BATCH_MEMBERS_MAX,
    BadMember,
    WireError,
    decode_batch,
    decode_command,
    is_batch,
)
from amends_contracts.drill import is_drill
from amends_contracts.messages import Effect
from amends_contracts.topology import Queue, Topology
from amends_participants.app import Participant
from amends_participants.barrier import store
from amends_participants.barrier.rules import Answer
from amends_participants.runtime.answering import Answering, problem_type
from amends_participants.runtime.database import Database
from amends_participants.runtime.drilling import Drilling
from amends_participants.runtime.outside import Job
from amends_participants.runtime.publishing import publish_surely
from amends_participants.runtime.replies import packed, reply_message
from amends_participants.runtime.scope import Scope, clock
from amends_participants.runtime.settings import ParticipantSettings
from amends_participants.runtime.taken import Hold, Taken, settled
from amends_participants.runtime.upkeep import Upkeep
from amends_participants.trace import NoTracing, Tracing
from amends_participants.transport import Delivery, ParticipantTransport

log = logging.getLogger(__name__)

TRIES_MAX: Final = 3
"""Of a delivery that raises where nothing should; then it is dead-lettered with the reason."""
ARRIVED_MAX: Final = 256
STARTED_MAX: Final = 3
"""Times that a command of an envelope is begun by itself and ends its process; then it is
dead-lettered."""
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
        topology, service = self.scope.topology, app.service
        self._batches = topology.batch_queues(service) if settings.envelopes else ()
        self._queues = (*topology.service_queues(service), *self._batches)
        self._lanes = {False: self._queues[::2], True: self._queues[1::2]}
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
        self._marking = asyncio.Lock()
        """Held while a marked command is at work: a process that ends has ended by one of them."""
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
                await self._consume(queue)
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

    async def _consume(self, queue: Queue) -> None:
        prefetch = self._prefetch
        if queue in self._batches:
            prefetch = 2 + prefetch // BATCH_MEMBERS_MAX
        await self._transport.consume(queue.name, prefetch)

    async def _crowded(self, undo: bool, crowded: bool) -> None:
        """Jobs of this lane wait here for a slot: leave further ones to other instances."""
        (self._crowded_lanes.add if crowded else self._crowded_lanes.discard)(undo)
        if not self._running:
            return
        for queue in self._lanes[undo]:
            if crowded:
                await self._transport.cancel(queue.name)
            else:
                await self._consume(queue)

    def slow(self) -> None:
        """Take no more in advance than what can be at work: others may have time for it."""
        wanted = PREFETCH_TIMES * self._settings.concurrency
        if wanted < self._prefetch:
            self._prefetch = wanted
            self.begin(self._consume_anew())

    async def _consume_anew(self) -> None:
        for undo, queues in self._lanes.items():
            for queue in queues:
                await self._transport.cancel(queue.name)
                if self._running and undo not in self._crowded_lanes:
                    await self._consume(queue)

    async def _receive(self) -> None:
        while True:
            for delivery in await self._transport.arrived(ARRIVED_MAX, None):
                self.take(delivery)

    def take(self, delivery: Delivery) -> None:
        """Begin with one delivery, whatever it is."""
        message = delivery.message
        try:
            if is_batch(message):
                self._take_all(delivery, decode_batch(message, self.scope.topology))
            else:
                self._put(self._taken(Hold(delivery.tag), message))
        except WireError as error:
            log.warning("rejected a message of %s: %s", delivery.queue, error.reason)
            self.begin(self._transport.reject(delivery.tag, error.reason))

    def _taken(self, hold: Hold, message: AmqpMessage) -> Taken:
        """A command in hand, with the order of a drill if that is for us. Raises WireError."""
        command = decode_command(message)
        if is_drill(command):
            command = self.scope.drilling.admitted(command)
        return Taken(hold, message, command, self._tracing)

    def _take_all(self, delivery: Delivery, members: Sequence[AmqpMessage | BadMember]) -> None:
        """Begin with what is in an envelope; what is bad in it goes to the dead letters alone."""
        hold = Hold(delivery.tag, members=len(members))
        taken: list[Taken] = []
        for member in members:
            if isinstance(member, BadMember):
                letter = member.letter(delivery.message)
                self.begin(self._bury(hold.settle, letter, member.reason))
                continue
            try:
                taken.append(self._taken(hold, member))
            except WireError as error:
                self.begin(self._bury(hold.settle, member, error.reason))
        if delivery.redelivered:
            self.begin(self._one_by_one(taken))
        else:
            for each in taken:
                self._put(each)

    def _put(self, taken: Taken) -> None:
        if not self._answering.group(taken):
            self.alone(taken)

    async def _one_by_one(self, members: Sequence[Taken]) -> None:
        """Each marked before it begins; what is outside the database has its intents for that."""
        for n, taken in enumerate(members):
            if self._answering.in_database(taken.command) is None:
                self.alone(taken)
                continue
            try:
                async with self._marking:
                    await self._marked(taken)
            except Exception:
                log.exception("%s: could not begin one by one", self.scope.service)
                for rest in members[n:]:
                    if not rest.is_settled:
                        self.alone(rest)
                return

    async def _marked(self, taken: Taken) -> None:
        """A process that stops in order, and leaves this undone, was not ended by it."""
        key, database = taken.command.key, self.scope.database
        assert key is not None
        service = self.scope.service
        try:
            times = await database.transact(lambda tx: store.mark_started(tx, key, service))
            if times > STARTED_MAX:
                reason = f"the process ended {STARTED_MAX} times while it was at work on this alone"
                await self._bury(taken.settle, taken.message, reason)
                taken.end()
            else:
                await asyncio.wait({self.alone(taken)})
            await database.transact(lambda tx: store.clear_started(tx, key))
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await database.transact(lambda tx: store.clear_started(tx, key))
            raise

    async def _bury(
        self, settle: Callable[[], list[Any]], message: AmqpMessage, reason: str
    ) -> None:
        """Dead-letter one member of an envelope; it counts as settled once that is confirmed."""
        log.warning("%s: dead-lettered %s: %s", self.scope.service, message.message_id, reason)
        await self._publish([rejected(message, self.scope.topology.dead, reason)])
        await self._transport.acknowledge(settle())

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
            replies = [self._reply_to(taken, answer) for taken, answer in answers]
            if self._settings.envelopes:
                replies = packed(replies, self.scope.topology)
            await self._publish(replies)
            await self._transport.acknowledge(settled(taken for taken, _ in answers))
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
        if taken.hold.is_envelope:
            await self._bury(taken.settle, taken.message, failure)
        else:
            await self._transport.reject(taken.hold.tag, failure)

    async def _answer(self, taken: Taken) -> None:
        async def acknowledge() -> None:
            await self._transport.acknowledge(taken.settle())

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
