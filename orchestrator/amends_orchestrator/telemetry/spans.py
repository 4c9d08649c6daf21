"""Which spans a committed decision ends: derived from its journal rows, pure.

A saga is one span, each attempt of an action or compensation one below it. A span is made when
what it covers is over, by whichever orchestrator committed that; its id and its begin follow from
the saga, so nothing has to be remembered. Payloads never appear.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from amends_contracts.names import Op, SagaId, StepPath
from amends_orchestrator.core.decision import Decision, JournalRow
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.state import Identity, OpState, SagaStatus
from amends_orchestrator.telemetry.ids import attempt_span_id, saga_span_id

_ENDS: Final = {
    Kind.STEP_SUCCEEDED: (Op.ACTION, "succeeded"),
    Kind.STEP_FAILED: (Op.ACTION, "failed"),
    Kind.STEP_UNKNOWN: (Op.ACTION, "unknown"),
    Kind.STEP_RETRYING: (Op.ACTION, "retrying"),
    Kind.UNDO_SUCCEEDED: (Op.COMPENSATION, "succeeded"),
    Kind.UNDO_FAILED: (Op.COMPENSATION, "failed"),
    Kind.UNDO_RETRYING: (Op.COMPENSATION, "retrying"),
}
"""Rows that end an attempt. A doubt does not: the attempt lasts until the doubt is settled."""
_INSTANCE: Final = re.compile(r"[\[#].*$")
_SAGA_ENDS: Final = frozenset({Kind.SAGA_COMPLETED, Kind.SAGA_COMPENSATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSpan:
    """A span, ready to be exported; ids as integers, times timezone-aware."""

    saga_id: SagaId
    name: str
    span_id: int
    parent_id: int | None
    start: datetime
    end: datetime
    problem: str | None = None
    """Type of the problem it ended with: the span's status is then an error."""
    link: int | None = None
    """Id of another span of the saga: of a compensation, its action's."""
    attributes: dict[str, str | int] = field(default_factory=dict[str, str | int])


def ended_spans(decision: Decision) -> Iterator[EndedSpan]:
    """The spans that the rows of a decision end, in the order of the rows."""
    for row in decision.rows:
        kind = Kind(row.kind)
        if kind in _SAGA_ENDS:
            yield _saga_span(decision, row)
        elif kind in _ENDS and row.step is not None and row.attempt:
            span = _attempt_span(decision, row, row.step, row.attempt)
            if span is not None:
                yield span


def begun_at(saga_id: SagaId) -> datetime:
    """When a saga was started, to the millisecond: the time in its UUID (version 7)."""
    return datetime.fromtimestamp((UUID(saga_id).int >> 80) / 1000, tz=UTC)


def _attempt_span(
    decision: Decision, row: JournalRow, path: StepPath, attempt: int
) -> EndedSpan | None:
    op, outcome = _ENDS[Kind(row.kind)]
    data: dict[str, Any] = row.data or {}
    if data.get("via") == "operator":
        return None  # an operator's word ends no attempt: that one's span ended before
    identity = decision.saga.identity
    step = decision.saga.state.steps[path]
    state = step.action if op is Op.ACTION else step.undo
    undo = op is Op.COMPENSATION
    problem = data.get("problem")
    return EndedSpan(
        saga_id=identity.saga_id,
        name=f"undo {_step_id(path)}" if undo else _step_id(path),
        span_id=attempt_span_id(identity.saga_id, path, op, attempt),
        parent_id=saga_span_id(identity.saga_id),
        start=_sent_at(state, row.at),
        end=row.at,
        problem=None if problem is None or outcome == "succeeded" else problem["type"],
        link=_action_span(identity, path, step.action) if undo else None,
        attributes={
            **_about(identity),
            "amends.step": path,
            "amends.op": op.value,
            "amends.attempt": attempt,
            "amends.outcome": outcome,
        },
    )


def _saga_span(decision: Decision, row: JournalRow) -> EndedSpan:
    identity, state = decision.saga.identity, decision.saga.state
    failure = state.failure
    back = decision.saga.status is SagaStatus.COMPENSATED
    return EndedSpan(
        saga_id=identity.saga_id,
        name=f"saga {identity.definition}",
        span_id=saga_span_id(identity.saga_id),
        parent_id=None,
        start=min(begun_at(identity.saga_id), row.at),
        end=row.at,
        problem=failure.type if back and failure is not None else None,
        attributes={
            **_about(identity),
            "amends.status": decision.saga.status.value,
            "amends.residue": state.residue,
        },
    )


def _step_id(path: StepPath) -> str:
    """The step's id without the instance: names of spans are few."""
    return _INSTANCE.sub("", path.rpartition(".")[2])


def _action_span(identity: Identity, path: StepPath, action: OpState) -> int | None:
    if not action.attempt:
        return None
    return attempt_span_id(identity.saga_id, path, Op.ACTION, action.attempt)


def _sent_at(state: OpState, end: datetime) -> datetime:
    return end if state.sent_at is None else min(state.sent_at, end)


def _about(identity: Identity) -> dict[str, str | int]:
    return {
        "amends.saga_id": identity.saga_id,
        "amends.definition": identity.definition,
        "amends.version": identity.version,
        "amends.key": identity.key,
        "amends.tenant": identity.tenant,
    }
