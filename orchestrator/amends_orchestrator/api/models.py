"""What REST takes and gives, with examples: the source of its OpenAPI document.

Requests are strict (no coercion, no unknown members). Answers are documented here and built
elsewhere; that both agree is a test.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from amends_contracts.definition import VERSION_MAX
from amends_contracts.messages import Json
from amends_contracts.names import NAME_PATTERN, is_step_path
from amends_orchestrator.core.state import SagaStatus, StepStatus

UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
STEP_PATH_PATTERN: Final = (
    r"^[a-z][a-z0-9_-]*(\[\d+\]|#\d+(\.\d+)?)?"
    r"(\.[a-z][a-z0-9_-]*(\[\d+\]|#\d+(\.\d+)?)?)*$"
)
"""For the document; what decides is `names.is_step_path`."""
TEXT_PATTERN: Final = r"^[^\u0000-\u001f\u007f]+$"
"""One line of text."""
LABEL_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]*$"
SAGA_ID: Final = "01976f3e-8a4b-7c1d-9e2f-3a4b5c6d7e8f"

SagaIdText = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
NameText = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=80)]
KeyText = Annotated[str, StringConstraints(pattern=TEXT_PATTERN, max_length=200)]
LabelName = Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=80)]
Label = Annotated[str, StringConstraints(max_length=200)]
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1000, pattern=r"\S"),
    Field(description="Why; kept in the journal and the audit record.", examples=["hotel called"]),
]
Version = Annotated[int, Field(ge=1, le=VERSION_MAX)]


def _step_path(text: str) -> str:
    if not is_step_path(text):
        raise ValueError("not a step path such as flight or legs[2].flight")
    return text


StepPathText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=160),
    AfterValidator(_step_path),
    Field(
        description="Path of the step instance.",
        examples=["flight", "legs[2].flight"],
        json_schema_extra={"pattern": STEP_PATH_PATTERN},
    ),
]


class In(BaseModel):
    """A request body."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Out(BaseModel):
    """An answer; it may gain members."""

    model_config = ConfigDict(frozen=True)


class StartIn(In):
    """Start a saga; idempotent per tenant, definition and key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "definition": "book-trip",
                    "key": "order-17",
                    "input": {"traveller": "Ada", "to": "Oslo", "nights": 2},
                    "labels": {"channel": "web"},
                }
            ]
        }
    )

    definition: NameText
    key: KeyText
    input: Json = Field(default=None, description="Checked against the definition's schema.")
    version: Version | None = Field(default=None, description="Default: the newest.")
    labels: Annotated[dict[LabelName, Label], Field(max_length=20)] = Field(
        default_factory=dict[str, str]
    )


class StartOut(Out):
    """The saga, and whether this start created it."""

    saga_id: SagaIdText = Field(examples=[SAGA_ID])
    created: bool


class UndoOut(Out):
    """The saga that undoes the other, and whether this request created it."""

    saga_id: SagaIdText = Field(examples=[SAGA_ID], description="Of the undo saga.")
    created: bool


class ReasonIn(In):
    """A change of the whole saga."""

    reason: Reason


class UndoIn(ReasonIn):
    """A late undo of a completed saga."""

    across_pivot: bool = Field(
        default=False,
        description="Also what a pivot had made final; what cannot be taken back stays.",
    )


class RetryIn(ReasonIn):
    """Try the step's open operation again; attempts go on counting."""

    step: StepPathText


class SkipIn(ReasonIn):
    """Close the step's open operation without a result; an effect that may be there is residue."""

    step: StepPathText
    owner: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")] = Field(
        description="Who looks after what stays in the world.", examples=["support@example.com"]
    )
    evidence: Annotated[str, StringConstraints(max_length=1000)] | None = Field(
        default=None, description="A ticket, a link, a receipt."
    )


class ResolveIn(ReasonIn):
    """Say what became of the step's open operation."""

    step: StepPathText
    outcome: Literal["succeeded", "failed"]
    output: dict[str, Any] | None = Field(
        default=None, description="The output, for `succeeded`; an object."
    )


