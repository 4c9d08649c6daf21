"""The definition document: a saga's versioned plan, as it is registered, stored and published.

This file says what a document may look like, field by field. What may refer to what, and what
cannot work, is the verifier's subject. Strings that are wholly `${ … }` are expressions and keep
their type; inside a longer string an expression is interpolated; other JSON is literal.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from amends_contracts.messages import Effect, Reversal
from amends_contracts.names import COMMAND_PATTERN, NAME_PATTERN

_DURATION: Final = re.compile(
    r"P(?!$)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?!$)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,6})?)S)?)?"
)


DURATION_MAX: Final = timedelta(days=100 * 366)
"""A century: what is added to a time of today stays a time that databases can hold."""


def parse_duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks to seconds (no months or years); ValueError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not an ISO 8601 duration such as PT30S, PT2H or P1D: {text!r}")
    parts = {unit: float(n) for unit, n in match.groupdict().items() if n is not None}
    try:
        duration = timedelta(**parts)
    except OverflowError:
        duration = timedelta.max
    if duration > DURATION_MAX:
        raise ValueError(f"a duration of at most {DURATION_MAX.days} days: {text[:40]!r}")
    return duration


def format_duration(value: timedelta) -> str:
    """`PT1M30S`; the inverse of `parse_duration` for every non-negative duration."""
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f"{seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".")
    if not value.microseconds:
        fraction = str(seconds)
    parts = [(hours, "H"), (minutes, "M")]
    clock = "".join(f"{n}{unit}" for n, unit in parts if n)
    clock += f"{fraction}S" if fraction != "0" else ""
    days = f"{value.days}D" if value.days else ""
    return f"P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"not an ISO 8601 duration such as PT30S, PT2H or P1D: {value!r}")


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT30S", "P1D"]}),
]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=80)]
CommandName = Annotated[str, StringConstraints(pattern=COMMAND_PATTERN, max_length=120)]
VERSION_MAX: Final = 2**31 - 1
"""The largest version that messages and database rows hold."""
Version = Annotated[int, Field(ge=1, le=VERSION_MAX)]
Value: TypeAlias = Any
"""JSON that may hold `${ … }` templates at any depth."""
Expression: TypeAlias = str
"""A string that is wholly `${ … }`."""
Schema: TypeAlias = dict[str, Any]
"""A JSON Schema, draft 2020-12."""

TIMEOUT_DEFAULT: Final = timedelta(minutes=1)
INTERRUPT_AFTER_DEFAULT: Final = timedelta(seconds=10)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Retry(_Part):
    """Attempts of one operation, counted per step; full jitter between 0 and the backoff."""

    max_attempts: Annotated[int, Field(ge=1)] | None = 3
    """None: for ever."""
    initial: Duration = timedelta(seconds=1)
    factor: Annotated[float, Field(ge=1)] = 2.0
    max: Duration = timedelta(minutes=1)
    except_: Annotated[tuple[str, ...], Field(alias="except")] = ()
    """Problem types after which nothing is tried again."""


UNDO_RETRY_DEFAULT: Final = Retry(max_attempts=None, max=timedelta(minutes=5))


class Compensation(_Part):
    """How an action is taken back; `command` defaults to the action's own name."""

    command: CommandName | None = None
    input: Value = None
    """Default: `{"input": action.input, "output": action.output}`."""
    retry: Retry = UNDO_RETRY_DEFAULT
    timeout: Duration = TIMEOUT_DEFAULT
    verify: bool = False


class Limits(_Part):
    """What a loop or a model step may use; None: not limited here."""

    turns: Annotated[int, Field(ge=1)] | None = None
    calls: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    usd: Annotated[float, Field(ge=0)] | None = None
    wall: Duration | None = None


