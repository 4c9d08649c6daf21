"""What is known of a service's commands, and the steps that are made of them. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from amends_contracts.messages import (
    ActionOutcome,
    Command,
    Effect,
    Json,
    Reversal,
    digest_of,
    to_body,
)
from amends_contracts.names import (
    Key,
    Op,
    SagaId,
    StepPath,
    key_of,
    ledger_key,
    message_id_of,
    service_of,
)

DEFINITION: Final = "conform@1"
_STEP: Final = StepPath("step")
_LEDGER: Final = StepPath("saga")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One command of the service, as `hello` and the file of examples describe it together."""

    name: str
    input: Json
    """An input with which it is to succeed."""
    given: bool
    """Whether the input was given by a person; else it was made from the schema."""
    failing: Json = None
    """An input with which it is to fail; None if there is none."""
    effect: Effect = Effect.KEYED
    reversal: Reversal = Reversal.COMPENSATABLE
    undo: str
    """The command of its compensation."""
    probe: bool = False
    """Whether the service has announced that it can be probed."""
    observe: str | None = None
    """Its own observation, in place of that of the run."""

    @property
    def undoable(self) -> bool:
        """Whether its effect can be taken back."""
        return self.reversal is Reversal.COMPENSATABLE

    @property
    def service(self) -> str:
        """Its service."""
        return service_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where replies go, and as whom commands are sent."""

    reply_to: str
    nowhere: str
    """A routing key that no queue is bound with."""
    tenant: str
    token_of: Callable[[Key], str]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga of its own; makes its commands as an orchestrator does."""

    subject: Subject
    input: Json
    saga: SagaId
    place: Place

    @property
    def key(self) -> Key:
        """The action's key."""
        return key_of(self.saga, _STEP, Op.ACTION)

    def action(self, attempt: int = 1, *, deadline: datetime | None = None) -> Command:
        """The action; every attempt has the same body."""
        body = to_body(self.input)
        made = self._command(Op.ACTION, self.subject.name, body, attempt)
        return replace(made, digest=digest_of(body), deadline=deadline)

    def compensation(
        self,
        attempt: int = 1,
        *,
        output: Json = None,
        known: ActionOutcome = ActionOutcome.UNKNOWN,
        by: SagaId | None = None,
    ) -> Command:
        """Its compensation; `by`: the saga of a late undo."""
        body = to_body({"input": self.input, "output": output})
        made = self._command(Op.COMPENSATION, self.subject.undo, body, attempt, by)
        return replace(made, digest=digest_of(body), compensates=self.key, action_outcome=known)

    def probe(self, attempt: int = 1) -> Command:
        """What became of the action?"""
        body = to_body({"input": self.input})
        made = self._command(Op.PROBE, self.subject.name, body, attempt)
        return replace(made, digest=digest_of(body), compensates=self.key)

    def turn(self) -> Command:
        """The action's name as a turn."""
        body = to_body({"turn": 1, "input": self.input})
        made = self._command(Op.TURN, self.subject.name, body, 1)
        return replace(made, digest=digest_of(body))

    def ledger(self) -> Command:
        """Which effects of this saga are held?"""
        made = self._command(Op.LEDGER, f"{self.subject.service}.ledger", b"{}", 1)
        message_id = message_id_of(self.saga, _LEDGER, Op.LEDGER, 1)
        return replace(made, key=ledger_key(self.saga), message_id=message_id)

    def unknown(self, op: Op) -> Command:
        """A command that no service has."""
        made = self.compensation() if op is Op.COMPENSATION else self.action()
        return replace(made, type=f"{self.subject.service}.no-such-command-of-conform")

    def _command(
        self, op: Op, name: str, body: bytes, attempt: int, by: SagaId | None = None
    ) -> Command:
        saga = by or self.saga
        key = key_of(saga, _STEP, op)
        return Command(
            type=name,
            op=op,
            message_id=message_id_of(saga, _STEP, op, attempt),
            body=body,
            saga_id=saga,
            reply_to=self.place.reply_to,
            key=key,
            attempt=attempt,
            token=self.place.token_of(key),
            definition=DEFINITION,
            tenant=self.place.tenant,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What can be used to see and to do in this run; found out before the checks."""

    probes: bool = False
    closes: bool = False
    """Whether a probe can say `absent`."""
    ledger: bool = False
    unit: float | None = None
    """By how much one effect changes the observation; None if nothing is observed."""
    by_key: bool = False
    """Whether the observation is of one key's effects alone."""
    restarts: bool = False
    batches: bool | None = None
    """None: no hello was heard."""

    @property
    def sees(self) -> bool:
        """Whether an effect can be seen other than by what its own reply says."""
        return self.probes or self.ledger or self.unit is not None

    @property
    def sees_each(self) -> bool:
        """Whether it can be seen of which step an effect is."""
        return self.probes or self.ledger or (self.unit is not None and self.by_key)


@dataclass(slots=True, kw_only=True)
class Trial:
    """One check on its way: makes steps, each of a saga of its own, and remembers them."""

    subject: Subject
    others: tuple[Subject, ...] = ()
    """All commands that are checked, this one included."""
    can: Abilities
    place: Place
    new_saga: Callable[[], SagaId]
    steps: list[Step] = field(default_factory=list[Step])

    def step(self, given: Json = None, subject: Subject | None = None) -> Step:
        """A new step; by default with the input that is to succeed."""
        of = subject or self.subject
        made = Step(of, of.input if given is None else given, self.new_saga(), self.place)
        self.steps.append(made)
        return made
