"""What REST and console need of the rest of the service, as narrow protocols.

The engine's `Orchestrator` and the store's `Reads`, `Definitions`, `ApiKeys` and `Audit` have these
shapes; tests may pass others. Nothing here opens a transaction or knows SQL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from amends_contracts.messages import Decide, Json, Signal, Start, StartAnswer, Trace, Undo
from amends_contracts.names import SagaId
from amends_contracts.problems import FieldError
from amends_orchestrator.core.decision import Decision, JournalRow, Refused
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.reviews import ReviewStage
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.engine.ports import Schedule
from amends_orchestrator.engine.work import SignalKept, SignalKnown


class Scope(StrEnum):
    """What a key may do; each scope names what it adds, `allows` says what it includes."""

    VIEWER = "viewer"
    """Read everything of the tenant."""
    STARTER = "starter"
    """What a client does: start, cancel, signal, undo; and read."""
    REVIEWER = "reviewer"
    """Decide reviews; and read."""
    OPERATOR = "operator"
    """Retry, skip, resolve, suspend, resume; and all of the above."""
    ADMIN = "admin"
    """Register definitions; and all of the above."""


_INCLUDED: Mapping[Scope, frozenset[Scope]] = {
    Scope.VIEWER: frozenset({Scope.VIEWER}),
    Scope.STARTER: frozenset({Scope.VIEWER, Scope.STARTER}),
    Scope.REVIEWER: frozenset({Scope.VIEWER, Scope.REVIEWER}),
    Scope.OPERATOR: frozenset(Scope) - {Scope.ADMIN},
    Scope.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of the key, its tenant and its scope."""

    name: str
    tenant: str
    scope: Scope
    roles: frozenset[str] = frozenset()
    """Whose reviews it may decide beside those for its name."""

    def allows(self, needed: Scope) -> bool:
        """Whether this caller may do what asks for `needed`."""
        return needed in _INCLUDED[self.scope]


