"""What a batch changes of a saga's permits, as it is written."""

from collections.abc import Sequence

from amends_contracts.names import StepPath
from amends_orchestrator.core.decision import Ask, GiveBack, PermitChange, Take
from amends_orchestrator.engine.ports import NO_PERMITS, PermitWrites


def permit_writes(changes: Sequence[PermitChange]) -> PermitWrites:
    """What is left of a batch's changes: what was asked for and withdrawn in it never was."""
    if not changes:
        return NO_PERMITS
    asked: dict[tuple[StepPath, int], Ask] = {}
    taken: dict[tuple[StepPath, int], None] = {}
    returned: list[tuple[StepPath, int]] = []
    for change in changes:
        permit = (change.path, change.ask)
        match change:
            case Ask():
                asked[permit] = change
            case Take():
                taken[permit] = None
            case GiveBack() if permit in asked:
                del asked[permit]
            case GiveBack():
                taken.pop(permit, None)
                returned.append(permit)
    return PermitWrites(tuple(asked.values()), tuple(taken), tuple(returned))
