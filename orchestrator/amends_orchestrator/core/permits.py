"""Permits, as one saga sees them: what a step's facts change in what it asks for and holds.

Who may have one is not decided here: that concerns many sagas (`engine.granting`).
"""

from collections.abc import Sequence
from typing import Final

from amends_contracts.names import StepPath
from amends_orchestrator.core.decision import Ask, GiveBack, PermitChange, Take
from amends_orchestrator.core.journal import Event
from amends_orchestrator.core.journal_permits import StepQueued
from amends_orchestrator.core.state import StepState

_NOTHING: Final[Sequence[PermitChange]] = ()


def permit_changes(
    path: StepPath, event: Event, before: StepState | None, after: StepState | None
) -> Sequence[PermitChange]:
    """What is to be written about a step's permit, given the step before and after a fact."""
    old = 0 if before is None else before.permit
    new = 0 if after is None else after.permit
    if old == new:
        if before is None or after is None or before.permitted == after.permitted:
            return _NOTHING
        return (Take(path, new),)
    changes: list[PermitChange] = []
    if old:
        changes.append(GiveBack(path, old))
    if new:
        assert isinstance(event, StepQueued), f"{event.KIND} asks for a permit"
        changes.append(_ask(event, new))
    return changes


def _ask(event: StepQueued, ask: int) -> Ask:
    return Ask(
        path=event.path,
        ask=ask,
        pool=event.pool,
        key=event.key,
        since=event.since,
        concurrency=event.concurrency,
        rate_count=event.rate_count,
        rate_per_s=event.rate_per_s,
        total=event.total,
    )