class SignalIn(In):
    """An event for this saga; idempotent by `id`."""

    event: NameText
    id: KeyText
    data: Json = None


class KeyedSignalIn(SignalIn):
    """An event for the saga of a definition and key, which need not be there yet."""

    definition: NameText
    key: KeyText


class SignalOut(Out):
    """Who has the event: a saga, or (`kept`) nobody yet."""

    saga_id: SagaIdText | None = Field(default=None, examples=[SAGA_ID])
    status: SagaStatus | None = None
    kept: bool = Field(
        default=False, description="The saga is not there yet: kept for it, for seven days."
    )


class ChangedOut(Out):
    """The saga after a change."""

    saga_id: SagaIdText = Field(examples=[SAGA_ID])
    status: SagaStatus


class ProblemOut(BaseModel):
    """A problem a participant or the engine reported."""

    type: str
    title: str = ""
    status: int | None = None
    detail: str | None = None


class CompensationOut(Out):
    """How far taking back is."""

    status: str
    attempt: int = 0
    problem: ProblemOut | None = None


class UsageOut(Out):
    """What model calls have used, as far as it is known."""

    calls: int = Field(description="Requests to models.")
    lost: int = Field(description="Of these, how many nobody can tell the usage of.")
    unpriced: int = Field(description="Calls that were answered and whose price is unknown.")
    input_tokens: int
    output_tokens: int
    usd: float | None = Field(description="The sum of what is known; null if nothing is.")


class ModelUsageOut(UsageOut):
    """What one model has used."""

    model: str


class SagaUsageOut(UsageOut):
    """What a saga has used."""

    models: list[ModelUsageOut]


class StepOut(Out):
    """One step instance."""

    path: str
    kind: str
    status: StepStatus
    reason: str | None = None
    attempt: int = 0
    command: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    problem: ProblemOut | None = None
    compensation: CompensationOut | None = None
    child: dict[str, Any] | None = Field(
        default=None, description="Of a step that runs a saga: which, and how it stands."
    )
    usage: UsageOut | None = Field(default=None, description="Of metered work.")
    answered_by: list[str] | None = Field(
        default=None, description="The models that answered, as their providers name them."
    )


class SagaItem(Out):
    """A saga in a list."""

    saga_id: SagaIdText = Field(examples=[SAGA_ID])
    definition: str = Field(examples=["book-trip"])
    version: int = Field(examples=[1])
    key: str = Field(examples=["order-17"])
    kind: Literal["saga", "undo"] = "saga"
    status: SagaStatus
    residue: int = Field(description="How many effects stay in the world.")
    labels: dict[str, str]
    started_at: datetime
    ended_at: datetime | None = None
    trace_id: str | None = None


class SagaOut(Out):
    """A saga with its steps."""

    saga_id: SagaIdText = Field(examples=[SAGA_ID])
    definition: str
    version: int
    key: str
    kind: Literal["saga", "undo"] = Field(
        default="saga", description="`undo`: the late undo of another saga."
    )
    status: SagaStatus
    steps: list[StepOut]
    output: Any = None
    tree: list[dict[str, Any]] = Field(
        default_factory=list[dict[str, Any]],
        description="The steps nested: those below another are its `children`, each with its"
        " `branch` and, of a choice, whether its case was `chosen`.",
    )
    failure: dict[str, Any] | None = Field(
        default=None, description="What turned it back, kept to the end."
    )
    parent: dict[str, Any] | None = Field(
        default=None, description="The saga and step that run this one as a child."
    )
    undoes: SagaIdText | None = Field(default=None, description="The saga that this one undoes.")
    undone_by: SagaIdText | None = Field(default=None, description="The saga that undoes this one.")
    deadline: datetime | None = None
    undeliverable: int = Field(default=0, description="Commands whose service nobody runs.")
    held: list[Any] = Field(description="Effects that are in the world and could be taken back.")
    residue: list[Any] = Field(description="Effects that stay in the world.")
    usage: SagaUsageOut | None = Field(default=None, description="Of all metered work in it.")
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    started_at: datetime | None = None
    ended_at: datetime | None = None
    trace_id: str | None = None


