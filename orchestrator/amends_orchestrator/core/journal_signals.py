"""Facts of signals and of the steps that await them; members of `journal.Event`."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """An event came, once per `id`. Its data stands here: the output of the step that takes it."""

    KIND: ClassVar = Kind.SIGNAL_RECEIVED
    event: str
    id: str
    by: str
    data: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAwaiting:
    """It waits for an event, until `due` if that is set."""

    KIND: ClassVar = Kind.STEP_AWAITING
    path: StepPath
    event: str
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSignalled:
    """It took the event that row `signal` holds; no other step gets that one."""

    KIND: ClassVar = Kind.STEP_SIGNALLED
    path: StepPath
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWithdrawn:
    """The saga turned back: the step waits no longer."""

    KIND: ClassVar = Kind.STEP_WITHDRAWN
    path: StepPath
