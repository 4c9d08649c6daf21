"""The kinds of facts in a journal: the names that rows carry for years."""

from enum import StrEnum


class Kind(StrEnum):
    """What happened."""

    SAGA_STARTED = "saga.started"
    SAGA_COMPENSATING = "saga.compensating"
    SAGA_STOPPING = "saga.stopping"
    SAGA_STOP_LAPSED = "saga.stop-lapsed"
    SAGA_OVERDUE = "saga.overdue"
    SAGA_STUCK = "saga.stuck"
    SAGA_UNSTUCK = "saga.unstuck"
    SAGA_SUSPENDED = "saga.suspended"
    SAGA_RESUMED = "saga.resumed"
    SAGA_COMPLETED = "saga.completed"
    SAGA_COMPENSATED = "saga.compensated"
    STEP_ENTERED = "step.entered"
    STEP_SKIPPED = "step.skipped"
    STEP_DISPATCHED = "step.dispatched"
    STEP_PROGRESSED = "step.progressed"
    STEP_RETRYING = "step.retrying"
    STEP_UNDELIVERABLE = "step.undeliverable"
    STEP_DOUBTED = "step.doubted"
    STEP_PROBED = "step.probed"
    STEP_SUCCEEDED = "step.succeeded"
    STEP_FAILED = "step.failed"
    STEP_UNKNOWN = "step.unknown"
    STEP_ALARMED = "step.alarmed"
    STEP_LATE = "step.late"
    STEP_NOTHING_TO_COMPENSATE = "step.nothing-to-compensate"
    STEP_RESIDUE = "step.residue"
    UNDO_DISPATCHED = "undo.dispatched"
    UNDO_PROGRESSED = "undo.progressed"
    UNDO_RETRYING = "undo.retrying"
    UNDO_UNDELIVERABLE = "undo.undeliverable"
    UNDO_DOUBTED = "undo.doubted"
    UNDO_PROBED = "undo.probed"
    UNDO_SUCCEEDED = "undo.succeeded"
    UNDO_FAILED = "undo.failed"
    OPERATOR_RETRIED = "operator.retried"
    OPERATOR_SKIPPED = "operator.skipped"
    OPERATOR_RESOLVED = "operator.resolved"


class UnknownKind(ValueError):
    """A row of a kind that this release does not know: the saga is refused, not guessed."""