class SagaList(Out):
    """A page of sagas, newest first."""

    items: list[SagaItem]
    next: str | None = Field(description="Cursor of the next page; null at the end.")


class JournalItem(Out):
    """One fact of a saga."""

    seq: int
    at: datetime
    kind: str
    step: str | None = None
    attempt: int | None = None
    data: Any = None


class JournalList(Out):
    """A page of the journal, in order."""

    items: list[JournalItem]
    next: str | None


class UndoPlanOut(Out):
    """What a compensation would do now, in order, and what would stay."""

    items: list[dict[str, Any]]


class DefinitionItem(Out):
    """A registered definition without its document."""

    name: str = Field(examples=["book-trip"])
    version: int
    digest: str
    registered_at: datetime
    retired_at: datetime | None = None
    debt: "UndoDebt | None" = None


class UndoDebt(Out):
    """Sagas that hold a version, each number up to 1,000; not in the list of all definitions."""

    open: int = Field(description="Sagas that have not ended.")
    undoable: int = Field(description="Completed sagas whose undo window is open.")


class DefinitionOut(DefinitionItem):
    """A registered definition; effects and compensations are made explicit."""

    document: dict[str, Any]


class DefinitionList(Out):
    """Registered definitions."""

    items: list[DefinitionItem]
    next: str | None = None


class ScheduleIn(In):
    """Start sagas by the clock."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly",
                    "definition": "close-books",
                    "cron": "30 2 * * mon-fri",
                    "zone": "Europe/Zurich",
                    "input": {"country": "CH"},
                    "catch_up": "last",
                }
            ]
        }
    )

    name: NameText
    definition: NameText
    version: Version | None = Field(default=None, description="Default: the newest, each time.")
    cron: Annotated[str, StringConstraints(pattern=TEXT_PATTERN, max_length=200)] = Field(
        description="Five fields: minute hour day-of-month month day-of-week."
    )
    zone: Annotated[str, StringConstraints(pattern=TEXT_PATTERN, max_length=80)] = Field(
        description="Time zone of the expression, of the IANA database."
    )
    input: Json = Field(default=None, description="Of every start.")
    labels: Annotated[dict[LabelName, Label], Field(max_length=20)] = Field(
        default_factory=dict[str, str]
    )
    catch_up: Literal["none", "last", "all"] = Field(
        default="last", description="What is started of the times that were missed."
    )
    catch_up_max: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="With `all`: the latest so many."
    )


class ScheduleOut(Out):
    """A schedule, what it started last, and when it starts next."""

    name: str
    definition: str
    version: int | None
    cron: str
    zone: str
    input: Json
    labels: dict[str, str]
    catch_up: str
    catch_up_max: int
    added_by: str
    added_at: datetime
    next_at: datetime
    last_at: datetime | None = None
    last_saga_id: str | None = None
    last_problem: str | None = Field(
        default=None, description="Why the latest start was refused, if it was."
    )


class ScheduleList(Out):
    """The schedules of a tenant."""

    items: list[ScheduleOut]
    next: str | None = None


class ParticipantItem(Out):
    """A participant instance, as it last said hello."""

    service: str
    instance: str
    seen_at: datetime
    sdk: str | None = None
    accepts: list[str] = Field(default_factory=list[str])
    horizon: str | None = None
    commands: dict[str, Any]


class ParticipantList(Out):
    """Participants that have said hello."""

    items: list[ParticipantItem]
    next: str | None = None


class Health(Out):
    """Whether the process lives."""

    status: Literal["ok"]


class Readiness(Out):
    """Whether it can do its work, and what is missing."""

    status: Literal["ready", "not-ready"]
    checks: dict[str, bool]
