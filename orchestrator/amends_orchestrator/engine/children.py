"""The orchestrator as participant of the reserved service `amends`: child sagas.

A command that arrives here is looked up by its start key, and becomes work for the child, for its
undo saga, or a reply that is known at once. All of it goes through the batch, so what is decided
and what is answered are committed together, and only then is the command acknowledged.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from uuid import UUID

from amends_contracts.messages import ActionOutcome, Command, Json, Outcome, Start, Trace, Undo
from amends_contracts.names import (
    START_SAGA,
    UNDO_SAGA,
    Op,
    SagaId,
    split_key,
    split_reply_routing_key,
    undo_start_key,
)
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator import core
from amends_orchestrator.core.children import ChildReply
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import Asked
from amends_orchestrator.core.state import Asker, Saga, SagaStatus
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.dispatch import input_digest
from amends_orchestrator.engine.ports import KnownStart, StartKey, Store, StoredSaga
from amends_orchestrator.engine.refusals import other_input, refusal_of
from amends_orchestrator.engine.undo import undo_of
from amends_orchestrator.engine.work import ForReply, ForSaga, ForStart

StartOf: TypeAlias = Callable[[str, str, Start, Trace | None], Awaitable[ForStart | Refused]]
"""A start with its definition found and its input checked (`Edge.start`)."""
_COMMANDS: Final = {START_SAGA: Op.ACTION, UNDO_SAGA: Op.COMPENSATION}


@dataclass(frozen=True, slots=True)
class _Order:
    """A command of service `amends`, taken apart."""

    asker: Asker
    tenant: str
    by: str
    start: Start
    outcome: ActionOutcome | None
    trace: Trace | None

    @property
    def key(self) -> StartKey:
        return StartKey(tenant=self.tenant, definition=self.start.definition, key=self.start.key)


class Children:
    """Turns commands of service `amends` into work. Its methods raise StoreUnavailable."""

    def __init__(
        self, store: Store, catalog: Catalog, start_of: StartOf, new_id: Callable[[], UUID]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._start_of = start_of
        self._new_id = new_id

    async def work_of(self, command: Command) -> ForStart | ForSaga | ForReply | None:
        """The work that a command asks for; None where there is no saga that asks."""
        assert command.saga_id is not None
        loaded = await self._store.load([command.saga_id], [])
        parent = loaded.sagas.get(command.saga_id)
        if parent is None or command.key is None or command.reply_to is None:
            return None
        asker = _asker(command)
        if _COMMANDS.get(command.type) is not command.op or asker is None:
            return None
        order = _order(command, asker, parent)
        if isinstance(order, Refused):
            return _told(refusal_of(asker, order))
        known = (await self._store.load([], [order.key])).starts.get(order.key)
        if asker.op is Op.ACTION:
            return await self._start(order, known)
        return await self._undo(order, known)

    # --- start-saga

    async def _start(
        self, order: _Order, known: KnownStart | None
    ) -> ForStart | ForSaga | ForReply:
        if known is not None and known.saga_id is not None:
            child = await self._saga(known.saga_id)
            if child is None:  # archived
                return _told(forgotten(order.asker))
            return self._again(order, known, child)
        found = await self._start_of(order.tenant, order.by, order.start, order.trace)
        if isinstance(found, Refused):
            return _told(refusal_of(order.asker, found))
        found.asked = order.asker
        found.requested_by = await self._requester(order.asker.saga_id)
        return found

    def _again(self, order: _Order, known: KnownStart, child: Saga) -> ForSaga | ForReply:
        """It is there: this is a repetition, or its key was given by the plan.

        Under whatever version it runs: what starts today has to fit does not matter any more.
        """
        if input_digest(order.start.input) == known.input_digest:
            return _asked(order.asker, child)
        refused = other_input(order.start.key, child.identity.saga_id)
        return _told(refusal_of(order.asker, refused))

    # --- undo-saga

    async def _undo(self, order: _Order, known: KnownStart | None) -> ForStart | ForSaga | ForReply:
        child = None
        if known is not None and known.saga_id is not None:
            child = await self._saga(known.saga_id)
        if known is not None and child is None:
            return _told(forgotten(order.asker))
        if child is None:
            return await self._never_started(order)
        if child.status is not SagaStatus.COMPLETED:
            return _asked(order.asker, child)
        identity = child.identity
        key = StartKey(
            tenant=identity.tenant,
            definition=identity.definition,
            key=undo_start_key(identity.saga_id),
        )
        begun = (await self._store.load([], [key])).starts.get(key)
        undo = None if begun is None or begun.saga_id is None else await self._saga(begun.saga_id)
        if undo is not None:
            return _asked(order.asker, undo)
        if begun is not None:  # archived
            return _told(forgotten(order.asker))
        reason = f"saga {order.asker.saga_id} takes its child back"
        asked = Undo(saga_id=identity.saga_id, reason=reason, across_pivot=True)
        found = await undo_of(
            self._store,
            self._catalog,
            order.tenant,
            order.by,
            asked,
            order.trace,
            self._new_id,
        )
        if isinstance(found, Refused):
            return _told(refusal_of(order.asker, found))
        assert found.undo is not None
        found.undo, found.asked = replace(found.undo, asked=order.asker), order.asker
        return found

    async def _never_started(self, order: _Order) -> ForStart | ForReply:
        """A tombstone takes its place, so that a start that comes late finds it undone."""
        if order.outcome is ActionOutcome.SUCCEEDED:
            return _told(forgotten(order.asker))
        found = await self._start_of(order.tenant, order.by, order.start, order.trace)
        if isinstance(found, Refused):
            # It would be refused, too, when it came: there is nothing to take back.
            body: Json = {}
            done = ChildReply(asker=order.asker, outcome=Outcome.SUCCEEDED, body=body)
            return _told(done)
        found.asked, found.undone = order.asker, True
        return found

    # --- what is there

    async def _requester(self, parent: SagaId) -> str:
        """The person behind a child: who started its parent, or its parent's parent."""
        first = (await self._store.values([(parent, 1)]))[parent][1]
        return first.get("requested_by") or first["by"]

    async def _saga(self, saga_id: SagaId) -> Saga | None:
        stored = (await self._store.load([saga_id], [])).sagas.get(saga_id)
        return None if stored is None else _opened(stored)


