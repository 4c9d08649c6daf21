"""One checker of the promises: over the past of some sagas, whoever has recorded it.

    report = check(History(sagas=…, effects=…, quiet_at=…))
    assert report.violations == ()

The simulator, the fault tests and `amends doctor` use it. A promise has one rule or several; a rule
whose facts the source does not know is named in `not_checked`, never passed in silence.
"""

from amends_orchestrator.core.checker.history import (
    Asked,
    Change,
    Commit,
    Decided,
    Effect,
    Heard,
    History,
    Made,
    SagaPast,
    Sent,
    Stored,
)
from amends_orchestrator.core.checker.promises import (
    PROMISES,
    RULES,
    Report,
    Rule,
    Violation,
    check,
)

__all__ = [
    "PROMISES",
    "RULES",
    "Asked",
    "Change",
    "Commit",
    "Decided",
    "Effect",
    "Heard",
    "History",
    "Made",
    "Report",
    "Rule",
    "SagaPast",
    "Sent",
    "Stored",
    "Violation",
    "check",
]
