"""A late undo as work: the original read, and what is needed of its journal.

The original has ended, so what is read here cannot change before the undo saga is decided. Asked
twice, also at the same time, the one start key makes it one undo saga.
"""

from collections.abc import Callable
from uuid import UUID

from amends_contracts.messages import Start, Trace, Undo
from amends_contracts.names import SagaId, undo_start_key
from amends_contracts.problems import ProblemType
from amends_orchestrator import core
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.state import TERMINAL
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.dispatch import input_digest
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.ports import Store
from amends_orchestrator.engine.work import ForStart


async def undo_of(
    store: Store,
    catalog: Catalog,
    tenant: str,
    by: str,
    asked: Undo,
    trace: Trace | None,
    new_id: Callable[[], UUID] = uuid7,
) -> ForStart | Refused:
    """The start of an undo saga, or why there can be none. Raises StoreUnavailable."""
    loaded = await store.load([asked.saga_id], [])
    stored = loaded.sagas.get(asked.saga_id)
    if stored is None or stored.identity.tenant != tenant:
        return Refused(type=ProblemType.NOT_FOUND, detail="no such saga")
    identity = stored.identity
    registered = await catalog.get(identity.definition, identity.version)
    if registered is None:
        detail = f"definition {identity.definition}@{identity.version} cannot be run here"
        return Refused(type=ProblemType.BAD_DEFINITION, detail=detail)
    original = core.from_stored(identity, stored.seq, stored.status, stored.state)
    rows = core.adopted_rows(original) if original.status in TERMINAL else frozenset({1})
    found = await store.values([(asked.saga_id, seq) for seq in sorted(rows)])
    values = found[asked.saga_id]
    start = Start(
        definition=identity.definition,
        key=undo_start_key(asked.saga_id),
        input=values[1].get("input"),
        version=identity.version,
    )
    return ForStart(
        saga_id=SagaId(str(new_id())),
        tenant=tenant,
        by=by,
        start=start,
        registered=registered,
        input_digest=input_digest({"undoes": asked.saga_id}),
        labels=dict(values[1].get("labels") or {}),
        trace=trace,
        undo=core.UndoRequested(
            original=original,
            values=values,
            reason=asked.reason,
            by=by,
            across_pivot=asked.across_pivot,
        ),
    )
