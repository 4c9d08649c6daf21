"""Problems (RFC 9457): how every refusal and failure is said, on the broker and over REST.

A problem is recognised by its `type`, never by its text. Types of the engine start with `amends:`;
a participant's own types are bare words (`sold-out`) or URIs.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

PROBLEM_CONTENT_TYPE = "application/problem+json"


class ProblemType(StrEnum):
    """Problem types that the engine and the SDK themselves produce."""

    # of participants
    FORGOTTEN = "amends:forgotten"
    RUNNING = "amends:running"
    CLOSED = "amends:closed"
    EXPIRED = "amends:expired"
    KEY_REUSED = "amends:key-reused"
    UNKNOWN_COMMAND = "amends:unknown-command"
    UNSUPPORTED = "amends:unsupported"
    INVALID_INPUT = "amends:invalid-input"
    DRILL_REFUSED = "amends:drill-refused"
    """A command of a drill, at a participant that takes no part in drills with it."""
    DRILLED = "amends:drilled"
    """It failed because a drill asked for it."""
    CRASHED = "amends:crashed"
    """A handler outside `transactional` raised: the effect is in doubt."""
    # of the engine, about a step
    TOO_LARGE = "amends:too-large"
    BAD_OUTPUT = "amends:bad-output"
    BAD_EXPRESSION = "amends:bad-expression"
    TIMEOUT = "amends:timeout"
    INTERRUPTED = "amends:interrupted"
    UNDELIVERABLE = "amends:undeliverable"
    DEAD_LETTERED = "amends:dead-lettered"
    FENCED = "amends:fenced"
    UNDO_MAPPING = "amends:undo-mapping"
    UNDO_UNVERIFIED = "amends:undo-unverified"
    EFFECT_IN_DOUBT = "amends:effect-in-doubt"
    EXHAUSTED = "amends:exhausted"
    """A `repeat` reached its `max`."""
    REJECTED = "amends:rejected"
    """A reviewer said no."""
    REVIEW_EXPIRED = "amends:review-expired"
    """No reviewer decided in time."""
    OVER_BUDGET = "amends:over-budget"
    """What a model call may cost no longer fits into the budget, or into its own limits."""
    # of a participant that asks models
    NO_PRICE = "amends:no-price"
    """A model whose price is unknown cannot run under a limit in money."""
    NOT_THE_SCHEMA = "amends:not-the-schema"
    """A model's answer is not of the form that was asked for, however often it was asked again."""
    REFUSAL = "amends:refusal"
    """A model, or its provider's filter, refused to answer."""
    PROVIDER = "amends:provider"
    """A provider of models could not answer, or did not accept what was asked."""
    # of a participant that calls tools
    NOT_ALLOWED = "amends:not-allowed"
    """A tool, an address or an amount is beyond what was allowed."""
    # of the engine, about a saga
    CANCELLED = "amends:cancelled"
    DEADLINE = "amends:deadline"
    ENGINE_FAULT = "amends:engine-fault"
    JOURNAL_FULL = "amends:journal-full"
    RESOLVED = "amends:resolved"
    """An operator said that it failed."""
    UNDO_REQUESTED = "amends:undo-requested"
    """Somebody asked for a completed saga to be undone: why its undo saga goes back."""
    # refusals
    NOT_FOUND = "amends:not-found"
    KEY_CONFLICT = "amends:key-conflict"
    NAME_CONFLICT = "amends:name-conflict"
    PAST_PIVOT = "amends:past-pivot"
    WRONG_STATE = "amends:wrong-state"
    WINDOW_CLOSED = "amends:window-closed"
    """The undo window of a step (`compensable_for`) is over."""
    BAD_REQUEST = "amends:bad-request"
    BAD_DEFINITION = "amends:bad-definition"
    REVIEW_CHANGED = "amends:review-changed"
    """What the reviewer was shown is not what is shown now."""
    VERSION_CONFLICT = "amends:version-conflict"
    RETIRED = "amends:retired"
    """The version of the definition takes no new starts."""
    UNDO_DEBT = "amends:undo-debt"
    """Sagas of the version are running, or may still be undone."""
    UNAUTHENTICATED = "amends:unauthenticated"
    FORBIDDEN = "amends:forbidden"
    OVERLOADED = "amends:overloaded"
    NOT_READY = "amends:not-ready"
    INTERNAL = "amends:internal"


class FieldError(BaseModel):
    """One offending place of a document or request (extension member `errors`)."""

    model_config = ConfigDict(frozen=True)

    path: str
    """JSON pointer, `/steps/2/input/to`; empty for the whole."""
    reason: str
    remedy: str | None = None
    line: int | None = None
    """Line of the user's own file, where it is known."""
    file: str | None = None


class Problem(BaseModel):
    """An RFC 9457 problem. Unknown members are kept, for those who read further."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = "about:blank"
    title: str = ""
    status: int | None = None
    detail: str | None = None
    instance: str | None = None
    errors: Annotated[tuple[FieldError, ...], Field(exclude_if=lambda v: not v)] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without members that are not set."""
        return self.model_dump(mode="json", exclude_none=True)
