"""What a cell has come to, as facts that are recorded, shown and judged by. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from amends_contracts.names import StepPath
from amends_orchestrator.drills.matrix import KINDS, Cell


class Verdict(StrEnum):
    """What is said of a cell."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to do about it."""

    what: str
    fix: str
    step: StepPath | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a history: seconds since the start, and what happened."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undos:
    """The compensations of one cell."""

    attempted: frozenset[StepPath] = frozenset()
    succeeded: frozenset[StepPath] = frozenset()
    verified: frozenset[StepPath] = frozenset()
    """The participant's own ledger, read afterwards, says that nothing is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One cell of a run."""

    cell: Cell
    verdict: Verdict
    at: datetime
    took_s: float
    findings: tuple[Finding, ...] = ()
    why: str = ""
    """Of an inconclusive cell."""
    saga_id: str | None = None
    trace_id: str | None = None
    detected_s: float | None = None
    """From what went wrong to the first row of the journal that says so."""
    stopped_s: float | None = None
    """To the moment from which nothing new was begun."""
    consistent_s: float | None = None
    """To the end of the last undo."""
    undos: Undos = Undos()
    commands: Mapping[StepPath, str] = field(default_factory=dict[StepPath, str])
    """Of the steps that were undone, the command whose undo it was."""
    held: tuple[str, ...] = ()
    """What is still held, by step."""
    story: tuple[Line, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is recorded and printed."""
        return {
            "step": self.cell.step,
            "fault": self.cell.fault.value,
            "title": KINDS[self.cell.fault].title,
            "verdict": self.verdict.value,
            "at": self.at.isoformat(),
            "took_s": round(self.took_s, 3),
            "findings": [{"what": f.what, "fix": f.fix, "step": f.step} for f in self.findings],
            "why": self.why,
            "saga_id": self.saga_id,
            "trace_id": self.trace_id,
            "detected_s": _rounded(self.detected_s),
            "stopped_s": _rounded(self.stopped_s),
            "consistent_s": _rounded(self.consistent_s),
            "undos": {
                "attempted": sorted(self.undos.attempted),
                "succeeded": sorted(self.undos.succeeded),
                "verified": sorted(self.undos.verified),
            },
            "commands": dict(self.commands),
            "held": list(self.held),
            "history": [{"at_s": round(line.at_s, 3), "text": line.text} for line in self.story],
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
