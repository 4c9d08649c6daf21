"""The verifier on loops, alternatives and what waits: what such steps must say of themselves."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, cast

from amends_contracts import definition as document
from amends_contracts.expressions import (
    ExpressionSyntaxError,
    parse_template,
    references_of,
)
from amends_contracts.names import is_name
from amends_contracts.problems import FieldError
from amends_orchestrator.core.compiling import EACH_NAMES, REPEAT_NAMES
from amends_orchestrator.core.loops import ITEMS_MAX
from amends_orchestrator.core.state import ROWS_MAX, SIGNALS_MAX
from amends_orchestrator.core.waits import moment

EVENT_CHARS_MAX: Final = 80
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


def check_await(
    step: document.Await, at: str, *, after_pivot: bool, times: int
) -> Iterator[FieldError]:
    """An event whose name can travel, and as many signals as a saga takes."""
    if not is_name(step.event) or len(step.event) > EVENT_CHARS_MAX:
        reason = f"{step.event!r} is no event's name"
        remedy = f"use a-z, 0-9, _ and -, at most {EVENT_CHARS_MAX} characters"
        yield FieldError(path=f"{at}/event", reason=reason, remedy=remedy)
    if times > SIGNALS_MAX:
        reason = f"it may await {times} signals, and a saga takes at most {SIGNALS_MAX}"
        remedy = "let the loops around it run less often, or run a child saga for each"
        yield FieldError(path=at, reason=reason, remedy=remedy)
    if step.timeout is None:
        if step.on_timeout == "ignore":
            reason, remedy = "without a timeout there is nothing to ignore", "set `timeout`"
            where = f"{at}/on_timeout"
            yield FieldError(path=where, reason=reason, remedy=f"{remedy}, or leave it out")
        return
    if step.timeout <= timedelta(0):
        reason = "it would be over at once"
        yield FieldError(path=f"{at}/timeout", reason=reason, remedy="give it more than PT0S")
    if after_pivot and step.on_timeout != "ignore":
        reason = "it stands after the pivot and may fail for good: nobody could undo the rest"
        remedy = "leave `timeout` out, or say `on_timeout: ignore`"
        yield FieldError(path=f"{at}/timeout", reason=reason, remedy=remedy)


def check_child_key(key: str, at: str, names: frozenset[str]) -> Iterator[FieldError]:
    """In a loop every child has a key of its own; `names` are those that exist at its step."""
    frames = names & (EACH_NAMES | REPEAT_NAMES)
    try:
        named = {reference[0] for reference in references_of(parse_template(key))}
    except ExpressionSyntaxError:
        return  # said already
    if frames and not named & (frames | {"steps"}):
        reason = "it is the same each time: the loop would run one saga, and then only ask for it"
        remedy = f"name one of {', '.join(sorted(frames))} in it, or leave `key` out"
        yield FieldError(path=at, reason=reason, remedy=remedy)


def items_known(step: document.Each) -> int:
    """How many items it has, if the document lists them; else one."""
    items = step.items
    return max(1, len(cast("list[object]", items))) if isinstance(items, list) else 1


def _empty(at: str, what: str) -> FieldError:
    reason = f"there is nothing to do for {what}"
    return FieldError(path=at, reason=reason, remedy="add a step, or leave the loop out")
