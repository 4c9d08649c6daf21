"""What stands between orchestrator and participants lets pass, holds, doubles or loses. Pure.

One script is played twice: in the oracle's rehearsal, where participants are ideal, and by the
gateway, where they are real. So what must happen is foreseen of the very thing that happens.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never

from amends_contracts.drill import CALM, Order, Ordered
from amends_contracts.messages import Outcome
from amends_contracts.names import Op, StepPath
from amends_orchestrator.drills.matrix import Cell, Fault

ALWAYS: Final = 100
TWICE: Final = 2
_NUMBER: Final = re.compile(r"(\[\d+\]|#\d+(\.\d+)?)$")


@dataclass(frozen=True, slots=True)
class Forward:
    """It goes on, `copies` times, with an order for the participant."""

    order: Order = CALM
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Hold:
    """It is put aside."""


@dataclass(frozen=True, slots=True)
class Drop:
    """It is lost."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is not sent on: the drill answers `failed` in the participant's place."""

    retryable: bool


@dataclass(frozen=True, slots=True)
class Release:
    """What was put aside goes on, in its order."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The saga is asked to stop."""


Act: TypeAlias = Forward | Hold | Drop | Refuse | Release | Cancel
Acts: TypeAlias = tuple[Act, ...]
Said: TypeAlias = Literal["approve", "reject"]
"""What a reviewer says."""
PASS: Final[Acts] = (Forward(),)
LOSE: Final[Acts] = (Drop(),)


def step_id(path: StepPath) -> str:
    """The step in the document of which this is an instance."""
    return _NUMBER.sub("", path.rpartition(".")[2])


@dataclass(slots=True)
class Script:
    """The play of one cell, from its first command to the last undo."""

    cell: Cell
    lasting: bool = True
    """The step fails for good, and the saga turns back. False: as little as lets it go on."""
    obeys: bool = True
    """The step's participant obeys orders; others are drilled from outside."""
    barred: frozenset[str] = frozenset()
    """Ids of steps whose commands may not be drilled: refused by the drill itself, never sent."""
    _turning: bool = False
    _cancelled: bool = False
    _killed: bool = False
    began: bool = False
    """What goes wrong has gone wrong for the first time."""

    def on_command(self, op: Op, path: StepPath, attempt: int) -> Acts:
        """What becomes of a command."""
        acts = self._command(op, path, attempt)
        self.began |= path == self.cell.step and acts != PASS
        return acts

    def on_reply(self, op: Op, path: StepPath, attempt: int, outcome: Outcome) -> Acts:
        """What becomes of a reply."""
        acts = self._reply(op, path, attempt, outcome)
        self.began |= path == self.cell.step and acts != PASS
        return acts

    def on_review(self, path: StepPath) -> Said | None:
        """What the reviewer of a step says; None: nothing, and nobody else does."""
        here = self.cell.fault if path == self.cell.step else Fault.CALM
        self.began |= here in {Fault.REVIEW_REJECTED, Fault.REVIEW_EXPIRED}
        if here is Fault.REVIEW_EXPIRED:
            return None
        return "reject" if here is Fault.REVIEW_REJECTED else "approve"

    def kills_before_dispatch(self, op: Op, path: StepPath) -> bool:
        """Whether the orchestrator dies now, with this committed and not published; once."""
        return self._kills(Fault.KILLED_BEFORE_DISPATCH, op, path)

    def kills_before_decision(self, op: Op, path: StepPath) -> bool:
        """Whether it dies with this reply arrived and not decided; once."""
        return self._kills(Fault.KILLED_BEFORE_DECISION, op, path)

    def _kills(self, fault: Fault, op: Op, path: StepPath) -> bool:
        here = self.cell == Cell(path, fault) and op is Op.ACTION and not self._killed
        self._killed |= here
        self.began |= here
        return here

    def _command(self, op: Op, path: StepPath, attempt: int) -> Acts:
        if op is Op.ACTION and step_id(path) in self.barred:
            return (Refuse(retryable=False),)
        if path != self.cell.step:
            turned = self._turning and op is Op.ACTION
            return (Refuse(retryable=False),) if turned else PASS
        match self.cell.fault:
            case Fault.FAILS_BEFORE:
                return self._fail(attempt) if op is Op.ACTION else PASS
            case Fault.SUCCEEDS_LATE:
                return self._late(op, attempt)
            case Fault.COMMAND_TWICE:
                return (Forward(copies=TWICE),)
            case Fault.PARTICIPANT_KILLED:
                return (Forward(Order(Ordered.DIE)),)
            case Fault.UNDO_FAILS:
                return self._fail_undo(attempt) if op is Op.COMPENSATION else PASS
            case Fault.UNDO_FIRST:
                return (Hold(),) if op is Op.ACTION else PASS
            case Fault.CANCELLED:
                return self._cancel() if op is Op.ACTION else PASS
            case (
                Fault.CALM
                | Fault.REPLY_LOST
                | Fault.REPLY_LOST_PROBED
                | Fault.REPLY_TWICE
                | Fault.KILLED_BEFORE_DISPATCH
                | Fault.KILLED_BEFORE_DECISION
                | Fault.REVIEW_REJECTED
                | Fault.REVIEW_EXPIRED
            ):
                return PASS
            case _:
                assert_never(self.cell.fault)

    def _reply(self, op: Op, path: StepPath, attempt: int, outcome: Outcome) -> Acts:
        if path != self.cell.step:
            return PASS
        match self.cell.fault:
            case Fault.REPLY_LOST if op is Op.ACTION and (self.lasting or attempt == 1):
                return LOSE
            case Fault.REPLY_LOST_PROBED if op is Op.ACTION:
                return LOSE
            case Fault.SUCCEEDS_LATE if op is Op.ACTION and (self.lasting or attempt == 1):
                return (Hold(),)
            case Fault.REPLY_TWICE:
                return (Forward(copies=TWICE),)
            case Fault.UNDO_FAILS if op is Op.ACTION and outcome is Outcome.SUCCEEDED:
                self._turning = self.lasting
                return PASS
            case Fault.UNDO_FIRST if op is Op.COMPENSATION:
                return (Forward(), Release()) if outcome is Outcome.SUCCEEDED else PASS
            case _:
                return PASS

    def _fail(self, attempt: int) -> Acts:
        if not self.obeys:
            fails = self.lasting or attempt <= TWICE
            return (Refuse(retryable=not self.lasting),) if fails else PASS
        order = Order(Ordered.FAIL, ALWAYS) if self.lasting else Order(Ordered.FAIL_FOR_NOW, TWICE)
        return (Forward(order),)

    def _fail_undo(self, attempt: int) -> Acts:
        if not self.obeys:
            return (Refuse(retryable=True),) if attempt <= TWICE else PASS
        return (Forward(Order(Ordered.FAIL_FOR_NOW, TWICE)),)

    def _late(self, op: Op, attempt: int) -> Acts:
        """The reply comes when its step is being undone, or tried again."""
        awaited = op is Op.COMPENSATION if self.lasting else op is Op.ACTION and attempt > 1
        return (Forward(), Release()) if awaited else PASS

    def _cancel(self) -> Acts:
        if self._cancelled:
            return PASS
        self._cancelled = True
        return (Forward(), Cancel())
