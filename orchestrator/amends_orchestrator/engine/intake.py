"""The one loop of an orchestrator: what has arrived is a batch, decided and committed as a whole.

No linger and no minimum: a lone message goes at once, a flood makes big batches. Between the
starts of two batches lies a least time, longer while messages come faster than one at a time: what
a batch costs beside its messages is then paid less often. Intake stops while too many outbox rows
are not confirmed: what cannot be published need not be decided.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from amends_amqp.dead_letters import rejected
from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag, PublishResult
from amends_contracts.codec import BadMember, is_batch
from amends_contracts.topology import Topology
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import ReplyReceived, Woke
from amends_orchestrator.engine.circuits import Circuits
from amends_orchestrator.engine.commit import Committer, Durable, Settlements
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.envelopes import Envelopes
from amends_orchestrator.engine.granting import Granting
from amends_orchestrator.engine.holdings import Holdings
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.ports import (
    Clock,
    Store,
    StoreUnavailable,
    Transport,
)
from amends_orchestrator.engine.reading import Reading
from amends_orchestrator.engine.relay import Relay
from amends_orchestrator.engine.signals import Signals
from amends_orchestrator.engine.tasks import Tasks
from amends_orchestrator.engine.tracing import Tracing
from amends_orchestrator.engine.work import (
    Answer,
    AnswerTo,
    ForSaga,
    Handle,
    Result,
    Work,
    answer_of,
)

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 10.0
DEAD_AGAIN_S = 1.0
AWAY_S = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """Limits of the loop."""

    batch_max: int
    between_s: float
    busy_s: float

    def after(self, count: int, between_s: float) -> float:
        """Least time from the start of a batch of `count`, `between_s` after the one before.

        It doubles as long as messages arrive together, and ends with the first that came alone.
        """
        return (
            self.between_s if count <= 1 else max(self.between_s, min(self.busy_s, between_s * 2))
        )


class Intake:
    """Collects work, has it committed, and tells everybody what came of it."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        edge: Edge,
        committer: Committer,
        dispatcher: Dispatcher,
        tracing: Tracing,
        clock: Clock,
        counters: Counters,
        topology: Topology,
        pace: Pace,
        *,
        tasks: Tasks,
        inbox: Inbox,
        relay: Relay,
        holdings: Holdings,
        signals: Signals,
        envelopes: Envelopes,
        granting: Granting,
        circuits: Circuits,
    ) -> None:
        self._store = store
        self._transport = transport
        self._granting = granting
        self._circuits = circuits
        self._edge = edge
        self._committer = committer
        self._dispatcher = dispatcher
        self._tracing = tracing
        self._clock = clock
        self._counters = counters
        self._topology = topology
        self._pace = pace
        self._tasks = tasks
        self._inbox = inbox
        self._relay = relay
        self._holdings = holdings
        self._signals = signals
        self._envelopes = envelopes
        self._arrival: asyncio.Task[Sequence[Delivery]] | None = None
        self._unread: deque[Delivery] = deque()
        """What has arrived and waits for those before it."""
        self._brought: deque[Work] = deque()
        """What deliveries that are read bring, for this batch and for later ones."""
        self.boundary = asyncio.Lock()
        """Held while a batch is under way; who holds it has no batch in hand."""
        self.idle = asyncio.Event()
        """Nothing is in hand and nothing waits."""

    async def run(self) -> None:
        """Batch after batch, until cancelled."""
        between_s = self._pace.between_s
        try:
            while True:
                await self._relay.room()
                await self._something()
                self.idle.clear()
                started = self._clock.monotonic()
                async with self.boundary:
                    count = await self._batch()
                between_s = self._pace.after(count, between_s)
                rest = between_s - (self._clock.monotonic() - started)
                if rest > 0:
                    await self._clock.sleep(rest)
        finally:
            if self._arrival is not None:
                self._arrival.cancel()

    async def _something(self) -> None:
        """Wait for a delivery or for work put in."""
        if self._arrival is None:
            limit = self._pace.batch_max
            self._arrival = asyncio.create_task(self._transport.arrived(limit, None))
        if self._inbox or self._unread or self._brought or self._arrival.done():
            return
        self.idle.set()
        news = asyncio.create_task(self._inbox.news())
        try:
            await asyncio.wait({self._arrival, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    async def _batch(self) -> int:
        """At most `batch_max` pieces, of which a quarter is for the inbox if it has as many."""
        if not self._unread and self._arrival is not None and self._arrival.done():
            self._unread.extend(self._arrival.result())
            self._arrival = None
        await self._transport.acknowledge(await self._read())
        most = self._pace.batch_max
        works = self._inbox.take(max(1, most // 4, most - len(self._brought)))
        left = min(most - len(works), len(self._brought))
        works += [self._brought.popleft() for _ in range(left)]
        if works:
            await self._commit(works)
        return len(works)

    async def _commit(self, works: Sequence[Work]) -> None:
        tags: list[DeliveryTag] = []

        def done(durable: Durable) -> None:
            tags.extend(self._committed(durable))

        await self._committer.run(works, self._relay.settlements(), done)
        await self._transport.acknowledge(tags)

    def _committed(self, durable: Durable) -> list[DeliveryTag]:
        """Publish, and tell everybody. Nothing here waits: the batch is over."""
        assembled = durable.assembled
        self._counters.batches += 1
        self._counters.messages += len(assembled.results)
        self._counters.commands += len(assembled.messages)
        if (batch := assembled.batch) is not None:
            self._relay.settle(Settlements(batch.outbox_settled, batch.outbox_rewritten))
            if batch.permits:
                self._granting.look()
        if assembled.messages:
            self._relay.accept(durable.outbox_id, assembled.messages, published=durable.found)
        for message, decision in assembled.decided:
            identity = decision.saga.identity
            self._tracing.decided(identity, message, decision, assembled.now)
            if isinstance(message, Woke):
                self._envelopes.timed_out(identity.saga_id, decision.rows)
            self._circuits.decided(message, decision)
        tags: list[DeliveryTag] = []
        for work, result in assembled.results:
            self._tell(work, result)
            if isinstance(work, ForSaga) and isinstance(work.message, ReplyReceived):
                self._envelopes.answered(work.saga_id, work.message)
            if work.handle is not None:
                tags += _over(work.handle)
            self._inbox.looked_at(work)
        self._inbox.put_back(assembled.leftover)
        if assembled.awaiting:
            self._tasks.begin(self._signals.started(assembled.awaiting))
        if assembled.rearm:
            self._tasks.begin(self._quietly(partial(self._store.rearm, assembled.rearm)))
        if assembled.earliest_wake is not None:
            self._holdings.note_wake(assembled.now, assembled.earliest_wake)
        return tags

    def _tell(self, work: Work, result: Result) -> None:
        if isinstance(result, Refused):
            reason = "duplicate" if result.duplicate else result.type.value
            self._counters.refused[reason] += 1
        if work.done is not None and not work.done.done():
            work.done.set_result(result)
        if work.answer_to is not None:
            self._answer(work.answer_to, answer_of(work, result))

    def _answer(self, to: AnswerTo, answer: Answer) -> None:
        """Not through the outbox: a client that hears nothing asks again under the same key."""
        message = self._dispatcher.answer(to, answer)
        if message is not None:
            self._tasks.begin(self._publish_answer(message))

    async def _publish_answer(self, message: AmqpMessage) -> None:
        await self._transport.publish([message], ANSWER_TIMEOUT_S)

    # --- deliveries ----------------------------------------------------------------------------

    async def _read(self) -> list[DeliveryTag]:
        """Read as many deliveries as fill a batch; the tags of those that are over already."""
        over: list[DeliveryTag] = []
        while self._unread and len(self._brought) < self._pace.batch_max:
            delivery = self._unread.popleft()
            reading = await self._until_read(delivery)
            self._brought += reading.works
            if self._reacted(delivery, reading):
                over.append(delivery.tag)
            if is_batch(delivery.message):
                await asyncio.sleep(0)  # it was long: others have their turn
        return over

    async def _until_read(self, delivery: Delivery) -> Reading:
        while True:
            try:
                return await self._edge.read(delivery)
            except StoreUnavailable as away:
                log.warning("the database is away: %s", away)
                await self._clock.sleep(AWAY_S)

    def _reacted(self, delivery: Delivery, reading: Reading) -> bool:
        """Refusals, dead letters, answers and hellos of a reading; whether it is over."""
        for reason in reading.refused:
            self._counters.refused[reason] += 1
        for member in reading.dead_members:
            self._counters.dead_lettered[_kind(member.reason)] += 1
            log.warning("%s: dead-lettered: %s", delivery.queue, member.reason)
            self._tasks.begin(self._bury(delivery, member, reading.handle))
        if reading.answer_to is not None and reading.answer is not None:
            self._answer(reading.answer_to, reading.answer)
        if reading.dead is not None:
            self._counters.dead_lettered[_kind(reading.dead)] += 1
            log.warning("%s: dead-lettered: %s", delivery.queue, reading.dead)
            self._tasks.begin(self._transport.reject(delivery.tag, reading.dead))
            return False
        if reading.hello is not None:
            self._edge.learn(reading.hello)
            self._envelopes.heard(reading.hello)
            self._circuits.heard(reading.hello.service)
            self._tasks.begin(self._quietly(partial(self._store.keep_hello, reading.hello)))
        return not reading.works and not reading.dead_members

    async def _bury(self, delivery: Delivery, member: BadMember, handle: Handle | None) -> None:
        """Dead-letter a member alone, or a reply that was one; its delivery is held until then."""
        assert handle is not None, "what has dead members is held"
        letter = member.message or member.letter(delivery.message)
        dead = rejected(letter, self._topology.dead, member.reason)
        while True:
            (result,) = await self._transport.publish([dead], ANSWER_TIMEOUT_S)
            if result is not PublishResult.UNKNOWN:
                break
            await self._clock.sleep(DEAD_AGAIN_S)
        await self._transport.acknowledge(_over(handle))

    async def _quietly(self, call: Callable[[], Awaitable[None]]) -> None:
        """A write that is a hint, or is repeated by itself: the database may be away."""
        try:
            await call()
        except StoreUnavailable as away:
            log.info("skipped: %s", away)


def _over(handle: Handle) -> list[DeliveryTag]:
    handle.left -= 1
    return [handle.tag] if handle.left == 0 else []


def _kind(reason: str) -> str:
    """What of a reason may be counted: not what a stranger wrote into the message."""
    return _STRANGERS.split(reason, maxsplit=1)[0].strip()[:60]


_STRANGERS: Final = re.compile(r"[,:/'\"]")
"""What comes before another's words: the pointer into a body, a value, an exchange's name."""
