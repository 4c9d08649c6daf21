"""The ports of the engine: `Store` and `Transport`, each with a real and an in-process form.

Who implements: `store.postgres` and `transport.amqp`, `transport.memory`. The engine alone calls
them. One conformance suite (tests/conformance) holds every implementation to these promises.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol
from uuid import UUID

from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag, PublishResult
from amends_contracts.messages import CommandInfo, Hello, Json
from amends_contracts.names import SagaId, StepPath
from amends_orchestrator.core.decision import Ask, JournalRow
from amends_orchestrator.core.review_tasks import ReviewTask
from amends_orchestrator.core.state import Identity, SagaStatus

# --- Store -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSaga:
    """A row of table `saga`, as the hot path needs it."""

    identity: Identity
    seq: int
    status: SagaStatus
    state: Json
    """What `core.state_to_json` made."""
    wake_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartKey:
    """Identity of a start, unique for ever (30 days beyond archiving)."""

    tenant: str
    definition: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStart:
    """A start key that is taken; `saga_id` None is the tombstone of a cancel before the start."""

    saga_id: SagaId | None
    input_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a batch needs to be decided."""

    now: datetime
    """`clock_timestamp()` of the database: the batch's only time."""
    sagas: Mapping[SagaId, StoredSaga]
    starts: Mapping[StartKey, KnownStart]
    remembered: Mapping[SagaId, Mapping[int, str]] = field(
        default_factory=dict[SagaId, Mapping[int, str]]
    )
    """JSON texts of journal rows, by seq, that the store has at hand; it need not have any."""


@dataclass(frozen=True, slots=True)
class PermitWrites:
    """What becomes of a saga's permits in a batch; each by step and journal row of the request."""

    asked: tuple[Ask, ...] = ()
    taken: tuple[tuple[StepPath, int], ...] = ()
    returned: tuple[tuple[StepPath, int], ...] = ()
    """Given back, or withdrawn while they waited."""


NO_PERMITS = PermitWrites()


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaWrite:
    """One saga's part of a batch: its new row and the journal rows of this batch."""

    identity: Identity
    loaded_seq: int
    """0 for a new saga; else the fence: the update holds only where `seq` is still this."""
    seq: int
    status: SagaStatus
    state: Json
    wake_at: datetime | None
    """The earliest deadline; written as LEAST(stored, this), NULL when terminal."""
    residue: int
    rows: tuple[JournalRow, ...]
    start: StartKey | None = None
    input_digest: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    trace_id: str | None = None
    reviews: tuple[ReviewTask, ...] = ()
    """Reviews that these rows ask for or change."""
    permits: PermitWrites = NO_PERMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxWrite:
    """The batch's messages, byte for byte, as one row."""

    id: UUID
    n: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One statement, one round trip, one transaction: all of this or nothing."""

    orchestrator: UUID
    sagas: tuple[SagaWrite, ...]
    """Sorted by saga id."""
    outbox: OutboxWrite | None = None
    outbox_settled: tuple[UUID, ...] = ()
    """Own outbox rows all of whose messages are confirmed or returned: deleted."""
    outbox_rewritten: tuple[OutboxWrite, ...] = ()
    """Own outbox rows of which only these messages are still open."""

    @property
    def permits(self) -> bool:
        """Whether a saga of it asks for a permit, takes one or gives one back."""
        return any(write.permits is not NO_PERMITS for write in self.sagas)


class Conflict(Exception):
    """A seq was not the loaded one, or a start key exists: nothing was written, load again."""


class BadData(Exception):
    """The statement fails by its data (SQLSTATE class 22, 23 but the fence, 54): bisect."""


class StoreUnavailable(Exception):
    """The database is away or did not answer in time; a commit under way is in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A saga whose `wake_at` has come."""

    saga_id: SagaId
    seq: int
    wake_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What one round of the lease, wake-up and orphan poll found: one statement a tick."""

    now: datetime
    lease_until: datetime
    live: int
    """Live orchestrators, this one included."""
    partitions: int
    """P."""
    owned: frozenset[int]
    due: tuple[Due, ...]
    """At most `limit`, earliest first, of owned partitions."""
    next_wake: datetime | None
    """Earliest `wake_at` not yet due of owned partitions; None if there is none."""
    permits: bool = False
    """Whether somebody waits for a permit, or has not heard of a grant."""
    schedules: bool = False
    """Whether a schedule is due."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A permit that is granted and not taken yet: its saga is to be told."""

    saga_id: SagaId
    step: StepPath
    ask: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue for permits: those of one key."""

    pool: str
    tenant: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What one look at the queues found."""

    now: datetime
    granted: tuple[Grant, ...]
    """Those of this look, and earlier ones that nobody took within `unheard_s`."""
    next_at: datetime | None
    """When the earliest rate lets the next one through; None where no rate holds anybody."""
    last: Lane | None
    """Where the next look begins; None: all queues were looked at."""
    busy: bool = False
    """Somebody else was granting, so nothing was; what is free may have gone unseen: look again."""


