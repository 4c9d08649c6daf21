"""The unit of the intake: one message for a saga, or one start, and who waits for its result.

A work item comes from a delivery (acknowledged after commit), from a caller in this process (its
future is resolved after commit), or from the engine itself (nobody waits).
"""

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from amends_contracts.amqp import DeliveryTag
from amends_contracts.messages import Start, StartAnswer, Trace
from amends_contracts.names import SagaId
from amends_orchestrator.core.children import ChildReply
from amends_orchestrator.core.decision import Decision, Refused
from amends_orchestrator.core.inputs import Input, Signalled
from amends_orchestrator.core.late_undo import UndoRequested
from amends_orchestrator.core.state import Asker
from amends_orchestrator.engine.catalog import Registered
from amends_orchestrator.engine.ports import Due


@dataclass(frozen=True, slots=True)
class SignalKept:
    """The answer to a signal whose saga is not there yet: it is kept for a week."""


@dataclass(frozen=True, slots=True)
class SignalKnown:
    """The answer to a signal that its saga has had before: as good as the first time."""

    saga_id: SagaId


@dataclass(frozen=True, slots=True)
class Replied:
    """A step of another saga was told."""


Result: TypeAlias = Decision | Refused | StartAnswer | Replied
"""What came of one piece of work."""
Answer: TypeAlias = Result | SignalKept | SignalKnown
"""What a client is told."""


@dataclass(slots=True, eq=False)
class Handle:
    """A delivery, acknowledged when all the work that it brought is committed or refused."""

    tag: DeliveryTag
    left: int = 1


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """A client's own queue."""

    reply_to: str
    correlation_id: str | None


@dataclass(slots=True, kw_only=True, eq=False)
class _Work:
    handle: Handle | None = None
    answer_to: AnswerTo | None = None
    done: "asyncio.Future[Result] | None" = None
    result: Result | None = None
    """Set by the decision; worth nothing before the commit."""


@dataclass(slots=True, kw_only=True, eq=False)
class ForSaga(_Work):
    """A message for a saga that should exist."""

    saga_id: SagaId
    message: Input
    tenant: str | None = None
    """Whose saga it must be; None for what a token proves."""
    due: Due | None = None
    """Of a wake-up: what was due, to be re-armed."""


@dataclass(slots=True, kw_only=True, eq=False)
class ForStart(_Work):
    """A start whose definition is found and whose input fits the schema."""

    saga_id: SagaId
    """The id that the saga will have if this start creates it; the same over every retry."""
    tenant: str
    by: str
    start: Start
    registered: Registered
    input_digest: str
    labels: dict[str, str] = field(default_factory=dict[str, str])
    retired: bool = False
    """The version takes no new starts: this one is answered only if it was accepted before."""
    undo: UndoRequested | None = None
    """It starts the late undo of another saga."""
    asked: Asker | None = None
    """The step of another saga that waits for its end."""
    undone: bool = False
    """It is undone before it is started: a tombstone."""
    trace: Trace | None = None
    requested_by: str | None = None
    """The person behind it, where `by` is a schedule or another saga."""

    @property
    def awaits(self) -> bool:
        """Whether signals may have come before it."""
        return self.undo is None and not self.undone and bool(self.registered.plan.awaited)


@dataclass(slots=True, kw_only=True, eq=False)
class ForReply(_Work):
    """An answer to a step that runs another saga, known without deciding one."""

    saga_id: SagaId
    """The saga of the step."""
    reply: ChildReply


Work: TypeAlias = ForSaga | ForStart | ForReply


def answer_of(work: Work, result: Result) -> Answer:
    """What whoever asked is told: a signal that came before is answered as the first one was."""
    repeated = isinstance(result, Refused) and result.duplicate
    if repeated and isinstance(work, ForSaga) and isinstance(work.message, Signalled):
        return SignalKnown(work.saga_id)
    return result
