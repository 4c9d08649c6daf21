"""The verifier on reviews: whom they ask, for how long, and where one may stand."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from amends_contracts import definition as document
from amends_contracts.problems import FieldError
from amends_orchestrator.core.reviews import ROLE
from amends_orchestrator.core.verify_schemas import malformed

QUORUM_MAX: Final = 20


def check_review(
    step: document.Review | document.Guard, at: str, *, after_pivot: bool
) -> Iterator[FieldError]:
    """What every review must say of itself; `after_pivot`: a reject there could not be undone."""
    if after_pivot:
        reason = "it stands after the pivot, and a reject could not be undone"
        remedy = "move it before the pivot, or let it guard the pivot itself"
        if isinstance(step, document.Guard):
            remedy += ", or say `on_failure: ignore`"
        yield FieldError(path=at, reason=reason, remedy=remedy)
    if step.form is not None:
        yield from malformed(step.form, f"{at}/form")
    yield from _people(step, at)
    yield from _time(step, at)


def _people(step: document.Review | document.Guard, at: str) -> Iterator[FieldError]:
    named = [who for who in step.assignees if not who.startswith(ROLE) and "${" not in who]
    if len(named) == len(step.assignees) > 0 and step.quorum > len(set(named)):
        reason = f"{step.quorum} must approve, and only {len(set(named))} may"
        yield FieldError(path=f"{at}/quorum", reason=reason, remedy="lower it, or name more people")
    elif step.quorum > QUORUM_MAX:
        reason = f"{step.quorum} must approve; a review takes at most {QUORUM_MAX}"
        yield FieldError(path=f"{at}/quorum", reason=reason, remedy="lower it")
    for where, people in (("assignees", step.assignees), ("escalate_to", step.escalate_to)):
        for n, who in enumerate(people):
            if not who.removeprefix(ROLE).strip():
                remedy = f"name a person, or a role as in {ROLE}support"
                yield FieldError(path=f"{at}/{where}/{n}", reason="this is nobody", remedy=remedy)


def _time(step: document.Review | document.Guard, at: str) -> Iterator[FieldError]:
    for name in ("expires", "valid_for"):
        value = getattr(step, name)
        if value is not None and value <= timedelta(0):
            reason = "it would be over at once"
            yield FieldError(path=f"{at}/{name}", reason=reason, remedy="give it more than PT0S")
    if step.expires is None and step.on_expiry != "reject":
        reason = "without `expires` it never expires"
        remedy = "set `expires`, or leave `on_expiry` out"
        yield FieldError(path=f"{at}/on_expiry", reason=reason, remedy=remedy)
    if (step.on_expiry == "escalate") != bool(step.escalate_to):
        reason = "`on_expiry: escalate` and `escalate_to` go together"
        remedy = "name those who decide then, or leave both out"
        yield FieldError(path=f"{at}/escalate_to", reason=reason, remedy=remedy)
    if step.valid_for is not None and isinstance(step, document.Review):
        reason = "a step of its own sends nothing: there is no dispatch to be in time"
        remedy = "make it the `review` of the action that must follow in time"
        yield FieldError(path=f"{at}/valid_for", reason=reason, remedy=remedy)


def is_seen(guard: document.Guard | document.Review | None) -> bool:
    """Whether nothing behind it runs that no person has approved."""
    if guard is None or guard.on_expiry == "approve":
        return False
    return guard.when is None
