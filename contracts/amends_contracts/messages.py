"""The messages of the wire contract, as frozen facts. How they look in AMQP is in `codec`.

A command or reply carries its body as the bytes that travel: the digest is over these bytes,
and a body is rendered once and republished unchanged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from amends_contracts.names import Key, MessageId, Op, SagaId
from amends_contracts.problems import Problem

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list or dict with string keys."""

WIRE_VERSION: Final = 1
JSON_TYPE: Final = "application/json"
REF_TYPE: Final = "application/vnd.amends.ref+json"
BATCH_TYPE: Final = "application/vnd.amends.batch+json"


_write: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""What `json.dumps` makes anew for every call that asks for anything but its defaults."""


def to_body(value: Json) -> bytes:
    """Canonical JSON bytes (UTF-8, no spaces, keys in the order given)."""
    return _write(value).encode()


def holds_nul(body: bytes) -> bool:
    """Whether a text of this JSON holds U+0000, which no database keeps.

    An escaped backslash before `u0000` is harmless: backslashes stand in pairs or begin an escape.
    """
    return b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b"")


def digest_of(body: bytes) -> str:
    """SHA-256 of the body in hex: `amends-digest`."""
    return hashlib.sha256(body).hexdigest()


class Outcome(StrEnum):
    """What a reply says of its command (`amends-outcome`)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The participant knows that nothing changed."""
    UNKNOWN = "unknown"
    """It cannot tell."""
    FENCED = "fenced"
    """The action never took effect and never will: its compensation was there first."""
    PROGRESS = "progress"


class ActionOutcome(StrEnum):
    """What the engine knows of the action it compensates (`amends-action-outcome`)."""

    SUCCEEDED = "succeeded"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """How a doubt about a command's effect is settled."""

    TRANSACTIONAL = "transactional"
    """Effect and barrier in one database transaction."""
    KEYED = "keyed"
    """The outside honours our key."""
    QUERYABLE = "queryable"
    """It can be probed."""
    NONE = "none"
    """Only a person can tell; after a timeout never retried automatically."""


class Reversal(StrEnum):
    """Whether a command's effect can be taken back."""

    READ_ONLY = "read_only"
    COMPENSATABLE = "compensatable"
    IRREVERSIBLE = "irreversible"


