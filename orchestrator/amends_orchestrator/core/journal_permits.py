"""The facts of a journal about waiting for others: for a permit, or for a participant that is sick.

That a permit is given back is no fact of its own: it goes with what settles the action.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from amends_contracts.names import StepPath
from amends_orchestrator.core.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQueued:
    """The next attempt waits for a permit, without a running timeout."""

    KIND: ClassVar = Kind.STEP_QUEUED
    path: StepPath
    attempt: int
    """The latest that was dispatched, 0 at first."""
    due: datetime
    """When it is asked for anew, should the request be lost."""
    since: datetime
    pool: str
    key: str = ""
    concurrency: int | None = None
    rate_count: int | None = None
    rate_per_s: float | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPermitted:
    """The permit that was asked for in row `ask` is granted."""

    KIND: ClassVar = Kind.STEP_PERMITTED
    path: StepPath
    attempt: int
    ask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepHeld:
    """Nothing is sent to its participant, which does not answer; looked at again at `due`."""

    KIND: ClassVar = Kind.STEP_HELD
    path: StepPath
    attempt: int
    """The latest that was dispatched, 0 at first."""
    due: datetime
    service: str
