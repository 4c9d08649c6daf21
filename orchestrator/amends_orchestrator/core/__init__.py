"""What the orchestrator decides, without IO, clock or chance.

plan = compile_plan(definition, expressions)
decision = start(plan, identity, request, now)
answer = decide(plan, saga, values, message, now)      # Decision | Refused | Missing
saga = replay(rows, identity)                          # the same saga, from its journal
"""

from amends_orchestrator.core.children import ChildReply, end_of, replies_of, reply_of, start_undone
from amends_orchestrator.core.compiling import UnsupportedKind, compile_plan
from amends_orchestrator.core.decide import Values, decide, start
from amends_orchestrator.core.decision import (
    Answer,
    Decision,
    JournalRow,
    Missing,
    Notice,
    Refused,
    Send,
)
from amends_orchestrator.core.evolve import evolve, replay
from amends_orchestrator.core.late_undo import UndoRequested, adopted_rows, start_undo
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.resolve import resolve
from amends_orchestrator.core.review_tasks import ReviewTask, review_tasks
from amends_orchestrator.core.state import (
    TERMINAL,
    Identity,
    Saga,
    SagaStatus,
    State,
    StepStatus,
    wake_at,
)
from amends_orchestrator.core.state_json import from_stored, state_from_json, state_to_json
from amends_orchestrator.core.undo_plan import UndoItem, undo_plan
from amends_orchestrator.core.verify import verify
from amends_orchestrator.core.view import SagaView, saga_view

__all__ = [
    "TERMINAL",
    "Answer",
    "ChildReply",
    "Decision",
    "Identity",
    "JournalRow",
    "Missing",
    "Notice",
    "Plan",
    "Refused",
    "ReviewTask",
    "Saga",
    "SagaStatus",
    "SagaView",
    "Send",
    "State",
    "StepStatus",
    "UndoItem",
    "UndoRequested",
    "UnsupportedKind",
    "Values",
    "adopted_rows",
    "compile_plan",
    "decide",
    "end_of",
    "evolve",
    "from_stored",
    "replay",
    "replies_of",
    "reply_of",
    "residue_count",
    "resolve",
    "review_tasks",
    "saga_status",
    "saga_view",
    "start",
    "start_undo",
    "start_undone",
    "state_from_json",
    "state_to_json",
    "undo_plan",
    "verify",
    "wake_at",
]


def saga_status(saga: Saga) -> SagaStatus:
    """The status that the saga's row shows."""
    return saga.status


def residue_count(saga: Saga) -> int:
    """Effects of the saga that stay in the world."""
    return saga.residue