class ProbeEffect(StrEnum):
    """What a probe found (`effect` in the body of its reply)."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Trace:
    """W3C trace context, as it travels."""

    traceparent: str
    tracestate: str | None = None
    baggage: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a metered step consumed (`amends-usage`); `usd` None if the price is unknown."""

    input_tokens: int
    output_tokens: int
    usd: float | None
    model: str
    calls: int = 1
    """Requests to models, the lost ones too."""
    lost: int = 0
    """Of these, how many nobody can tell the usage of: they may have been paid for."""
    answered_by: str | None = None
    """The model as its provider names it, which pins its version."""
    prompt_digest: str | None = None
    """SHA-256 of what the model was first asked."""

    def to_json(self) -> dict[str, Json]:
        """The JSON object; what says nothing beyond one call that was answered is left out."""
        said: dict[str, Json] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "usd": self.usd,
            "model": self.model,
        }
        more = {
            "calls": None if self.calls == 1 else self.calls,
            "lost": self.lost or None,
            "answered_by": self.answered_by,
            "prompt_digest": self.prompt_digest,
        }
        return said | {name: value for name, value in more.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Orchestrator -> participant. `forget` alone has neither key, saga, reply_to nor attempt."""

    type: str
    """Command name `<service>.<verb>`; of a probe that of its action."""
    op: Op
    message_id: MessageId
    body: bytes
    saga_id: SagaId | None = None
    """`correlation_id`."""
    reply_to: str | None = None
    """Routing key for the reply on the replies exchange."""
    key: Key | None = None
    digest: str | None = None
    """Computed by the engine over `body`; participants compare it as a string."""
    compensates: Key | None = None
    action_outcome: ActionOutcome | None = None
    attempt: int = 1
    deadline: datetime | None = None
    """Advice; timezone-aware."""
    token: str | None = None
    definition: str | None = None
    """`book-trip@3`."""
    tenant: str | None = None
    trace: Trace | None = None
    content_type: str = JSON_TYPE
    extra_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further `amends-*` headers, kept for readers newer than this one."""

    def json(self) -> Json:
        """The decoded body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Participant -> orchestrator: the echo of a delivery and the stored outcome and body."""

    saga_id: SagaId
    type: str
    key: Key
    attempt: int
    token: str | None
    message_id: MessageId
    outcome: Outcome
    body: bytes = b"{}"
    """The output object; for failed, unknown and fenced a problem."""
    retryable: bool = False
    retry_after_s: float | None = None
    usage: Usage | None = None
    trace: Trace | None = None
    content_type: str = JSON_TYPE
    read: Json = field(default=None, compare=False, repr=False)
    """The decoded body, where it was decoded to see whether it is one."""

    def json(self) -> Json:
        """The decoded body."""
        return json.loads(self.body) if self.read is None else self.read

    def problem(self) -> Problem:
        """The body as a problem; one that is none gives `about:blank`, with its text as detail."""
        try:
            return Problem.model_validate_json(self.body or b"{}")
        except ValueError:
            return Problem(detail=self.body[:1000].decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class CommandInfo:
    """What `hello` says of one command."""

    effect: Effect
    reversal: Reversal
    input: Json = None
    """JSON Schema of the body, or None if it is not said."""
    output: Json = None
    compensation: str | None = None
    probe: bool = False
    drill: str | None = None
    """What it acts on in drills ("Stripe's test mode"); None: it takes no part in them."""


ACCEPTS_BATCH: Final = "batch"
"""In `accepts` of a hello: it takes envelopes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Every participant instance, at start and every 30 s: a hint, never needed for correctness."""

    service: str
    instance: str
    commands: Mapping[str, CommandInfo]
    sdk: str | None = None
    accepts: frozenset[str] = frozenset()
    """`batch`, `ref`, `drill`."""
    horizon: str | None = None
    """ISO 8601 duration for which rows are kept, if the participant purges by itself."""


# Client -> orchestrator: the same verbs over the broker and REST.


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Idempotent per (tenant, definition, key)."""

    definition: str
    key: str
    input: Json
    version: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a running saga and compensate it."""

    saga_id: SagaId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Late undo of a completed saga."""

    saga_id: SagaId
    reason: str
    across_pivot: bool = False
    """Also what a pivot had made final; what cannot be taken back stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An event for a saga, named by its id or by definition and key; idempotent by `id`."""

    event: str
    id: str
    data: Json = None
    saga_id: SagaId | None = None
    definition: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide:
    """A reviewer's decision, bound to the digest of what was shown."""

    review_id: str
    decision: Literal["approve", "reject", "edit"]
    shown_digest: str
    body: Json = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class EnlistedCompensation:
    """The undo of an enlisted step: a command that a registered participant serves."""

    command: str
    body: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlistOpen:
    """Open a saga whose steps another process runs, under a lease."""

    definition: str
    key: str
    lease: str
    """ISO 8601 duration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlistStep:
    """Register an undo before its effect; answered after commit."""

    saga_id: SagaId
    step: str
    compensation: EnlistedCompensation | None
    effect: Effect
    reversal: Reversal


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlistSettle:
    """What became of an enlisted step."""

    saga_id: SagaId
    step: str
    outcome: Outcome
    output: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlistRenew:
    """Renew the lease of an enlisted saga."""

    saga_id: SagaId


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlistClose:
    """End an enlisted saga well."""

    saga_id: SagaId


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlistFail:
    """End an enlisted saga badly: it compensates."""

    saga_id: SagaId
    reason: str


ClientMessage: TypeAlias = (
    Start
    | Cancel
    | Undo
    | Signal
    | Decide
    | EnlistOpen
    | EnlistStep
    | EnlistSettle
    | EnlistRenew
    | EnlistClose
    | EnlistFail
)


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """The answer to a start: the saga, and whether this start created it."""

    saga_id: SagaId
    created: bool


class LifecycleEvent(StrEnum):
    """Routing key suffixes on the events exchange."""

    SAGA_STARTED = "saga.started"
    SAGA_COMPLETED = "saga.completed"
    SAGA_COMPENSATING = "saga.compensating"
    SAGA_COMPENSATED = "saga.compensated"
    SAGA_STUCK = "saga.stuck"
    STEP_SUCCEEDED = "step.succeeded"
    STEP_FAILED = "step.failed"
    STEP_UNKNOWN = "step.unknown"
    STEP_COMPENSATED = "step.compensated"
    REVIEW_REQUESTED = "review.requested"
    REVIEW_DECIDED = "review.decided"
    REVIEW_EXPIRED = "review.expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """A CloudEvent about a saga; opt-in per definition, the truth is REST."""

    id: str
    event: LifecycleEvent
    time: datetime
    saga_id: SagaId
    definition: str
    version: int
    key: str
    status: str
    step: str | None = None
    problem: Problem | None = None