def _opened(stored: StoredSaga) -> Saga:
    return core.from_stored(stored.identity, stored.seq, stored.status, stored.state)


def _asked(asker: Asker, saga: Saga) -> ForSaga:
    """It answers at its end; one that has ended by the batch, in the batch."""
    return ForSaga(saga_id=saga.identity.saga_id, message=Asked(asker=asker))


def _told(reply: ChildReply) -> ForReply:
    return ForReply(saga_id=reply.asker.saga_id, reply=reply)


def forgotten(asker: Asker) -> ChildReply:
    """It was there, and its rows are gone: only a person can tell."""
    title = "nothing is known of this child saga any more"
    body = Problem(type=ProblemType.FORGOTTEN, title=title).to_json()
    return ChildReply(asker=asker, outcome=Outcome.UNKNOWN, body=body)


def _asker(command: Command) -> Asker | None:
    assert command.key is not None
    assert command.reply_to is not None
    saga_id, path, op = split_key(command.key)
    if path is None:
        return None
    _, partition = split_reply_routing_key(command.reply_to)
    return Asker(saga_id=saga_id, path=path, partition=partition, op=op, attempt=command.attempt)


def _order(command: Command, asker: Asker, parent: StoredSaga) -> _Order | Refused:
    """What is to be started or taken back. The tenant is the parent's, whatever a header says."""
    body: dict[str, Any] = command.json()
    started = body if asker.op is Op.ACTION else body["input"]
    key = started.get("key")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= 200):
        detail = "`key` of a child saga must be a text of 1 to 200 characters"
        return Refused(type=ProblemType.BAD_EXPRESSION, detail=detail)
    start = Start(
        definition=started["definition"],
        key=key or (command.key if asker.op is Op.ACTION else command.compensates) or "",
        input=started.get("input"),
        version=started.get("version"),
    )
    return _Order(
        asker=asker,
        tenant=parent.identity.tenant,
        by=f"saga {asker.saga_id}",
        start=start,
        outcome=command.action_outcome,
        trace=command.trace,
    )
