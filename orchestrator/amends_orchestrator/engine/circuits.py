"""A circuit per participant: one that does not answer is neither hammered nor in anybody's way.

Closed, everything is sent. It opens when most of what came lately was a timeout, an `unknown` or a
returned command: then new attempts wait, without using any. After a pause it is half open: one
attempt, the canary, goes out; what comes of it closes the circuit, or opens it for twice as long.
Undos and probes are always sent, in their own lane and with their own backoff, and what they bring
counts. Each orchestrator judges by what it sees; the table is there to be shown.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from amends_contracts.messages import Outcome
from amends_contracts.names import ENGINE, Op, service_of
from amends_orchestrator.core.decision import Decision
from amends_orchestrator.core.inputs import DeadLettered, Input, ReplyReceived, Returned, Woke
from amends_orchestrator.core.journal_rows import is_timeout
from amends_orchestrator.core.plan import Plan
from amends_orchestrator.core.state import Identity

LOOKED_AT: Final = 20
"""Outcomes that a judgement is made of."""
PAUSE_S: Final = 1.0
PAUSE_S_MAX: Final = 60.0
CANARY_S_MAX: Final = 120.0
"""A canary of which nothing is heard for so long is given up."""


class State(StrEnum):
    """Of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class Circuit:
    """What is known of one participant."""

    service: str
    state: State = State.CLOSED
    lately: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=LOOKED_AT))
    """Whether it answered."""
    pause_s: float = PAUSE_S
    until: float = 0.0
    """Open: when it is half open. Half open with a canary out: when that is given up."""
    canary: bool = False

    def bad(self) -> int:
        """How many of the latest outcomes were bad."""
        return sum(not good for good in self.lately)


class Circuits:
    """Judges participants by what decisions were made of; `failures` 0 never opens a circuit."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        failures: int,
        plan_of: Callable[[Identity], Plan | None],
        changed: Callable[[Circuit], None],
    ) -> None:
        self._monotonic = monotonic
        self._failures = failures
        self._plan_of = plan_of
        self._changed = changed
        self._known: dict[str, Circuit] = {}

    def view(self) -> "View":
        """What one batch goes by."""
        broken = [c for c in self._known.values() if c.state is not State.CLOSED]
        return View(
            {c.service: self._rest(c) for c in broken if self._holds(c)},
            {c.service for c in broken if not self._holds(c)},
        )

    def _holds(self, circuit: Circuit) -> bool:
        if circuit.state is State.CLOSED:
            return False
        waits = circuit.state is State.OPEN or circuit.canary
        return waits and circuit.until > self._monotonic()

    def _rest(self, circuit: Circuit) -> timedelta:
        """For how long to wait; a canary is heard of long before it is given up."""
        if circuit.canary:
            return timedelta(seconds=circuit.pause_s)
        return timedelta(seconds=max(0.0, circuit.until - self._monotonic()))

    def decided(self, message: Input | None, decision: Decision) -> None:
        """Learn from a decision that is committed: what came, and whether a canary went out."""
        if not self._known and (message is None or _is_good(message)):
            return
        for service, good in self._outcomes(message, decision):
            self._learn(service, good=good)
        if self._known:
            for send in decision.sends:
                if send.op is Op.ACTION:
                    self._sent(service_of(send.command))

    def heard(self, service: str) -> None:
        """It said hello: the next attempt may try it."""
        circuit = self._known.get(service)
        if circuit is not None and circuit.state is State.OPEN:
            circuit.until = self._monotonic()

    def _learn(self, service: str, *, good: bool) -> None:
        circuit = self._known.get(service)
        if circuit is None:
            if good or not self._failures or service == ENGINE:  # a child saga may take long
                return
            circuit = self._known[service] = Circuit(service)
        circuit.lately.append(good)
        if circuit.state is not State.CLOSED:
            if good:
                self._close(circuit)
            elif circuit.state is State.HALF_OPEN:
                circuit.pause_s = min(PAUSE_S_MAX, circuit.pause_s * 2)
                self._open(circuit)
            return
        bad = circuit.bad()
        if bad >= self._failures and 2 * bad >= len(circuit.lately):
            self._open(circuit)
        elif not bad:
            del self._known[service]

    def _outcomes(self, message: Input | None, decision: Decision) -> Iterable[tuple[str, bool]]:
        """Which participants answered, and which did not."""
        match message:
            case ReplyReceived():
                yield message.service, _is_good(message)
            case Returned() | DeadLettered():
                yield from self._silent(decision, {message.path})
            case Woke():
                late = {row.step for row in decision.rows if is_timeout(row)}
                yield from self._silent(decision, {path for path in late if path is not None})
            case _:
                pass

    def _silent(self, decision: Decision, paths: Iterable[str]) -> Iterable[tuple[str, bool]]:
        plan = self._plan_of(decision.saga.identity)
        nodes = () if plan is None else map(plan.action_of, paths)
        yield from ((node.service, False) for node in nodes if node is not None)

    def _open(self, circuit: Circuit) -> None:
        circuit.state, circuit.canary = State.OPEN, False
        circuit.until = self._monotonic() + circuit.pause_s
        self._changed(circuit)

    def _close(self, circuit: Circuit) -> None:
        del self._known[circuit.service]
        circuit.state = State.CLOSED
        self._changed(circuit)

    def _sent(self, service: str) -> None:
        circuit = self._known.get(service)
        if circuit is None or circuit.state is State.CLOSED or self._holds(circuit):
            return
        circuit.state, circuit.canary = State.HALF_OPEN, True
        circuit.until = self._monotonic() + CANARY_S_MAX
        self._changed(circuit)


class View:
    """Who is held off in one batch; of one that is half open the first attempt goes out."""

    def __init__(self, sick: dict[str, timedelta], trying: set[str]) -> None:
        self.sick: Mapping[str, timedelta] = sick
        self._sick = sick
        self._trying = trying

    def sent(self, decision: Decision) -> None:
        """Its canary is out: the others wait."""
        if self._trying:
            for send in decision.sends:
                service = service_of(send.command)
                if send.op is Op.ACTION and service in self._trying:
                    self._trying.discard(service)
                    self._sick[service] = timedelta(seconds=PAUSE_S)


def _is_good(message: Input) -> bool:
    return isinstance(message, ReplyReceived) and message.outcome is not Outcome.UNKNOWN
