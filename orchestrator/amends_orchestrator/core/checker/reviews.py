"""Promise 13 for reviews: each decision counts once, and what was approved is what runs.

Read off the rows alone, and of nothing that the engine counts by.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from amends_contracts.messages import Json, digest_of, to_body
from amends_contracts.names import StepPath
from amends_orchestrator.core import journal as j
from amends_orchestrator.core import journal_reviews as r
from amends_orchestrator.core.checker.evidence import Broken, Evidence
from amends_orchestrator.core.checker.folding import Entry, Folded
from amends_orchestrator.core.journal_signals import StepWithdrawn
from amends_orchestrator.core.plan import ActionNode
from amends_orchestrator.core.plan_reviews import Review, ReviewNode


@dataclass(slots=True)
class _Asked:
    """One review, as its rows tell it."""

    seq: int
    digest: str
    due: datetime | None
    over: str | None = None
    approved: set[str] = field(default_factory=set[str])
    """Who has approved what has this digest."""
    expired: bool = False


def _reviews(folded: Folded) -> Iterator[tuple[Entry, _Asked | None]]:
    """Every row of a step that is or was reviewed, with its review as it stood before the row."""
    asked: dict[StepPath, _Asked] = {}
    for entry in folded.entries:
        path = entry.row.step
        if path is None:
            continue
        yield entry, asked.get(path)
        event, review = entry.event, asked.get(path)
        match event:
            case r.ReviewRequested(digest=digest, due=due):
                asked[path] = _Asked(entry.row.seq, digest, due)
            case r.ReviewDecided(decision="edit", edited=edited, by=by) if review is not None:
                review.digest, review.approved = edited or "", {by}
            case r.ReviewDecided(decision="approve", by=by) if review is not None:
                review.approved.add(by)
            case r.ReviewDecided() if review is not None:
                review.over = "rejected"
            case r.ReviewExpired(then="escalate", due=due) if review is not None:
                review.due = due
            case r.ReviewExpired(then="approve") if review is not None:
                review.expired = True
            case r.ReviewExpired() if review is not None:
                review.over = "expired"
            case r.ReviewApproved() if review is not None:
                review.over = "approved"
            case StepWithdrawn() | j.OperatorSkipped() if review is not None:
                review.over = review.over or "withdrawn"
            case _:
                pass


def decisions_count_once(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: a reviewer decides once on what is shown, in time, while somebody is asked."""
    for folded in evidence.folded:
        for entry, review in _reviews(folded):
            event = entry.event
            if not isinstance(event, r.ReviewDecided):
                continue
            if review is None or review.seq != event.review:
                yield _at(folded, entry, f"{event.by} decided, and was not asked")
                continue
            if review.over is not None:
                yield _at(folded, entry, f"{event.by} decided after it was {review.over}")
            if review.due is not None and entry.row.at >= review.due:
                yield _at(folded, entry, f"{event.by} decided after it had expired")
            if event.digest != review.digest:
                yield _at(folded, entry, f"{event.by} decided on what was not shown any more")
            if event.by in review.approved:
                yield _at(folded, entry, f"{event.by} decided twice on the same")


def what_runs_was_approved(evidence: Evidence) -> Iterator[Broken]:
    """Promise 13: what a guard holds back runs as enough people have approved it, or not at all."""
    for folded in evidence.folded:
        for entry, review in _reviews(folded):
            event = entry.event
            if isinstance(event, r.ReviewApproved) and review is not None:
                enough = review.expired or len(review.approved) >= _quorum(folded, event.path)
                if not enough or event.digest != review.digest:
                    who = ", ".join(sorted(review.approved)) or "nobody"
                    yield _at(folded, entry, f"counts as approved, by {who}")
            elif isinstance(event, j.StepDispatched) and event.first:
                yield from _dispatched(folded, entry, review, event.input)


def _dispatched(
    folded: Folded, entry: Entry, review: _Asked | None, told: Json
) -> Iterator[Broken]:
    guard = _guard(folded, entry.row.step)
    if review is None:
        if guard is not None and guard.when is None:
            yield _at(folded, entry, "was sent, and nobody was asked")
    elif review.over != "approved":
        yield _at(folded, entry, "was sent, and nobody has approved it")
    elif digest_of(to_body(told)) != review.digest:
        yield _at(folded, entry, "was sent otherwise than it was approved")


def _guard(folded: Folded, path: str | None) -> Review | None:
    node = None if path is None else folded.past.plan.node_of(path)
    if isinstance(node, ReviewNode):
        return node.review
    return node.guard if isinstance(node, ActionNode) else None


def _quorum(folded: Folded, path: str) -> int:
    review = _guard(folded, path)
    return 1 if review is None else review.quorum


def _at(folded: Folded, entry: Entry, text: str) -> Broken:
    return Broken(text, folded.past.identity.saga_id, entry.row.step)
