"""What the plan knows of a review: whom it asks, what it shows, and how it is decided."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from amends_contracts import definition as document
from amends_contracts.definition import Schema
from amends_contracts.messages import Json
from amends_orchestrator.core.expressions import CompiledTemplate


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """A review, of a step of its own or as the guard of an action."""

    when: CompiledTemplate | None
    """Of a guard: nobody is asked unless it holds."""
    title: CompiledTemplate
    form: Schema | None
    """What an edit must be; None: nothing may be edited."""
    assignees: CompiledTemplate
    quorum: int
    expires: timedelta | None
    on_expiry: Literal["reject", "approve", "escalate"]
    escalate_to: CompiledTemplate
    not_requester: bool
    valid_for: timedelta | None
    """From the approval to the dispatch, at most."""


Compile: TypeAlias = Callable[[Json], CompiledTemplate]


def compile_review(
    step: document.Review | document.Guard,
    title: str,
    template: Compile,
    condition: Callable[[str], CompiledTemplate],
) -> Review:
    """The review that a document describes; `title` where it gives none."""
    guard = step if isinstance(step, document.Guard) else None
    when = None if guard is None or guard.when is None else condition(guard.when)
    return Review(
        when=when,
        title=template(step.title or title),
        form=step.form,
        assignees=template(list(step.assignees)),
        quorum=step.quorum,
        expires=step.expires,
        on_expiry=step.on_expiry,
        escalate_to=template(list(step.escalate_to)),
        not_requester=step.not_requester,
        valid_for=step.valid_for,
    )