class Budget(_Part):
    """What a saga may spend and hold, reserved before dispatch and settled by the reply."""

    usd: Annotated[float, Field(ge=0)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    calls: Annotated[int, Field(ge=1)] | None = None
    turns: Annotated[int, Field(ge=1)] | None = None
    wall: Duration | None = None
    undo_usd: Annotated[float, Field(ge=0)] | None = None
    held_usd: Annotated[float, Field(ge=0)] | None = None
    held_count: Annotated[int, Field(ge=0)] | None = None
    on_exhausted: Literal["compensate", "review"] = "compensate"


class Guard(_Part):
    """A review that shows the rendered command of an action or tool call before it runs."""

    when: Expression | None = None
    title: str | None = None
    form: Schema | None = None
    assignees: tuple[str, ...] = ()
    quorum: Annotated[int, Field(ge=1)] = 1
    expires: Duration | None = None
    on_expiry: Literal["reject", "approve", "escalate"] = "reject"
    escalate_to: tuple[str, ...] = ()
    not_requester: bool = False
    valid_for: Duration | None = None


class Rate(_Part):
    """At most `count` in any stretch of time of the length `per`."""

    count: Annotated[int, Field(ge=1, le=10_000)]
    per: Duration


class Limit(_Part):
    """How many may be at work, over all sagas; who is beyond waits as `pending`, not in the way.

    Who says the same `name` shares it, and so does who has the same `key` in it.
    """

    name: Name | None = None
    """Default: the command's service, so that a limit holds for a participant."""
    key: str | None = None
    """A template; each value of it has places of its own, in each tenant. None: one for all."""
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """At work at the same time, for each key."""
    rate: Rate | None = None
    """Begun in a stretch of time, for each key; tries after a known failure count again."""
    total: Annotated[int, Field(ge=1)] | None = None
    """At work at the same time over all keys, which take turns."""


class _Step(_Part):
    id: Name
    when: Expression | None = None


class _Dispatched(_Step):
    """What steps that send a command have in common."""

    effect: Effect | None = None
    reversal: Reversal | None = None
    probe: bool | None = None
    timeout: Duration = TIMEOUT_DEFAULT
    retry: Retry = Retry()
    on_failure: Literal["compensate", "ignore"] = "compensate"
    pivot: bool = False
    review: Guard | None = None
    compensation: Compensation | None = None
    compensable_for: Duration | None = None


class Action(_Dispatched):
    """A command to a participant."""

    kind: Literal["action"] = "action"
    command: CommandName
    input: Value = Field(default_factory=dict[str, Any])
    limit: Limit | None = None


class Tool(_Dispatched):
    """A named tool."""

    kind: Literal["tool"] = "tool"
    tool: str
    input: Value = Field(default_factory=dict[str, Any])


class Price(_Part):
    """What a model costs, where the participant does not know it, or not as you pay it."""

    input_usd: Annotated[float, Field(ge=0)]
    """For a million tokens of what is asked."""
    output_usd: Annotated[float, Field(ge=0)]
    """For a million tokens of what is answered."""


class Llm(_Step):
    """A model call."""

    kind: Literal["llm"] = "llm"
    prompt: str
    system: str | None = None
    output: Schema | None = None
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    settings: dict[str, Any] = Field(default_factory=dict[str, Any])
    max_reasks: Annotated[int, Field(ge=0)] = 1
    timeout: Duration = TIMEOUT_DEFAULT
    retry: Retry = Retry()
    limits: Limits | None = None
    prices: dict[str, Price] = Field(default_factory=dict[str, Price])
    """By model."""


class AgentTool(_Part):
    """A tool an agent may call, with its cap and review."""

    name: str
    review: Guard | None = None
    cap: Expression | None = None


class Agent(_Step):
    """A loop: a decider decides, each tool call runs as a step with its undo."""

    kind: Literal["agent"] = "agent"
    decider: Name
    models: tuple[str, ...] = ()
    prompt: str | None = None
    input: Value = Field(default_factory=dict[str, Any])
    output: Schema | None = None
    tools: tuple[str | AgentTool, ...] = ()
    limits: Limits
    on_irreversible: Literal["defer", "review"] = "defer"


class Review(_Step):
    """A person approves, rejects or edits."""

    kind: Literal["review"] = "review"
    title: str
    show: Value = None
    form: Schema | None = None
    assignees: tuple[str, ...] = ()
    quorum: Annotated[int, Field(ge=1)] = 1
    expires: Duration | None = None
    on_expiry: Literal["reject", "approve", "escalate"] = "reject"
    escalate_to: tuple[str, ...] = ()
    not_requester: bool = False
    valid_for: Duration | None = None


class Parallel(_Step):
    """Named branches; all must succeed."""

    kind: Literal["parallel"] = "parallel"
    branches: Annotated[dict[Name, "Steps"], Field(min_length=1)]


class Case(_Part):
    """One case of a choice."""

    when: Expression
    steps: "Steps"


class Choice(_Step):
    """The first case whose condition holds, else `otherwise`."""

    kind: Literal["choice"] = "choice"
    cases: Annotated[tuple[Case, ...], Field(min_length=1)]
    otherwise: "Steps" = ()


class Each(_Step):
    """The body once per item."""

    kind: Literal["each"] = "each"
    items: Value
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 1
    steps: "Steps"


class Repeat(_Step):
    """The body until a condition holds; reaching `max` fails."""

    kind: Literal["repeat"] = "repeat"
    until: Expression
    max: Annotated[int, Field(ge=1)]
    steps: "Steps"


class AlternativePlan(_Part):
    """One plan of `alternatives`."""

    name: Name
    steps: "Steps"


class Alternatives(_Step):
    """Plans in order of preference; a failed one alone is compensated and the next is tried."""

    kind: Literal["alternatives"] = "alternatives"
    plans: Annotated[tuple[AlternativePlan, ...], Field(min_length=1)]


class Wait(_Step):
    """A duration or a time; exactly one of the two."""

    kind: Literal["wait"] = "wait"
    for_: Annotated[Duration | None, Field(alias="for")] = None
    until: Value = None


class Await(_Step):
    """An event by key."""

    kind: Literal["await"] = "await"
    event: str
    timeout: Duration | None = None
    on_timeout: Literal["compensate", "ignore"] = "compensate"


class ChildSaga(_Step):
    """A child saga."""

    kind: Literal["saga"] = "saga"
    definition: Name
    version: Version | None = None
    input: Value = Field(default_factory=dict[str, Any])
    key: str | None = None


Step = Annotated[
    Action
    | Llm
    | Tool
    | Agent
    | Review
    | Parallel
    | Choice
    | Each
    | Repeat
    | Alternatives
    | Wait
    | Await
    | ChildSaga,
    Field(discriminator="kind"),
]
Steps = tuple[Step, ...]


class Definition(_Part):
    """A saga definition. `name` and `version` name its content for ever."""

    name: Name
    version: Version = 1
    description: str | None = None
    input: Schema = Field(default_factory=dict[str, Any])
    output: Value = None
    deadline: Duration | None = None
    interrupt_after: Duration = INTERRUPT_AFTER_DEFAULT
    labels: tuple[str, ...] = ()
    """Names of input fields that become labels of the saga."""
    events: bool = False
    """Whether lifecycle events are published."""
    budget: Budget | None = None
    steps: Annotated[Steps, Field(min_length=1)]


for _model in (Parallel, Case, Choice, Each, Repeat, AlternativePlan, Alternatives, Definition):
    _model.model_rebuild()
