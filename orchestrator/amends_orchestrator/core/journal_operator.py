"""The journal's facts of what operators do to steps; part of the union in `journal`."""

from dataclasses import dataclass
from typing import ClassVar

from amends_contracts.messages import Outcome
from amends_contracts.names import StepPath
from amends_orchestrator.core.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRetried:
    """The open operation is sent again at once, with a new budget of attempts."""

    KIND: ClassVar = Kind.OPERATOR_RETRIED
    path: StepPath
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSkipped:
    """The open operation is closed; `residue`: an effect may be there and has an owner now."""

    KIND: ClassVar = Kind.OPERATOR_SKIPPED
    path: StepPath
    by: str
    reason: str
    owner: str
    residue: bool
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorResolved:
    """The open operation is closed with the outcome an operator supplies, in the next row."""

    KIND: ClassVar = Kind.OPERATOR_RESOLVED
    path: StepPath
    by: str
    reason: str
    outcome: Outcome
