"""The verifier on `each`, `repeat`, `alternatives` and `wait`: what they must say of themselves."""

from collections.abc import Iterator
from typing import Final, cast

from amends_contracts import definition as document
from amends_contracts.problems import FieldError
from amends_orchestrator.core.loops import ITEMS_MAX
from amends_orchestrator.core.state import ROWS_MAX
from amends_orchestrator.core.waits import moment

TURNS_MAX: Final = ROWS_MAX
"""Every iteration takes at least one row of the journal."""


def check_each(step: document.Each, at: str) -> Iterator[FieldError]:
    """A body, and items that can be a list of at most so many."""
    if not step.steps:
        yield _empty(f"{at}/steps", "each item")
    items = step.items
    if isinstance(items, list) and len(cast("list[object]", items)) > ITEMS_MAX:
        reason = f"{len(cast('list[object]', items))} items; an `each` takes at most {ITEMS_MAX}"
        remedy = "split the list over several sagas"
        yield FieldError(path=f"{at}/items", reason=reason, remedy=remedy)


def check_repeat(step: document.Repeat, at: str, *, after_pivot: bool) -> Iterator[FieldError]:
    """A body, and a limit that the journal can hold."""
    if not step.steps:
        yield _empty(f"{at}/steps", "each iteration")
    if step.max > TURNS_MAX:
        reason = f"a saga's journal has room for {ROWS_MAX} rows: it would be full before"
        remedy = f"give it at most {TURNS_MAX}, or poll by an action that is retried"
        yield FieldError(path=f"{at}/max", reason=reason, remedy=remedy)
    if after_pivot:
        reason = "it stands after the pivot and fails at its `max`: nobody could undo the rest"
        remedy = "move it before the pivot, or retry one action for ever instead"
        yield FieldError(path=f"{at}/max", reason=reason, remedy=remedy)


def check_alternatives(
    step: document.Alternatives, at: str, *, after_pivot: bool
) -> Iterator[FieldError]:
    """Plans with names of their own, where what failed can still be undone."""
    names: dict[str, int] = {}
    for n, plan in enumerate(step.plans):
        if plan.name in names:
            reason = f"there is another plan {plan.name!r} at {at}/plans/{names[plan.name]}"
            yield FieldError(path=f"{at}/plans/{n}/name", reason=reason, remedy="rename one")
        names.setdefault(plan.name, n)
    if after_pivot:
        reason = "it stands after the pivot, where a plan that fails cannot be undone any more"
        remedy = "move it before the pivot, or use a `choice`"
        yield FieldError(path=f"{at}/plans", reason=reason, remedy=remedy)


def check_wait(step: document.Wait, at: str) -> Iterator[FieldError]:
    """One of the two, and a time that is one as far as it is known."""
    if (step.for_ is None) == (step.until is None):
        reason = "it must say how long: `for` (a duration) or `until` (a time), one of the two"
        remedy = "write for: PT10M, or until: ${ input.departure }"
        yield FieldError(path=at, reason=reason, remedy=remedy)
    until = step.until
    if until is None or (isinstance(until, str) and "${" in until):
        return
    wrong = moment(until)
    if isinstance(wrong, str):
        yield FieldError(path=f"{at}/until", reason=wrong, remedy="write it as RFC 3339 does")


def _empty(at: str, what: str) -> FieldError:
    reason = f"there is nothing to do for {what}"
    return FieldError(path=at, reason=reason, remedy="add a step, or leave the loop out")
