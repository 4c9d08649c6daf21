"""Facts of a late undo; members of `journal.Event`."""

from dataclasses import dataclass
from typing import ClassVar

from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.core.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAdopted:
    """A step as it stood in the original saga; its payloads stand here, copied."""

    KIND: ClassVar = Kind.STEP_ADOPTED
    path: StepPath
    state: Json
    """As `state_json` writes it; its seqs are the original's, and say which payloads there are."""
    input: Json = None
    output: Json = None
    undo: Json = None
    items: Json = None
    """Of an each."""
    problem: Json = None
    failure: Json = None
    """Of alternatives: why the latest of their failed plans failed."""
