"""Deciding a batch in memory: many messages, saga by saga, into one write.

No transaction is opened here and nothing is published. The only thing awaited is the second query,
for recorded values that a decision turned out to need. One saga that cannot be decided is parked
as stuck; the others go on.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import dump_messages
from amends_contracts.messages import StartAnswer
from amends_contracts.names import SagaId
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator import core
from amends_orchestrator.core.decision import (
    Decision,
    JournalRow,
    Missing,
    PermitChange,
    Refused,
)
from amends_orchestrator.core.inputs import Asked, Fault, Input, StartRequested
from amends_orchestrator.core.state import TERMINAL, Identity
from amends_orchestrator.engine.catalog import Catalog, Registered
from amends_orchestrator.engine.children import forgotten
from amends_orchestrator.engine.circuits import View
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.permits import permit_writes
from amends_orchestrator.engine.ports import (
    Batch,
    Due,
    Loaded,
    OutboxWrite,
    SagaWrite,
    StartKey,
    Store,
    StoredSaga,
)
from amends_orchestrator.engine.refusals import other_input, refusal_of
from amends_orchestrator.engine.tracing import Tracing
from amends_orchestrator.engine.values import NO_TEXTS, RowValues
from amends_orchestrator.engine.work import (
    ForReply,
    ForSaga,
    ForStart,
    Replied,
    Result,
    Work,
)

log = logging.getLogger(__name__)

DETAIL_CHARS_MAX: Final = 500
UNREADABLE_AGAIN: Final = timedelta(hours=1)
"""When a saga that this release cannot read is looked at again."""


@dataclass(slots=True, eq=False)
class _Slot:
    """One saga in this batch."""

    registered: Registered
    loaded_seq: int
    saga: core.Saga
    queue: deque[ForSaga] = field(default_factory=deque[ForSaga])
    values: RowValues = field(default_factory=RowValues)
    asked: set[int] = field(default_factory=set[int])
    """Rows that were asked for: one that is asked for twice is not there."""
    rows: list[JournalRow] = field(default_factory=list[JournalRow])
    permits: list[PermitChange] = field(default_factory=list[PermitChange])
    started: ForStart | None = None

    def apply(self, decision: Decision) -> None:
        self.saga = decision.saga
        self.rows += decision.rows
        self.permits += decision.permits
        if self.queue:  # more is to be decided on it
            self.values.add({row.seq: row.data for row in decision.rows})


@dataclass(frozen=True, slots=True)
class Assembled:
    """A batch, decided: what to write, what to publish, and what everybody is told."""

    batch: Batch | None
    """None when nothing changes."""
    messages: tuple[AmqpMessage, ...]
    results: tuple[tuple[Work, Result], ...]
    leftover: tuple[Work, ...]
    """What did not fit any more; comes first in the next batch."""
    decided: tuple[tuple[Input | None, Decision], ...]
    rearm: tuple[tuple[Due, datetime], ...]
    """What was due, as it stands after the batch, and when it is to be looked at again."""
    now: datetime
    earliest_wake: datetime | None
    awaiting: tuple[StartKey, ...] = ()
    """Starts of sagas that await signals: some may have come before them."""


class Assembly:
    """Decides one batch on what was loaded for it. Used once."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        dispatcher: Dispatcher,
        tracing: Tracing,
        counters: Counters,
        loaded: Loaded,
        *,
        bytes_max: int,
        partitions: Sequence[int],
        circuits: View,
    ) -> None:
        assert partitions, "a start needs a partition to be in"
        self._store = store
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._tracing = tracing
        self._counters = counters
        self._loaded = loaded
        self._bytes_left = bytes_max
        self._partitions = partitions
        self._shared_partition: int | None = None
        self._circuits = circuits
        self._slots: dict[SagaId, _Slot] = {}
        self._starts: dict[StartKey, ForStart] = {}
        self._results: list[tuple[Work, Result]] = []
        self._leftover: list[Work] = []
        self._messages: list[AmqpMessage] = []
        self._decided: list[tuple[Input | None, Decision]] = []
        self._woken: list[tuple[Due, _Slot | None]] = []
        """Wake-ups and their sagas; None for one that cannot be opened."""

    async def decide(self, works: Iterable[Work]) -> None:
        """Decide all that fits, the messages of one saga in turn. Raises StoreUnavailable.

        Running sagas come before new ones: what was begun is to end.
        """
        starts: list[ForStart] = []
        for work in works:
            match work:
                case ForStart():
                    starts.append(work)
                case ForSaga():
                    self._enqueue(work)
                case ForReply():
                    self._messages.append(self._dispatcher.reply(work.reply))
                    self._results.append((work, Replied()))
        await self._decide_sagas()
        for start in starts:
            self._start(start)

    async def _decide_sagas(self) -> None:
        pending = [slot for slot in self._slots.values() if slot.queue]
        while pending:
            wanted: list[tuple[SagaId, int]] = []
            waiting: list[_Slot] = []
            for slot in pending:
                missing = self._advance(slot)
                if missing:
                    saga_id = slot.saga.identity.saga_id
                    wanted += [(saga_id, seq) for seq in sorted(missing)]
                    waiting.append(slot)
            if wanted:
                found = await self._store.values(wanted)
                for slot in waiting:
                    slot.values.add(found.get(slot.saga.identity.saga_id, {}))
            pending = waiting
        for slot in self._slots.values():
            self._leftover += slot.queue

    def assembled(
        self,
        orchestrator: UUID,
        outbox_id: UUID,
        settled: tuple[UUID, ...],
        rewritten: tuple[OutboxWrite, ...],
    ) -> Assembled:
        """The batch as it is written. The outbox row is the witness of its commit."""
        changed = [slot for slot in self._slots.values() if slot.rows]
        changed.sort(key=lambda slot: slot.saga.identity.saga_id)
        writes = [self._write(slot) for slot in changed]
        batch = None
        if changed or self._messages:
            outbox = None
            if self._messages:
                body = dump_messages(self._messages)
                outbox = OutboxWrite(id=outbox_id, n=len(self._messages), body=body)
            batch = Batch(
                orchestrator=orchestrator,
                sagas=tuple(writes),
                outbox=outbox,
                outbox_settled=settled,
                outbox_rewritten=rewritten,
            )
        wakes = [w.wake_at for w in writes if w.wake_at is not None]
        return Assembled(
            batch=batch,
            messages=tuple(self._messages),
            results=tuple(self._results),
            leftover=tuple(self._leftover),
            decided=tuple(self._decided),
            rearm=tuple(self._rearm()),
            now=self._loaded.now,
            earliest_wake=min(wakes, default=None),
            awaiting=tuple(k for k, work in self._starts.items() if work.awaits),
        )

    def _rearm(self) -> Iterable[tuple[Due, datetime]]:
        """Wake-ups are lower bounds: what was not due, or has been dealt with, is set later."""
        for due, slot in self._woken:
            if slot is None:
                yield due, self._loaded.now + UNREADABLE_AGAIN
                continue
            wake_at = core.wake_at(slot.saga, self._loaded.now)
            if wake_at is not None and wake_at > due.wake_at:
                yield replace(due, seq=slot.saga.seq), wake_at

    # --- starts --------------------------------------------------------------------------------

    def _start(self, work: ForStart) -> None:
        key = start_key(work)
        known = self._loaded.starts.get(key)
        if known is not None:
            same = known.input_digest == work.input_digest
            self._again(work, known.saga_id, same=same)
        elif key in self._starts:
            first = self._starts[key]
            same = first.input_digest == work.input_digest
            self._again(work, first.saga_id, same=same)
        elif work.retired and not work.undone:
            version = f"{work.registered.name}@{work.registered.version}"
            detail = f"{version} is retired: it takes no new starts; start another version"
            self._refuse_start(work, Refused(type=ProblemType.RETIRED, detail=detail))
        elif self._bytes_left <= 0:
            self._leftover.append(work)
        else:
            self._begin(key, work)

    def _again(self, work: ForStart, saga_id: SagaId | None, *, same: bool) -> None:
        """A start whose key is taken. Its own id there means: our commit in doubt had come true.

        A step of another saga asks who took the key, in the next batch: it was read before that.
        """
        if saga_id is None:
            detail = f"the saga with key {work.start.key!r} was cancelled before it started"
            self._refuse_start(work, Refused(type=ProblemType.WRONG_STATE, detail=detail))
        elif not same:
            self._refuse_start(work, other_input(work.start.key, saga_id))
        elif work.asked is not None:
            asked = ForSaga(saga_id=saga_id, message=Asked(asker=work.asked), handle=work.handle)
            self._leftover.append(asked)
        else:
            answer = StartAnswer(saga_id, created=saga_id == work.saga_id)
            self._results.append((work, answer))

    def _refuse_start(self, work: ForStart, refused: Refused) -> None:
        """Nothing was started; a step of another saga that waits for it is told so."""
        if work.asked is not None:
            self._messages.append(self._dispatcher.reply(refusal_of(work.asked, refused)))
        self._results.append((work, refused))

    def _partition(self, work: ForStart) -> int:
        """That of the batch's first start: sagas begun together go on together, and what their
        participants answer together comes in few envelopes.
        """
        if self._shared_partition is None:
            index = UUID(work.saga_id).int % len(self._partitions)
            self._shared_partition = self._partitions[index]
        return self._shared_partition

    def _begin(self, key: StartKey, work: ForStart) -> None:
        registered = work.registered
        identity = Identity(
            saga_id=work.saga_id,
            tenant=work.tenant,
            definition=registered.name,
            version=registered.version,
            key=work.start.key,
            partition=self._partition(work),
        )
        request = StartRequested(
            key=work.start.key,
            input=work.start.input,
            by=work.by,
            labels=work.labels,
            asked=work.asked,
            requested_by=work.requested_by,
        )
        try:
            answer = _first(work, identity, request, self._loaded.now, self._circuits.sick)
            if isinstance(answer, Decision):
                self._dispatch(registered, answer)
        except Exception as error:
            log.exception("start of %s with key %r failed", registered.name, work.start.key)
            answer = Refused(type=ProblemType.ENGINE_FAULT, detail=_detail(error))
        if isinstance(answer, Refused):
            self._refuse_start(work, answer)
            return
        slot = _Slot(registered, 0, answer.saga, started=work)
        slot.apply(answer)
        self._slots[work.saga_id] = slot
        self._starts[key] = work
        self._decided.append((None, answer))
        self._results.append((work, StartAnswer(work.saga_id, created=True)))

    # --- messages ------------------------------------------------------------------------------

    def _enqueue(self, work: ForSaga) -> None:
        slot = self._slots.get(work.saga_id)
        if slot is None:
            stored = self._loaded.sagas.get(work.saga_id)
            if stored is None:
                if isinstance(work.message, Asked):  # archived since it was looked for
                    self._messages.append(self._dispatcher.reply(forgotten(work.message.asker)))
                self._refuse(work, ProblemType.NOT_FOUND, "no such saga")
                return
            slot = self._open(work, stored)
            if slot is None:
                return
            self._slots[work.saga_id] = slot
        if work.tenant is not None and work.tenant != slot.saga.identity.tenant:
            self._refuse(work, ProblemType.NOT_FOUND, "no such saga")
            return
        slot.queue.append(work)

    def _open(self, work: ForSaga, stored: StoredSaga) -> _Slot | None:
        """The stored saga; one that this release cannot read is left as it is, and told of."""
        identity = stored.identity
        registered = self._catalog.known(identity.definition, identity.version)
        if registered is None:
            detail = f"definition {identity.definition}@{identity.version} cannot be run here"
            self._refuse(work, ProblemType.BAD_DEFINITION, detail)
            return None
        try:
            saga = core.from_stored(identity, stored.seq, stored.status, stored.state)
        except Exception as error:
            log.exception("state of saga %s cannot be read", identity.saga_id)
            self._refuse(work, ProblemType.ENGINE_FAULT, _detail(error))
            return None
        texts = self._loaded.remembered.get(identity.saga_id, NO_TEXTS)
        return _Slot(registered, stored.seq, saga, values=RowValues(texts))

    def _refuse(self, work: ForSaga, kind: ProblemType, detail: str) -> None:
        self._results.append((work, Refused(type=kind, detail=detail)))
        if work.due is not None:
            self._woken.append((work.due, None))

    def _advance(self, slot: _Slot) -> frozenset[int]:
        """Decide a saga's messages in turn, until done or until rows must be fetched."""
        while slot.queue and self._bytes_left > 0:
            work = slot.queue[0]
            answer = self._answer(slot, work.message)
            if isinstance(answer, Missing):
                new = answer.seqs - slot.asked
                if new:
                    slot.asked |= new
                    return frozenset(new)
                lost = LookupError(f"journal rows {sorted(answer.seqs)} are not there")
                answer = self._park(slot, lost)
            slot.queue.popleft()
            if isinstance(answer, Decision):
                slot.apply(answer)
                self._decided.append((work.message, answer))
            elif isinstance(answer, core.ChildReply):
                self._messages.append(self._dispatcher.reply(answer))
                answer = Replied()
            self._results.append((work, answer))
            if work.due is not None:
                self._woken.append((work.due, slot))
        return frozenset()

    def _answer(
        self, slot: _Slot, message: Input
    ) -> Decision | Refused | Missing | core.ChildReply:
        """What the core says; an exception there parks this saga and nothing else."""
        plan, now = slot.registered.plan, self._loaded.now
        if isinstance(message, Asked) and slot.saga.status in TERMINAL:
            return core.end_of(slot.saga, message.asker, slot.values)
        try:
            sick = self._circuits.sick
            answer = core.decide(plan, slot.saga, slot.values, message, now, sick)
            if isinstance(answer, Decision):
                self._dispatch(slot.registered, answer)
        except Exception as error:
            log.exception("saga %s cannot be decided", slot.saga.identity.saga_id)
            return self._park(slot, error)
        return answer

    def _park(self, slot: _Slot, error: Exception) -> Decision | Refused:
        plan, now = slot.registered.plan, self._loaded.now
        try:
            parked = core.decide(plan, slot.saga, slot.values, fault_of(error), now)
            if isinstance(parked, Decision):
                self._dispatch(slot.registered, parked)
        except Exception as second:
            log.exception("saga %s cannot even be parked", slot.saga.identity.saga_id)
            return Refused(type=ProblemType.ENGINE_FAULT, detail=_detail(second))
        if isinstance(parked, Missing):
            return Refused(type=ProblemType.ENGINE_FAULT, detail=_detail(error))
        self._counters.stuck += 1
        return parked

    def _dispatch(self, registered: Registered, decision: Decision) -> None:
        """Add what the decision publishes; on an exception nothing of it is added."""
        messages = self._dispatcher.messages(
            decision, self._loaded.now, events=registered.plan.events
        )
        self._messages += messages
        self._circuits.sent(decision)
        self._bytes_left -= sum(len(m.body) for m in messages)

    def _write(self, slot: _Slot) -> SagaWrite:
        saga, start = slot.saga, slot.started
        status, wake_at = saga.status, saga.wake_at
        silent = wake_at is None and status not in TERMINAL
        assert not silent, f"saga {saga.identity.saga_id} would be silent"
        return SagaWrite(
            identity=saga.identity,
            loaded_seq=slot.loaded_seq,
            seq=saga.seq,
            status=status,
            state=core.state_to_json(saga.state),
            wake_at=wake_at,
            residue=saga.residue,
            rows=tuple(slot.rows),
            start=None if start is None else start_key(start),
            input_digest=None if start is None else start.input_digest,
            labels={} if start is None else start.labels,
            trace_id=None if start is None else self._tracing.started(saga.identity, start.trace),
            reviews=core.review_tasks(slot.registered.plan, saga, slot.rows),
            permits=permit_writes(slot.permits),
        )


def _first(
    work: ForStart,
    identity: Identity,
    request: StartRequested,
    now: datetime,
    sick: Mapping[str, timedelta],
) -> Decision | Refused:
    """The first decision of a saga, of an undo saga, or of one that never runs."""
    plan = work.registered.plan
    if work.undo is not None:
        return core.start_undo(plan, identity, work.undo, now)
    if work.undone:
        return core.start_undone(plan, identity, request, now)
    return core.start(plan, identity, request, now, sick)


def start_key(work: ForStart) -> StartKey:
    """What makes a start unique."""
    return StartKey(tenant=work.tenant, definition=work.registered.name, key=work.start.key)


def fault_of(error: Exception) -> Fault:
    """An exception as what the saga is told."""
    return Fault(
        problem=Problem(
            type=ProblemType.ENGINE_FAULT,
            title="The engine could not go on with this saga",
            detail=_detail(error),
        )
    )


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\x00", "�")[:DETAIL_CHARS_MAX]
