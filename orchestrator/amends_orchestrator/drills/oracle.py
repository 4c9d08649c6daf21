"""What must happen: the same script, the same core, and participants that keep every promise. Pure.

The rehearsal decides with `core.decide`, as the orchestrator will, in a time of its own. What it
comes to is what the real run is held to. Outputs are those of the calm run; where a fault leads
through steps that the calm run did not reach, nothing is foreseen, and nothing claimed.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from amends_contracts.drill import CALM, TENANT, Order, Ordered
from amends_contracts.messages import Json, Outcome, Reversal
from amends_contracts.names import Op, SagaId, StepPath, service_of
from amends_contracts.problems import Problem, ProblemType
from amends_orchestrator.core import (
    TERMINAL,
    Decision,
    Identity,
    Missing,
    Plan,
    Refused,
    Saga,
    SagaStatus,
    Send,
    StepStatus,
    decide,
    start,
    wake_at,
)
from amends_orchestrator.core.inputs import (
    CancelRequested,
    Input,
    ReplyReceived,
    ReviewDecision,
    StartRequested,
    Woke,
)
from amends_orchestrator.core.reviews import EVERYBODY
from amends_orchestrator.core.state import unpacked
from amends_orchestrator.drills import scripts
from amends_orchestrator.drills.scripts import Acts, Script

TURNS_MAX: Final = 5_000
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
SAGA: Final = SagaId("01900000-0000-7000-8000-000000000000")
DRILLED: Final = Problem(type=ProblemType.DRILLED, title="a drill asked for this failure")


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a run must come to."""

    status: SagaStatus
    held: frozenset[StepPath]
    """Step instances whose effect is in the world when the saga has ended."""


def foresee(
    plan: Plan, input_: Json, outputs: Mapping[StepPath, Json], script: Script
) -> Foreseen | None:
    """Rehearse one script; None: it leads where the calm run has not been.

    A status that is not terminal: only a person could lead it to an end.
    """
    rehearsal = _Rehearsal(plan, outputs, script)
    try:
        rehearsal.play(input_)
    except _Unforeseen:
        return None
    saga = rehearsal.saga
    assert saga is not None
    return Foreseen(saga.status, held_by(plan, saga))


def held_by(plan: Plan, saga: Saga) -> frozenset[StepPath]:
    """The step instances of a saga that has ended whose effects stay."""
    found: set[StepPath] = set()
    for path, step in saga.state.steps.items():
        node = plan.action_of(path)
        if node is None or node.reversal is Reversal.READ_ONLY:
            continue
        if step.residue or step.status is StepStatus.SUCCEEDED:
            found.add(path)
    return frozenset(found)


def reviewer(before: int) -> str:
    """Who decides a review of a drill after so many others: nobody may approve it twice."""
    return f"drill reviewer {before + 1}"


class _Unforeseen(Exception):
    """A step of which the calm run has told nothing."""


@dataclass(slots=True)
class _Ideal:
    """One key at an ideal participant: the table of the wire contract, in few words."""

    is_there: bool = False
    buried: bool = False
    undone: bool = False
    failed: bool = False
    closed: int = 0


Said = tuple[Outcome, Json, bool]
"""Outcome, output, retryable."""


