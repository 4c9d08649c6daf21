"""The legal moves, as tables: which fact may meet a step or a saga in which status, and what the
status is then. `evolve` obeys them, the tests walk them, and the diagrams in
docs/state-machine.md are drawn from them. What else a fact changes stands in `evolve`.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.state import SagaStatus, StepStatus

_P = StepStatus
_OPEN: Final = (_P.PENDING, _P.RUNNING, _P.RETRYING, _P.UNKNOWN)
"""The action is not settled."""
_UNDOING: Final = (_P.COMPENSATING, _P.COMPENSATION_FAILED)

Move: TypeAlias = tuple[tuple[StepStatus | None, ...], StepStatus | None]
"""From which statuses (None: the step has none yet), to which (None: it stays)."""

STEP_MOVES: Final[Mapping[Kind, tuple[Move, ...]]] = {
    # from RETRYING: an operator retries what could not be evaluated
    # from COMPENSATING: the next plan of alternatives, once the failed one is undone
    Kind.STEP_ENTERED: (((None, _P.RETRYING, _P.COMPENSATING), _P.RUNNING),),
    Kind.STEP_TURNED: (((_P.RUNNING,), None),),
    Kind.STEP_ADVANCED: (((_P.RUNNING, _P.SUCCEEDED, _P.FAILED), None),),
    Kind.STEP_PLAN_FAILED: (((_P.RUNNING,), _P.COMPENSATING),),
    Kind.STEP_LEFT: (((_P.RUNNING,), _P.SUCCEEDED),),
    Kind.STEP_SKIPPED: (((None, _P.RETRYING), _P.SKIPPED),),
    # from RETRYING: what was given back after a known failure is asked for anew
    Kind.STEP_QUEUED: (((None, _P.PENDING, _P.RETRYING), _P.PENDING),),
    Kind.STEP_PERMITTED: (((_P.PENDING,), None),),
    Kind.STEP_HELD: (((None, _P.PENDING, _P.RETRYING), _P.PENDING),),
    Kind.STEP_DISPATCHED: (((None, _P.PENDING, _P.RETRYING), _P.RUNNING),),
    Kind.STEP_PROGRESSED: (((_P.RUNNING,), None),),
    Kind.STEP_RETRYING: (((_P.RUNNING, _P.RETRYING, _P.PENDING, _P.UNKNOWN), _P.RETRYING),),
    Kind.STEP_UNDELIVERABLE: (((_P.RUNNING,), _P.PENDING),),
    Kind.STEP_DOUBTED: ((_OPEN, _P.UNKNOWN),),
    Kind.STEP_PROBED: (((_P.UNKNOWN,), None),),
    # from SUCCEEDED: an operator supplies the output that the schema had refused
    # from FAILED: an operator says after the pivot that it is done
    Kind.STEP_SUCCEEDED: (((*_OPEN, _P.SUCCEEDED, _P.FAILED), _P.SUCCEEDED),),
    Kind.STEP_FAILED: (((None, *_OPEN), _P.FAILED),),
    Kind.STEP_UNKNOWN: ((_OPEN, _P.UNKNOWN),),
    Kind.STEP_ALARMED: (((_P.FAILED,), None),),
    Kind.STEP_LATE: ((_UNDOING, None),),
    Kind.STEP_NOTHING_TO_COMPENSATE: (((_P.SUCCEEDED,), _P.NOTHING_TO_COMPENSATE),),
    Kind.STEP_RESIDUE: (((_P.SUCCEEDED,), None),),
    Kind.UNDO_DISPATCHED: (((_P.SUCCEEDED, _P.UNKNOWN, _P.COMPENSATING), _P.COMPENSATING),),
    Kind.UNDO_PROGRESSED: (((_P.COMPENSATING,), None),),
    Kind.UNDO_RETRYING: (((_P.COMPENSATING,), None),),
    Kind.UNDO_UNDELIVERABLE: (((_P.COMPENSATING,), None),),
    Kind.UNDO_DOUBTED: ((_UNDOING, _P.COMPENSATING),),
    Kind.UNDO_PROBED: (((_P.COMPENSATING,), None),),
    Kind.UNDO_SUCCEEDED: ((_UNDOING, _P.COMPENSATED),),
    # straight from SUCCEEDED or UNKNOWN: its input cannot be made, or nothing can undo it
    Kind.UNDO_FAILED: (
        (
            (_P.SUCCEEDED, _P.UNKNOWN, _P.COMPENSATING, _P.COMPENSATION_FAILED),
            _P.COMPENSATION_FAILED,
        ),
    ),
    Kind.STEP_AWAITING: (((None, _P.RETRYING), _P.RUNNING),),
    Kind.STEP_SIGNALLED: (((_P.RUNNING,), _P.SUCCEEDED),),
    Kind.STEP_WITHDRAWN: (((_P.RUNNING, _P.RETRYING, _P.PENDING), _P.SKIPPED),),
    # from PENDING: an approval was not used in time, and is asked for again
    Kind.REVIEW_REQUESTED: (((None, _P.RETRYING, _P.PENDING), _P.PENDING),),
    Kind.REVIEW_DECIDED: (((_P.PENDING,), None),),
    Kind.REVIEW_EXPIRED: (((_P.PENDING,), None),),
    Kind.REVIEW_APPROVED: (((_P.PENDING,), None),),
    Kind.STEP_REVIEWED: (((_P.PENDING,), _P.SUCCEEDED),),
    # in an undo saga, as it stood in the original: whatever that was
    Kind.STEP_ADOPTED: (((None,), None),),
    Kind.OPERATOR_RETRIED: (
        ((*_OPEN, _P.FAILED), _P.RETRYING),
        (_UNDOING, _P.COMPENSATING),
    ),
    Kind.OPERATOR_SKIPPED: (
        ((*_OPEN, _P.FAILED), _P.SKIPPED),
        ((_P.SUCCEEDED,), None),
        (_UNDOING, _P.COMPENSATION_FAILED),
    ),
    Kind.OPERATOR_RESOLVED: (((*_OPEN, _P.FAILED, _P.SUCCEEDED, *_UNDOING), None),),
}

_S = SagaStatus
_LIVE: Final = (_S.RUNNING, _S.COMPENSATING, _S.STUCK, _S.SUSPENDED)

SAGA_MOVES: Final[Mapping[Kind, tuple[tuple[SagaStatus, ...], tuple[SagaStatus, ...]]]] = {
    # fact: from which statuses, to which it may lead; suspended hides what lies under it
    Kind.SAGA_COMPENSATING: (
        (_S.RUNNING, _S.STUCK, _S.SUSPENDED),
        (_S.COMPENSATING, _S.STUCK, _S.SUSPENDED),
    ),
    Kind.SAGA_STUCK: (
        (_S.RUNNING, _S.COMPENSATING, _S.SUSPENDED),
        (_S.STUCK, _S.SUSPENDED),
    ),
    Kind.SAGA_UNSTUCK: (
        (_S.STUCK, _S.SUSPENDED),
        (_S.RUNNING, _S.COMPENSATING, _S.SUSPENDED),
    ),
    Kind.SAGA_SUSPENDED: ((_S.RUNNING, _S.COMPENSATING, _S.STUCK), (_S.SUSPENDED,)),
    Kind.SAGA_RESUMED: ((_S.SUSPENDED,), (_S.RUNNING, _S.COMPENSATING, _S.STUCK)),
    Kind.SAGA_COMPLETED: ((_S.RUNNING,), (_S.COMPLETED,)),
    Kind.SAGA_COMPENSATED: ((_S.COMPENSATING,), (_S.COMPENSATED,)),
}


def _flatten() -> dict[str, dict[StepStatus | None, StepStatus | None]]:
    table: dict[str, dict[StepStatus | None, StepStatus | None]] = {}
    for kind, moves in STEP_MOVES.items():
        row = table.setdefault(kind.value, {})
        for sources, target in moves:
            for source in sources:
                assert source not in row, f"{kind} from {source} twice"
                row[source] = source if target is None else target
    return table


STEP_MOVE_OF: Final = _flatten()
"""`STEP_MOVE_OF[kind][status]` is the next status; a KeyError is a move that is not legal."""
