"""Publishing what is committed, until the broker has it.

An outbox row is settled when each of its messages is confirmed or returned. What is neither (nack,
timeout, lost connection) is published again under the same message id, with backoff, and the row
is rewritten to what is still open. A returned command is a fact that its saga is told; a returned
envelope is split, and its members are published singly.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from amends_contracts.amqp import AmqpMessage, PublishResult
from amends_contracts.codec import Packed, WireError, dump_messages, load_messages
from amends_contracts.names import service_of, split_key
from amends_orchestrator.core.inputs import Returned
from amends_orchestrator.engine.commit import Settlements
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.envelopes import Envelopes
from amends_orchestrator.engine.inbox import Inbox
from amends_orchestrator.engine.ports import Clock, OutboxWrite, Transport
from amends_orchestrator.engine.tasks import Tasks
from amends_orchestrator.engine.work import ForSaga

log = logging.getLogger(__name__)

BACKOFF_S: Final = 0.1
BACKOFF_S_MAX: Final = 5.0


class Relay:
    """One publishing task per outbox row; at most so many that intake stops for them."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        counters: Counters,
        *,
        tasks: Tasks,
        timeout_s: float,
        unsettled_max: int,
        inbox: Inbox,
        envelopes: Envelopes,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._counters = counters
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._unsettled_max = unsettled_max
        self._inbox = inbox
        self._envelopes = envelopes
        self._open: set[UUID] = set()
        """Rows with messages that the broker may not have."""
        self._settled: dict[UUID, None] = {}
        """Rows to delete with the next batch."""
        self._rewritten: dict[UUID, OutboxWrite] = {}
        """Rows to rewrite with the next batch."""
        self._changed = asyncio.Event()

    @property
    def unsettled(self) -> int:
        """Rows with messages that the broker may not have."""
        return len(self._open)

    def known(self) -> list[UUID]:
        """Every row that this relay has in hand."""
        return [*self._open, *self._settled]

    async def room(self) -> None:
        """Wait until one more row may be published."""
        while len(self._open) >= self._unsettled_max:
            self._changed.clear()
            await self._changed.wait()

    async def drained(self) -> None:
        """Wait until the broker has everything."""
        while self._open:
            self._changed.clear()
            await self._changed.wait()

    def accept(
        self, row_id: UUID, messages: Sequence[AmqpMessage], *, published: bool = False
    ) -> None:
        """Publish a committed row. A row already in hand is not taken twice.

        `published`: somebody may have published it before.
        """
        if row_id in self._open or row_id in self._settled:
            return
        self._open.add(row_id)
        self._tasks.begin(self._publish(row_id, messages, published=published))

    def adopt(self, rows: Iterable[OutboxWrite]) -> None:
        """Publish rows that another orchestrator, or a commit in doubt, left behind.

        One that cannot be read was written by a newer release, or is damaged: it stays, said, for
        whoever can read it; ending for it would end every orchestrator in turn.
        """
        for row in rows:
            try:
                messages = load_messages(row.body)
            except WireError as error:
                log.error("outbox row %s with %d messages is left: %s", row.id, row.n, error)
                continue
            self._counters.republished += row.n
            self.accept(row.id, messages, published=True)

    def settlements(self) -> Settlements:
        """What the next write to the store can settle; it stays until `settle`."""
        return Settlements(tuple(self._settled), tuple(self._rewritten.values()))

    def settle(self, done: Settlements) -> None:
        """The store has written these."""
        for row_id in done.settled:
            self._settled.pop(row_id, None)
        for row in done.rewritten:
            if self._rewritten.get(row.id) is row:
                del self._rewritten[row.id]

    async def _publish(
        self, row_id: UUID, messages: Sequence[AmqpMessage], *, published: bool
    ) -> None:
        left = self._packed(row_id, messages, published=published)
        failures = 0
        while left:
            results = await self._transport.publish([p.message for p in left], self._timeout_s)
            still = [p for p, r in zip(left, results, strict=True) if r is PublishResult.UNKNOWN]
            back = [p for p, r in zip(left, results, strict=True) if r is PublishResult.RETURNED]
            split = self._split(back)
            # Nobody got what its only publication returned; the batch that is told so deletes the
            # row, so that nobody publishes it once more.
            only = not published and not failures and not still and not split
            for packed in back:
                if not packed.members:
                    self._returned(packed.message, never_delivered=only)
            if still:
                singles = [single for packed in (*still, *split) for single in packed.singles]
                if len(still) < len(left):
                    body = dump_messages(singles)
                    self._rewritten[row_id] = OutboxWrite(id=row_id, n=len(singles), body=body)
                failures += 1
                self._counters.republished += len(singles)
                await self._back_off(failures, len(singles))
            left = still + split
        # No await since the returns were put in: the batch that takes them in finds the row here.
        self._rewritten.pop(row_id, None)
        self._settled[row_id] = None
        self._open.discard(row_id)
        self._changed.set()

    def _packed(
        self, row_id: UUID, messages: Sequence[AmqpMessage], *, published: bool
    ) -> list[Packed]:
        """In envelopes the first time; what somebody may have published goes singly."""
        if published:
            return [Packed(message) for message in messages]
        packed = self._envelopes.packed(row_id, messages)
        self._counters.envelopes += sum(1 for p in packed if p.members)
        return packed

    def _split(self, returned: Iterable[Packed]) -> list[Packed]:
        """The members of envelopes that nobody could take."""
        split: list[Packed] = []
        for packed in returned:
            if packed.members:
                self._envelopes.returned(packed)
                split += map(Packed, packed.members)
        return split

    def _returned(self, message: AmqpMessage, *, never_delivered: bool) -> None:
        key, attempt = message.headers.get("amends-key"), message.headers.get("amends-attempt")
        if not isinstance(key, str) or not isinstance(attempt, int) or message.type is None:
            return
        self._counters.undeliverable[service_of(message.type)] += 1
        saga_id, path, op = split_key(key)
        if path is not None:
            returned = Returned(path=path, op=op, attempt=attempt, never_delivered=never_delivered)
            self._inbox.put(ForSaga(saga_id=saga_id, message=returned))

    async def _back_off(self, failures: int, count: int) -> None:
        if failures == 1:
            log.warning("%d messages not confirmed; publishing them again", count)
        ceiling = min(BACKOFF_S_MAX, BACKOFF_S * 2**failures)
        await self._clock.sleep(ceiling * random.uniform(0.5, 1.0))