@dataclass(slots=True)
class _Rehearsal:
    plan: Plan
    outputs: Mapping[StepPath, Json]
    script: Script
    saga: Saga | None = None
    now: datetime = BEGAN
    values: dict[int, Json] = field(default_factory=dict[int, Json])
    sends: deque[Send] = field(default_factory=deque[Send])
    replies: deque[ReplyReceived] = field(default_factory=deque[ReplyReceived])
    held_sends: list[Send] = field(default_factory=list[Send])
    held_replies: list[ReplyReceived] = field(default_factory=list[ReplyReceived])
    cancels: int = 0
    keys: dict[StepPath, _Ideal] = field(default_factory=dict[StepPath, _Ideal])

    def play(self, input_: Json) -> None:
        """From the start to the end, or until nothing goes on."""
        identity = Identity(
            saga_id=SAGA, tenant=TENANT, definition="drill", version=1, key="drill", partition=0
        )
        asked = StartRequested(key="drill", input=input_, by="drill")
        self._take(start(self.plan, identity, asked, self.now))
        for _ in range(TURNS_MAX):
            assert self.saga is not None
            if self.saga.status in TERMINAL and not self.sends:
                return
            if self.sends:
                send = self.sends.popleft()
                acts = self.script.on_command(send.op, send.path, send.attempt)
                self._on_command(send, acts)
            elif self.cancels:
                self.cancels -= 1
                self._tell(CancelRequested(reason="drill", by="drill"))
            elif self.replies:
                self._on_reply(self.replies.popleft())
            elif not (self._reviewed() or self._wait()):
                return

    def _reviewed(self) -> bool:
        """Decide what is asked, as the script has it; False: nothing is, or nobody says a word."""
        assert self.saga is not None
        for path, step in unpacked(self.saga.state.steps):
            review = step.review
            said = self.script.on_review(path) if review.is_open else None
            if said is None:
                continue
            decision = ReviewDecision(
                review=review.seq,
                decision=said,
                by=reviewer(len(review.approved_by)),
                shown_digest=review.digest,
                roles=frozenset({EVERYBODY}),
            )
            before = self.saga
            self._tell(decision)
            if self.saga is not before:
                return True
        return False

    def _wait(self) -> bool:
        """Let time go on to the next thing due; False: nothing is, or only a person can act."""
        assert self.saga is not None
        if self.saga.status in {SagaStatus.STUCK, SagaStatus.SUSPENDED}:
            return False
        due = wake_at(self.saga, self.now)
        if due is None:
            return False
        self.now = max(due, self.now + timedelta(milliseconds=1))
        self._tell(Woke())
        return True

    def _tell(self, message: Input) -> None:
        assert self.saga is not None
        if self.saga.status in TERMINAL:
            return
        self._take(decide(self.plan, self.saga, self.values, message, self.now))

    def _take(self, answer: Decision | Refused | Missing) -> None:
        assert not isinstance(answer, Missing), "the rehearsal keeps every value"
        if isinstance(answer, Refused):
            return
        self.saga = answer.saga
        self.values |= {row.seq: row.data for row in answer.rows}
        self.sends.extend(answer.sends)

    def _on_command(self, send: Send, acts: Acts) -> None:
        for act in acts:
            match act:
                case scripts.Forward(order=order, copies=copies):
                    for _ in range(copies):
                        self._say(send, self._handle(send, order))
                case scripts.Refuse(retryable=retryable):
                    self._say(send, (Outcome.FAILED, None, retryable))
                case scripts.Hold():
                    self.held_sends.append(send)
                case scripts.Drop():
                    pass
                case scripts.Release():
                    self._release()
                case scripts.Cancel():
                    self.cancels += 1
                case _:
                    assert_never(act)

    def _on_reply(self, reply: ReplyReceived) -> None:
        acts = self.script.on_reply(reply.op, reply.path, reply.attempt, reply.outcome)
        for act in acts:
            match act:
                case scripts.Forward(copies=copies):
                    for _ in range(copies):
                        self._tell(reply)
                case scripts.Hold():
                    self.held_replies.append(reply)
                case scripts.Release():
                    self._release()
                case scripts.Drop() | scripts.Refuse() | scripts.Cancel():
                    pass
                case _:
                    assert_never(act)

    def _release(self) -> None:
        for reply in self.held_replies:
            self._tell(reply)
        self.held_replies.clear()
        for send in self.held_sends:
            self._say(send, self._handle(send, CALM))
        self.held_sends.clear()

    def _say(self, send: Send, said: Said) -> None:
        outcome, output, retryable = said
        self.replies.append(
            ReplyReceived(
                path=send.path,
                op=send.op,
                attempt=send.attempt,
                service=service_of(send.command),
                outcome=outcome,
                output=output,
                problem=None if outcome is Outcome.SUCCEEDED else DRILLED,
                retryable=retryable,
            )
        )

    def _handle(self, send: Send, order: Order) -> Said:
        key = self.keys.setdefault(send.path, _Ideal())
        ordered = order.ordered if send.attempt <= order.times else Ordered.NOTHING
        match send.op:
            case Op.ACTION:
                return self._act(send, key, ordered)
            case Op.COMPENSATION:
                return self._undo(key, ordered)
            case Op.PROBE:
                return self._probe(send, key)
            case _:
                raise AssertionError(f"nobody sends {send.op}")

    def _act(self, send: Send, key: _Ideal, ordered: Ordered) -> Said:
        if key.buried:
            return Outcome.FENCED, None, False
        if key.failed:
            return Outcome.FAILED, None, False
        if not (key.is_there or key.undone):
            if send.attempt <= key.closed or ordered is Ordered.FAIL_FOR_NOW:
                return Outcome.FAILED, None, True
            if ordered is Ordered.FAIL:
                key.failed = True
                return Outcome.FAILED, None, False
            key.is_there = True
        return Outcome.SUCCEEDED, self._output(send.path), False

    def _undo(self, key: _Ideal, ordered: Ordered) -> Said:
        if key.is_there and ordered is Ordered.FAIL_FOR_NOW:
            return Outcome.FAILED, None, True
        key.buried |= not (key.is_there or key.undone)
        key.undone |= key.is_there
        key.is_there = False
        return Outcome.SUCCEEDED, {}, False

    def _probe(self, send: Send, key: _Ideal) -> Said:
        key.closed = max(key.closed, send.attempt)
        if key.is_there:
            found = {"effect": "present", "output": self._output(send.path)}
        else:
            found = {"effect": "undone" if key.undone else "absent", "output": None}
        return Outcome.SUCCEEDED, found, False

    def _output(self, path: StepPath) -> Json:
        if path not in self.outputs:
            raise _Unforeseen(path)
        return self.outputs[path]


def fitting(
    plan: Plan, input_: Json, outputs: Mapping[StepPath, Json], script: Script
) -> tuple[Script, Foreseen | None]:
    """The script as hard as the plan can bear: for good, or where that has no end, for now."""
    foreseen = foresee(plan, input_, outputs, replace(script))
    if foreseen is None or foreseen.status in TERMINAL:
        return script, foreseen
    milder = replace(script, lasting=False)
    return milder, foresee(plan, input_, outputs, replace(milder))