class Principal(Protocol):
    """What a valid key says (`store.keys`)."""

    @property
    def name(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...


class Keys(Protocol):
    """API keys, hashed in the store."""

    async def check(self, plaintext: str) -> Principal | None:
        """The key's principal; None for an unknown or revoked key."""
        ...

    async def list(self) -> Sequence[Principal]:
        """All keys that are valid, of every tenant."""
        ...


class SagaRow(Protocol):
    """A row of table `saga` as lists and pages show it."""

    @property
    def identity(self) -> Identity: ...
    @property
    def status(self) -> SagaStatus: ...
    @property
    def seq(self) -> int: ...
    @property
    def state(self) -> Json:
        """None in lists."""
        ...

    @property
    def residue(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def ended_at(self) -> datetime | None: ...
    @property
    def trace_id(self) -> str | None: ...


class Page(Protocol):
    """Items in the list's order, and the cursor of the next page, None at the end."""

    @property
    def items(self) -> Sequence[SagaRow]: ...
    @property
    def next(self) -> str | None: ...


class ParticipantRow(Protocol):
    """What one participant instance last said of itself."""

    @property
    def service(self) -> str: ...
    @property
    def instance(self) -> str: ...
    @property
    def seen_at(self) -> datetime: ...
    @property
    def hello(self) -> Json: ...


class Reads(Protocol):
    """Short reads for pages; nothing of one tenant is in the answer to another."""

    async def list_sagas(
        self,
        tenant: str,
        *,
        definition: str | None = None,
        status: SagaStatus | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Newest first. Raises ValueError for a cursor that no page has given."""
        ...

    async def saga(self, tenant: str, saga_id: SagaId) -> SagaRow | None:
        """One saga; None if there is none of this tenant."""
        ...

    async def heads(self, saga_ids: Sequence[SagaId]) -> Mapping[SagaId, tuple[int, SagaStatus]]:
        """`seq` and status of these sagas: the poll behind waiting and live pages."""
        ...

    async def journal(
        self,
        tenant: str,
        saga_id: SagaId,
        *,
        after_seq: int = 0,
        until_seq: int | None = None,
        limit: int = 1000,
    ) -> Sequence[JournalRow]:
        """Rows after `after_seq` up to `until_seq`, in order."""
        ...

    async def counts(self, tenant: str) -> Mapping[SagaStatus, int]:
        """Sagas by status."""
        ...

    async def participants(self) -> Sequence[ParticipantRow]:
        """Every participant instance that has said hello."""
        ...


class ReviewRow(Protocol):
    """A review as lists show it."""

    @property
    def review_id(self) -> str: ...
    @property
    def saga_id(self) -> SagaId: ...
    @property
    def definition(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def command(self) -> str | None: ...
    @property
    def title(self) -> str: ...
    @property
    def status(self) -> ReviewStage: ...
    @property
    def quorum(self) -> int: ...
    @property
    def assignees(self) -> tuple[str, ...]: ...
    @property
    def approved_by(self) -> tuple[str, ...]: ...
    @property
    def digest(self) -> str: ...
    @property
    def requested_at(self) -> datetime: ...
    @property
    def due(self) -> datetime | None: ...
    @property
    def decided_at(self) -> datetime | None: ...


class DecisionRow(Protocol):
    """What one reviewer decided."""

    @property
    def at(self) -> datetime: ...
    @property
    def by(self) -> str: ...
    @property
    def decision(self) -> str: ...
    @property
    def comment(self) -> str | None: ...


class ReviewPage(Protocol):
    """Reviews in the list's order, and the cursor of the next page, None at the end."""

    @property
    def items(self) -> Sequence[ReviewRow]: ...
    @property
    def next(self) -> str | None: ...


class Reviews(Protocol):
    """Reviews for lists and pages; nothing of one tenant is in the answer to another."""

    async def list(
        self,
        tenant: str,
        *,
        status: ReviewStage = ReviewStage.OPEN,
        held: Sequence[str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> ReviewPage:
        """Open ones longest waiting first, others latest first. ValueError for a bad cursor."""
        ...

    async def get(self, tenant: str, saga_id: SagaId, seq: int) -> ReviewRow | None:
        """One review; None if there is none of this tenant."""
        ...

    async def shown(self, review: Any) -> Json:
        """What a row of this port's own shows."""
        ...

    async def decisions(self, review: Any) -> Sequence[DecisionRow]:
        """What was decided on it, in order."""
        ...

    async def waiting(self, tenant: str) -> int:
        """How many are open."""
        ...


class DefinitionRow(Protocol):
    """A registered definition."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def document(self) -> Json: ...
    @property
    def registered_at(self) -> datetime: ...
    @property
    def retired_at(self) -> datetime | None: ...


class Debt(Protocol):
    """What a version still owes; false if nothing."""

    @property
    def open(self) -> int: ...
    @property
    def undoable(self) -> int: ...
    def __bool__(self) -> bool: ...


class Registered(StrEnum):
    """What a registration did."""

    CREATED = "created"
    SAME = "same"
    CONFLICT = "conflict"
    """The version exists with other content; nothing was written."""


class Definitions(Protocol):
    """Registered definitions, shared by all tenants."""

    async def register(self, document: Json, digest: str) -> str:
        """A `Registered`."""
        ...

    async def get(self, name: str, version: int | None = None) -> DefinitionRow | None:
        """This version, or the newest."""
        ...

    async def list(self, name: str | None = None) -> Sequence[DefinitionRow]:
        """All versions of `name`, or the newest of every name."""
        ...

    async def debt(self, row: Any) -> Debt:
        """What the version of a row (one of this port's own) owes now."""
        ...

    async def retire(self, row: Any) -> Debt:
        """Let it take no new starts, unless it owes something: the debt that is in the way."""
        ...


class Schedules(Protocol):
    """Starts by the clock (`store.schedules`)."""

    async def now(self) -> datetime:
        """The time by which schedules go."""
        ...

    async def add(self, schedule: Schedule) -> bool:
        """Keep a new schedule; False where its name is taken."""
        ...

    async def list(self, tenant: str, name: str | None = None) -> Sequence[Schedule]:
        """All schedules of a tenant by name, or the one of this name."""
        ...

    async def remove(self, tenant: str, name: str) -> bool:
        """Start nothing by it any more; False where there is none."""
        ...


class Audit(Protocol):
    """The record of who did what to which saga, and why."""

    async def record(
        self,
        *,
        tenant: str,
        who: str,
        action: str,
        outcome: str,
        saga_id: SagaId | None = None,
        step: str | None = None,
        reason: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Append one row. `outcome`: `done`, or the type of the problem it ended with."""
        ...


class Stats(Protocol):
    """What an orchestrator says of itself at one moment; counters since its start."""

    @property
    def partitions(self) -> int: ...
    @property
    def owned(self) -> tuple[int, ...]: ...
    @property
    def waiting(self) -> int: ...
    @property
    def unsettled(self) -> int: ...
    @property
    def lag_s(self) -> float: ...
    @property
    def batches(self) -> int: ...
    @property
    def messages(self) -> int: ...
    @property
    def commands(self) -> int: ...
    @property
    def conflicts(self) -> int: ...
    @property
    def doubts(self) -> int: ...
    @property
    def stuck(self) -> int: ...
    @property
    def republished(self) -> int: ...
    @property
    def refused(self) -> Mapping[str, int]: ...
    @property
    def dead_lettered(self) -> Mapping[str, int]: ...
    @property
    def undeliverable(self) -> Mapping[str, int]: ...


class Orchestrator(Protocol):
    """The engine in this process."""

    async def start(
        self, tenant: str, by: str, start: Start, *, trace: Trace | None = None
    ) -> StartAnswer | Refused:
        """Resolves after commit."""
        ...

    async def submit(self, tenant: str, saga_id: SagaId, message: Input) -> Decision | Refused:
        """Resolves after commit."""
        ...

    async def undo(
        self, tenant: str, by: str, asked: Undo, *, trace: Trace | None = None
    ) -> StartAnswer | Refused:
        """Resolves after commit."""
        ...

    async def decide(
        self, tenant: str, by: str, roles: frozenset[str], asked: Decide
    ) -> Decision | Refused:
        """Resolves after commit."""
        ...

    async def signal(
        self, tenant: str, by: str, asked: Signal
    ) -> Decision | SignalKept | SignalKnown | Refused:
        """Resolves after commit."""
        ...

    def is_ready(self) -> bool:
        """Whether leases are held and broker and database answer."""
        ...

    def stats(self) -> Stats:
        """Its numbers at this moment."""
        ...


class Views(Protocol):
    """A saga as people and programs read it: the core's view of its plan, state and journal.

    LookupError for a saga whose definition this release cannot read.
    """

    async def view(self, row: SagaRow) -> Json:
        """The `SagaOut` of REST, plus `tree`."""
        ...

    async def undo_plan(self, row: SagaRow) -> Json:
        """What a compensation would do now: a list of objects, in order."""
        ...

    async def form(self, row: ReviewRow) -> Json:
        """The JSON Schema that an edit must follow; None if nothing may be edited."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A definition that may be registered."""

    document: Json
    """Resolved: effects, reversals and compensations are explicit."""
    digest: str
    """Of the document as it was sent, so that sending it again is the same."""


class Checker(Protocol):
    """Reads and verifies a definition document."""

    async def check(self, text: str) -> Checked | Sequence[FieldError]:
        """The definition, resolved against the participants that are known; or what is wrong."""
        ...
