"""A saga's control state: small, without payloads, a fold of its journal.

Inputs and outputs stand in the journal; the state maps step paths to the seqs of the rows that
hold them. What the statuses mean is semantics.md, section "States".
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from amends_contracts.names import SagaId


class SagaStatus(StrEnum):
    """Status of a saga; `completed` and `compensated` absorb."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    STUCK = "stuck"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


TERMINAL = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})


class StepStatus(StrEnum):
    """Status of a step instance."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    NOTHING_TO_COMPENSATE = "nothing_to_compensate"
    COMPENSATION_FAILED = "compensation_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What never changes about a saga."""

    saga_id: SagaId
    tenant: str
    definition: str
    version: int
    key: str
    partition: int
