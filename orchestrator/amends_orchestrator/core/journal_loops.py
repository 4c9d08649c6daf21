"""The journal's facts of loops, alternatives and waits; part of the union in `journal`."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from amends_contracts.names import StepPath
from amends_contracts.problems import Problem
from amends_orchestrator.core.kinds import Kind
from amends_orchestrator.core.state import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTurned:
    """A repeat goes through its body again: `turn` is the number of the iteration that begins."""

    KIND: ClassVar = Kind.STEP_TURNED
    path: StepPath
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAdvanced:
    """A long loop has got on: those frames need not be looked into any more."""

    KIND: ClassVar = Kind.STEP_ADVANCED
    path: StepPath
    done: int = 0
    """The first so many items are done."""
    undone: int = 0
    """Of the last so many items or iterations nothing is left to undo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlanFailed:
    """A plan of alternatives failed and is undone; the next one is entered after that."""

    KIND: ClassVar = Kind.STEP_PLAN_FAILED
    path: StepPath
    case: int
    failure: Failure
    problem: Problem
    interrupt_at: datetime
    awaited: tuple[StepPath, ...] = ()
    """Steps of the plan that were in flight: they are awaited until `interrupt_at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLeft:
    """What a step holds is done, or a wait is over."""

    KIND: ClassVar = Kind.STEP_LEFT
    path: StepPath
