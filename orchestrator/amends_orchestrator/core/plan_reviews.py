"""What the plan knows of a review: whom it asks, what it shows, and how it is decided."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol

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


@dataclass(frozen=True, slots=True, eq=False)
class ReviewNode:
    """A person approves, rejects or edits."""

    id: str
    when: CompiledTemplate | None
    show: CompiledTemplate
    review: Review


class Compiler(Protocol):
    """Compiles what stands in a document, for the names that exist there."""

    def template(self, value: Json, names: frozenset[str]) -> CompiledTemplate:
        """A value with templates in it."""
        ...

    def when(self, text: str | None, names: frozenset[str]) -> CompiledTemplate | None:
        """A condition, if there is one."""
        ...


def compile_guard(
    guard: document.Guard, command: str, compiler: Compiler, names: frozenset[str]
) -> Review:
    """The review before an action; `action.input` is the body that waits."""
    names = names | {"action"}
    return _review(guard, guard.title or command, compiler, names, guard.when)


def compile_review(step: document.Review, compiler: Compiler, names: frozenset[str]) -> ReviewNode:
    """A step of its own."""
    review = _review(step, step.title, compiler, names, None)
    show = compiler.template(step.show, names)
    return ReviewNode(step.id, compiler.when(step.when, names), show, review)


def _review(
    step: document.Review | document.Guard,
    title: str,
    compiler: Compiler,
    names: frozenset[str],
    when: str | None,
) -> Review:
    return Review(
        when=compiler.when(when, names),
        title=compiler.template(title, names),
        form=step.form,
        assignees=compiler.template(list(step.assignees), names),
        quorum=step.quorum,
        expires=step.expires,
        on_expiry=step.on_expiry,
        escalate_to=compiler.template(list(step.escalate_to), names),
        not_requester=step.not_requester,
        valid_for=step.valid_for,
    )
