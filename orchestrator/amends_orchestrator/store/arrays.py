"""A batch as the arrays that the commit statement takes: one list per column.

Nothing here looks at a database. Data that cannot be written is BadData already here.
"""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from amends_contracts.messages import Json
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.state import TERMINAL
from amends_orchestrator.engine.ports import (
    NO_PERMITS,
    BadData,
    Batch,
    OutboxWrite,
    SagaWrite,
    StartKey,
)
from amends_orchestrator.store.review_arrays import review_arrays


def batch_arrays(batch: Batch) -> dict[str, Any]:
    """Every parameter of `commit_batch`, and of its part for reviews where there are any."""
    for write in batch.sagas:
        check(write)
    rows = [(write.identity.saga_id, row) for write in batch.sagas for row in write.rows]
    return {
        "orchestrator": batch.orchestrator,
        **_changed([w for w in batch.sagas if w.loaded_seq]),
        **_new([w for w in batch.sagas if not w.loaded_seq]),
        **_keys(batch.sagas),
        **_labels([w for w in batch.sagas if w.labels and not w.loaded_seq]),
        **_rows(rows),
        **review_arrays([w for w in batch.sagas if w.reviews]),
        **outbox_arrays("outbox", () if batch.outbox is None else (batch.outbox,)),
        **outbox_arrays("rewritten", batch.outbox_rewritten),
        "settled": batch.outbox_settled,
    }


def outbox_arrays(name: str, writes: Sequence[OutboxWrite]) -> dict[str, Any]:
    """Outbox rows under the parameters `<name>_id`, `_n`, `_body`."""
    return {
        f"{name}_id": [w.id for w in writes],
        f"{name}_n": [w.n for w in writes],
        f"{name}_body": [w.body for w in writes],
    }


def check(write: SagaWrite) -> None:
    """BadData for a saga whose journal would not add up."""
    numbers = [row.seq for row in write.rows]
    if not numbers or numbers != list(range(write.loaded_seq + 1, write.seq + 1)):
        raise BadData(
            f"saga {write.identity.saga_id} goes from seq {write.loaded_seq} to {write.seq} "
            f"with journal rows {numbers}"
        )


def dump(value: Json) -> str:
    """JSON text. BadData for what cannot be said; NaN is left to the database to refuse.

    By pydantic's serialiser: twice per transition, the standard library's takes six times as long.
    """
    try:
        return to_json(value).decode()
    except ValueError as error:
        raise BadData(f"not a JSON value: {error}") from error


def _changed(writes: Sequence[SagaWrite]) -> dict[str, Any]:
    return {
        "changed_id": [w.identity.saga_id for w in writes],
        "changed_loaded_seq": [w.loaded_seq for w in writes],
        "changed_seq": [w.seq for w in writes],
        "changed_status": [w.status.value for w in writes],
        "changed_state": [dump(w.state) for w in writes],
        "changed_residue": [w.residue for w in writes],
        "changed_wake_at": [None if w.status in TERMINAL else w.wake_at for w in writes],
        "changed_ended_at": [w.rows[-1].at if w.status in TERMINAL else None for w in writes],
    }


def _new(writes: Sequence[SagaWrite]) -> dict[str, Any]:
    return {
        "new_id": [w.identity.saga_id for w in writes],
        "new_started_at": [w.rows[0].at for w in writes],
        "new_ended_at": [w.rows[-1].at if w.status in TERMINAL else None for w in writes],
        "new_wake_at": [None if w.status in TERMINAL else w.wake_at for w in writes],
        "new_version": [w.identity.version for w in writes],
        "new_seq": [w.seq for w in writes],
        "new_residue": [w.residue for w in writes],
        "new_partition": [w.identity.partition for w in writes],
        "new_tenant": [w.identity.tenant for w in writes],
        "new_definition": [w.identity.definition for w in writes],
        "new_key": [w.identity.key for w in writes],
        "new_status": [w.status.value for w in writes],
        "new_trace_id": [w.trace_id for w in writes],
        "new_labels": [dump(dict(w.labels)) for w in writes],
        "new_state": [dump(w.state) for w in writes],
    }


def _keys(writes: Sequence[SagaWrite]) -> dict[str, Any]:
    keyed = sorted(((w.start, w) for w in writes if w.start is not None), key=_by_key)
    if len({start for start, _ in keyed}) != len(keyed):
        raise BadData("one start key twice in a batch")
    return {
        "key_tenant": [start.tenant for start, _ in keyed],
        "key_definition": [start.definition for start, _ in keyed],
        "key_key": [start.key for start, _ in keyed],
        "key_input_digest": [w.input_digest for _, w in keyed],
        "key_saga_id": [w.identity.saga_id for _, w in keyed],
        "key_at": [w.rows[0].at for _, w in keyed],
    }


def _by_key(keyed: tuple[StartKey, SagaWrite]) -> tuple[str, str, str]:
    """One order for everybody: batches that want the same keys wait, and do not deadlock."""
    start, _ = keyed
    return start.tenant, start.definition, start.key


def _labels(writes: Sequence[SagaWrite]) -> dict[str, Any]:
    pairs = [(w.identity, name, value) for w in writes for name, value in w.labels.items()]
    return {
        "label_tenant": [identity.tenant for identity, _, _ in pairs],
        "label_name": [name for _, name, _ in pairs],
        "label_value": [value for _, _, value in pairs],
        "label_saga_id": [identity.saga_id for identity, _, _ in pairs],
    }


def permit_arrays(batch: Batch) -> dict[str, Any]:
    """Those that `commit_batch_with_permits` has besides."""
    writes = [write for write in batch.sagas if write.permits is not NO_PERMITS]
    asked = [(w.identity, ask) for w in writes for ask in w.permits.asked]
    taken = [(w.identity.saga_id, *permit) for w in writes for permit in w.permits.taken]
    returned = [(w.identity.saga_id, *permit) for w in writes for permit in w.permits.returned]
    return {
        "ask_saga_id": [identity.saga_id for identity, _ in asked],
        "ask_step": [ask.path for _, ask in asked],
        "ask_ask": [ask.ask for _, ask in asked],
        "ask_pool": [ask.pool for _, ask in asked],
        "ask_tenant": [identity.tenant for identity, _ in asked],
        "ask_key": [ask.key for _, ask in asked],
        "ask_asked_at": [ask.since for _, ask in asked],
        "ask_concurrency": [ask.concurrency for _, ask in asked],
        "ask_rate_count": [ask.rate_count for _, ask in asked],
        "ask_rate_per_s": [ask.rate_per_s for _, ask in asked],
        "ask_total": [ask.total for _, ask in asked],
        **_triples("taken", taken),
        **_triples("returned", returned),
    }


def _triples(name: str, permits: Sequence[tuple[str, str, int]]) -> dict[str, Any]:
    return {
        f"{name}_saga_id": [saga_id for saga_id, _, _ in permits],
        f"{name}_step": [step for _, step, _ in permits],
        f"{name}_ask": [ask for _, _, ask in permits],
    }


def _rows(rows: Sequence[tuple[str, JournalRow]]) -> dict[str, Any]:
    return {
        "row_saga_id": [saga_id for saga_id, _ in rows],
        "row_at": [row.at for _, row in rows],
        "row_seq": [row.seq for _, row in rows],
        "row_attempt": [row.attempt for _, row in rows],
        "row_kind": [row.kind for _, row in rows],
        "row_step": [row.step for _, row in rows],
        "row_data": [dump(row.data) for _, row in rows],
    }