CatchUp = Literal["none", "last", "all"]
"""What is started of the times that a schedule missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A row of table `schedule`."""

    tenant: str
    name: str
    definition: str
    version: int | None
    """None: the newest at that time."""
    cron: str
    zone: str
    input: Json
    labels: Mapping[str, str]
    catch_up: CatchUp
    catch_up_max: int
    added_by: str
    added_at: datetime
    next_at: datetime
    """The earliest time for which it has not been looked at."""
    last_at: datetime | None = None
    """The latest time for which it started a saga, or tried to."""
    last_saga_id: SagaId | None = None
    last_problem: str | None = None
    """Why the latest start was refused, if it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleMove:
    """A schedule that was looked at; holds only where its `next_at` is still the one `seen`."""

    tenant: str
    name: str
    seen: datetime
    next_at: datetime
    last_at: datetime | None
    """None: as it was."""
    last_saga_id: SagaId | None
    last_problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitWrite:
    """What an orchestrator thinks of a participant; `closed` is nothing to be shown."""

    service: str
    state: str
    """`open`, `half_open` or `closed`."""
    bad: int
    """Of the `looked_at` latest outcomes."""
    looked_at: int
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlySignal:
    """A signal for the saga of a start, which need not be there yet."""

    to: StartKey
    id: str
    event: str
    by: str
    digest: str
    """Of event and data: another one under the same id is not the same signal."""
    data: Json = None


class Kept(StrEnum):
    """What became of a signal whose saga is not there."""

    YES = "yes"
    """It is kept, now or before."""
    OTHER = "other"
    """Another signal is kept under its id."""
    FULL = "full"
    """So many are kept for the same saga that this one was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadySignal:
    """A kept signal whose start is there; `saga_id` None: it was cancelled before it came."""

    signal: EarlySignal
    saga_id: SagaId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledSignal:
    """A kept signal that its saga has recorded, or refused for good (then with the type)."""

    to: StartKey
    id: str
    saga_id: SagaId | None
    refused: str | None = None


