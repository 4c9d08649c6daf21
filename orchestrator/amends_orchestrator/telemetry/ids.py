"""Trace and span ids, derived: any replica can name, and close, a span that another began.

All ids of a saga's trace follow from the saga's id, the step's path, the operation and the
attempt. They are hashed, since samplers by ratio read the low bits of a trace id and those of a
UUID are not uniform.
"""

import hashlib

from amends_contracts.messages import Trace
from amends_contracts.names import Op, SagaId, StepPath


def trace_id_of(saga_id: SagaId) -> int:
    """The 128-bit trace id of a saga; the same for its whole life."""
    return int.from_bytes(_digest(saga_id)[:16]) or 1


def saga_span_id(saga_id: SagaId) -> int:
    """The 64-bit id of the saga's own span, parent of all its steps' spans."""
    return int.from_bytes(_digest(saga_id, "saga")[:8]) or 1


def attempt_span_id(saga_id: SagaId, path: StepPath, op: Op, attempt: int) -> int:
    """The 64-bit id of the span of one attempt of one operation of a step."""
    return int.from_bytes(_digest(saga_id, path, op, str(attempt))[:8]) or 1


def trace_hex(saga_id: SagaId) -> str:
    """The trace id as 32 hex digits, as Jaeger and the saga row show it."""
    return f"{trace_id_of(saga_id):032x}"


def traceparent(saga_id: SagaId, span_id: int, *, sampled: bool) -> Trace:
    """W3C trace context for a command whose span is `span_id`."""
    return Trace(f"00-{trace_hex(saga_id)}-{span_id:016x}-{'01' if sampled else '00'}")


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x1f".join(parts).encode()).digest()
