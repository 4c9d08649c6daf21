"""The matrix: which fault is tried at which step, and what each fault needs. Pure.

A fault says to which kinds of steps it applies. A kind that is added to the plan adds its faults
here, with its rows; nothing else asks about kinds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from amends_contracts.messages import Reversal
from amends_contracts.names import ENGINE, StepPath
from amends_orchestrator.core.plan import ActionNode, Node, Plan
from amends_orchestrator.core.plan_reviews import Review, ReviewNode


class Fault(StrEnum):
    """What goes wrong. The value stands in the record, and never changes."""

    CALM = "calm"
    FAILS_BEFORE = "fails-before-effect"
    REPLY_LOST = "reply-lost"
    REPLY_LOST_PROBED = "reply-lost-then-probed"
    SUCCEEDS_LATE = "succeeds-late"
    COMMAND_TWICE = "command-twice"
    REPLY_TWICE = "reply-twice"
    PARTICIPANT_KILLED = "participant-killed"
    UNDO_FAILS = "undo-fails"
    UNDO_FIRST = "undo-first"
    CANCELLED = "cancelled"
    KILLED_BEFORE_DISPATCH = "orchestrator-killed-before-dispatch"
    KILLED_BEFORE_DECISION = "orchestrator-killed-before-decision"
    REVIEW_REJECTED = "review-rejected"
    REVIEW_EXPIRED = "review-expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is known of a fault before it is tried."""

    title: str
    column: str
    """The same in a few letters, over a column."""
    nodes: tuple[type[Node], ...] = (ActionNode,)
    """The kinds of steps it applies to."""
    undone: bool = False
    """Only where the step can be undone."""
    probed: bool = False
    """Only where the step can be probed."""
    inside: bool = False
    """Only a participant itself can let it happen: it must obey orders."""
    reviewed: bool = False
    """Only where somebody is asked: it goes wrong at the review, not at a participant."""
    expires: bool = False
    """Only where the review has a time by which it must be decided."""


_REVIEWED: Final = (ActionNode, ReviewNode)
KINDS: Final[Mapping[Fault, Kind]] = {
    Fault.CALM: Kind(title="nothing goes wrong; then all is undone", column="calm", nodes=()),
    Fault.FAILS_BEFORE: Kind(title="fails before the effect", column="fails"),
    Fault.REPLY_LOST: Kind(title="fails after the effect, the reply is lost", column="lost"),
    Fault.REPLY_LOST_PROBED: Kind(
        title="fails after the effect, and a probe finds it", column="probe", probed=True
    ),
    Fault.SUCCEEDS_LATE: Kind(title="times out, then succeeds late", column="late"),
    Fault.COMMAND_TWICE: Kind(title="commands are delivered twice", column="cmd×2"),
    Fault.REPLY_TWICE: Kind(title="replies are delivered twice", column="reply×2"),
    Fault.PARTICIPANT_KILLED: Kind(
        title="the participant is killed between effect and reply", column="killed", inside=True
    ),
    Fault.UNDO_FAILS: Kind(
        title="the compensation fails twice, then works", column="undo✘", undone=True
    ),
    Fault.UNDO_FIRST: Kind(
        title="the compensation comes before the action", column="undo 1st", undone=True
    ),
    Fault.CANCELLED: Kind(title="the saga is cancelled at the step", column="cancel"),
    Fault.KILLED_BEFORE_DISPATCH: Kind(
        title="the orchestrator is killed before it dispatches", column="kill>"
    ),
    Fault.KILLED_BEFORE_DECISION: Kind(
        title="the orchestrator is killed before it takes the reply in", column="kill<"
    ),
    Fault.REVIEW_REJECTED: Kind(
        title="the reviewer rejects", column="reject", nodes=_REVIEWED, reviewed=True
    ),
    Fault.REVIEW_EXPIRED: Kind(
        title="nobody decides the review in time",
        column="expire",
        nodes=_REVIEWED,
        reviewed=True,
        expires=True,
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One fault at one step instance; the calm one is at none."""

    step: StepPath
    fault: Fault

    def __str__(self) -> str:
        return f"{self.step} x {self.fault}" if self.step else str(self.fault)


DOUBTED: Final = frozenset({Fault.REPLY_LOST, Fault.SUCCEEDS_LATE, Fault.UNDO_FIRST})
"""Nobody probes in these: their point is what comes of a doubt that nothing has settled."""
TIMES_OUT: Final = DOUBTED | {
    Fault.REPLY_LOST_PROBED,
    Fault.PARTICIPANT_KILLED,
    Fault.REVIEW_EXPIRED,
}
"""Where the step itself is meant to run into its timeout."""
CALM_CELL: Final = Cell(StepPath(""), Fault.CALM)


def cells(
    plan: Plan, paths: Sequence[StepPath], reviewed: Collection[StepPath] = ()
) -> tuple[Cell, ...]:
    """All cells of a plan whose calm run went through these step instances, in their order.

    `reviewed`: those of them at which somebody was asked.
    """
    found = [CALM_CELL]
    for path in paths:
        node = plan.node_of(path)
        review = plan.review_of(path) if path in reviewed else None
        found += [
            Cell(path, fault) for fault, kind in KINDS.items() if _applies(kind, node, review)
        ]
    return tuple(found)


def _applies(kind: Kind, node: Node | None, review: Review | None) -> bool:
    if node is None or not isinstance(node, kind.nodes):
        return False
    if kind.reviewed:
        return review is not None and (review.expires is not None or not kind.expires)
    if isinstance(node, ActionNode):
        if node.service == ENGINE or node.reversal is Reversal.READ_ONLY:
            return False
        return (node.undo is not None or not kind.undone) and (node.probe or not kind.probed)
    return True