class Store(Protocol):
    """Durable state. Every call has a deadline of its own; times are the database's."""

    async def load(self, sagas: Sequence[SagaId], starts: Sequence[StartKey]) -> Loaded:
        """The running sagas and the taken start keys among those asked for."""
        ...

    async def values(
        self, wanted: Sequence[tuple[SagaId, int]]
    ) -> Mapping[SagaId, Mapping[int, Json]]:
        """`data` of journal rows, by saga and seq."""
        ...

    async def commit(self, batch: Batch) -> None:
        """All or nothing. Raises Conflict, BadData, or StoreUnavailable (outcome in doubt)."""
        ...

    async def committed(self, outbox_id: UUID) -> bool:
        """After a commit in doubt: whether its outbox row is there."""
        ...

    async def committed_batch(self, batch: Batch) -> bool:
        """The same for any batch, also where its outbox row is gone again: its journal tells.

        False is not for ever: a frozen server may still carry the batch out, unless the same
        sagas are committed again; the fence lets one of the two through.
        """
        ...

    async def rearm(self, due: Sequence[tuple[Due, datetime]]) -> None:
        """Set a later `wake_at` where id, seq and wake_at are still as seen."""
        ...

    async def tick(self, orchestrator: UUID, *, lease_s: float, claim: bool, limit: int) -> Tick:
        """Renew the lease, take free partitions up to a fair share, and find what is due."""
        ...

    async def grant(
        self, after: Lane | None, *, lanes: int, limit: int, unheard_s: float
    ) -> Grants:
        """Grant what is free, at most `limit`, in the first `lanes` queues after `after`.

        Keys of a pool take turns; of a key who asked first. Any orchestrator may look at any time:
        no place is given twice. Only running sagas are granted anything.
        """
        ...

    async def return_strays(self, limit: int) -> int:
        """Take back what sagas hold that have ended or are not there; how many that were."""
        ...

    async def release(self, orchestrator: UUID, partitions: Sequence[int]) -> None:
        """Give partitions up (they are no longer consumed)."""
        ...

    async def leave(self, orchestrator: UUID) -> None:
        """End the lease at once; outbox rows stay and are claimed by others."""
        ...

    async def claim_outbox(self, orchestrator: UUID, limit: int) -> Sequence[OutboxWrite]:
        """Take over rows of orchestrators whose lease is over (SKIP LOCKED)."""
        ...

    async def stray_outbox(
        self, orchestrator: UUID, known: Sequence[UUID]
    ) -> Sequence[OutboxWrite]:
        """Own rows that are not among `known`: of a commit or claim whose answer was lost.

        To be asked for after any StoreUnavailable, and not while a commit is under way.
        """
        ...

    async def settle_outbox(
        self, orchestrator: UUID, settled: Sequence[UUID], rewritten: Sequence[OutboxWrite]
    ) -> None:
        """Delete or rewrite own outbox rows outside a batch (when idle or draining)."""
        ...

    async def keep_hello(self, hello: Hello) -> None:
        """Keep what a participant says of itself."""
        ...

    async def due_schedules(self, limit: int) -> tuple[datetime, Sequence[Schedule]]:
        """The time, and schedules of all tenants whose `next_at` has come."""
        ...

    async def move_schedule(self, move: ScheduleMove) -> None:
        """On to its next time, unless somebody else was there since it was seen."""
        ...

    async def keep_circuit(self, orchestrator: UUID, circuit: CircuitWrite) -> None:
        """Show what this orchestrator thinks of a participant."""
        ...

    async def hellos(self) -> Sequence[Mapping[str, CommandInfo]]:
        """What participants' instances say of their commands, oldest first."""
        ...

    async def taking_envelopes(self) -> frozenset[str]:
        """Services of which an instance has said, within the last 90 s, that it does."""
        ...

    async def note_singly(self, tenant: str, who: str, service: str) -> None:
        """Leave a row in the audit: a service takes envelopes and does not answer them."""
        ...

    async def keep_signal(self, signal: EarlySignal, most: int) -> KnownStart | Kept:
        """Keep a signal, at most `most` for one start; then look for the start.

        KnownStart: it is there, and the signal is to be sent to its saga. Whoever starts a saga
        does the reverse (commits, then asks `ready_signals`), so one of the two sees the other.
        """
        ...

    async def ready_signals(
        self, starts: Sequence[StartKey] | None, limit: int
    ) -> Sequence[ReadySignal]:
        """Kept signals whose start is there, oldest first: of these starts, or (None) of any."""
        ...

    async def settle_signals(self, settled: Sequence[SettledSignal]) -> None:
        """Delete kept signals; those that were refused leave a row in the audit."""
        ...

    async def drop_signals(self, kept_s: float) -> int:
        """Delete what has been kept for longer, each with a row in the audit; how many."""
        ...

    async def definition(self, name: str, version: int | None) -> tuple[int, Json] | None:
        """Version and document; None asks for the newest, of those that take starts if any does."""
        ...

    async def is_retired(self, name: str, version: int) -> bool:
        """Whether a version takes no new starts."""
        ...


# --- Transport ---------------------------------------------------------------------------------


class Transport(Protocol):
    """The broker. Reconnects by itself; consumers are restored; nothing here raises for long."""

    async def open(self) -> None:
        """Connect and declare exchanges and engine queues; waits with backoff while away."""
        ...

    async def close(self) -> None:
        """Cancel consumers and close; unacknowledged deliveries go back to the broker."""
        ...

    def is_up(self) -> bool:
        """Whether the broker is there at this moment."""
        ...

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish with confirms, pipelined; one PublishResult per message, in order."""
        ...

    async def consume(self, queue: str, prefetch: int) -> None:
        """Start delivering a queue into `arrived`; idempotent."""
        ...

    async def cancel(self, queue: str) -> None:
        """Stop consuming; what was delivered and not acknowledged goes back (nack, requeue)."""
        ...

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[Delivery]:
        """What has arrived, at most `limit`; waits for the first up to `timeout_s`."""
        ...

    async def acknowledge(self, tags: Sequence[DeliveryTag]) -> None:
        """Acknowledge; tags of an older generation are ignored."""
        ...

    async def reject(self, tag: DeliveryTag, reason: str) -> None:
        """Dead-letter one delivery, with the reason, confirmed before it is acknowledged."""
        ...


Sleep = Callable[[float], Awaitable[None]]


class Clock(Protocol):
    """Time of this process: pacing and timeouts of calls only, never a decision."""

    def monotonic(self) -> float:
        """Seconds, never going back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
