"""What the pages need of the record of drills (`store.drills`), as narrow protocols.

A drill is of a definition, and runs its sagas elsewhere: like definitions, its record is shared by
all tenants.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from amends_contracts.messages import Json


class DrillRun(Protocol):
    """One run, with what its cells came to."""

    @property
    def id(self) -> UUID: ...
    @property
    def definition(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def against(self) -> str: ...
    @property
    def cells(self) -> int: ...
    @property
    def passed(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def inconclusive(self) -> int: ...
    @property
    def held(self) -> Sequence[str]: ...
    @property
    def began_at(self) -> datetime: ...
    @property
    def ended_at(self) -> datetime | None:
        """None also where it was interrupted."""
        ...


class DrillProof(Protocol):
    """When the undo of a step was last seen to succeed."""

    @property
    def definition(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def times(self) -> int: ...
    @property
    def age_s(self) -> float: ...


class Drills(Protocol):
    """The record of drills."""

    async def newest_runs(self, limit: int) -> Sequence[DrillRun]:
        """Of each definition the newest run, newest first."""
        ...

    async def runs(self, definition: str) -> Sequence[DrillRun]:
        """Runs of a definition, newest first."""
        ...

    async def run(self, run_id: UUID) -> DrillRun | None:
        """One run; None if there is none."""
        ...

    async def cells(self, run_id: UUID) -> Sequence[Json]:
        """The cells of a run, in the order in which they were tried."""
        ...

    async def proofs(self, definition: str | None = None) -> Sequence[DrillProof]:
        """Per undo, when it was last proven."""
        ...
