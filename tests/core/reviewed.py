"""Reviewers of a random life: who decides what, at any time and not always well."""

import random
from typing import Final, Literal

from amends_contracts.names import StepPath
from amends_orchestrator.core.checker import History, SagaPast, check
from amends_orchestrator.core.inputs import ReviewDecision
from core.dsl import Scenario

DECISIONS: Final[tuple[Literal["approve", "reject", "edit"], ...]] = (
    "approve",
    "approve",
    "approve",
    "edit",
    "approve",
    "approve",
    "reject",
)


def asked(saga: Scenario) -> list[StepPath]:
    """Steps that a review was ever asked for."""
    return sorted(path for path, step in saga.saga.state.steps.items() if step.review.seq)


def decision(saga: Scenario, chance: random.Random, *, healthy: bool) -> ReviewDecision:
    """Perhaps not their own, perhaps again, late, or on what has changed; if healthy, approved."""
    review = saga.step(chance.choice(asked(saga))).review
    stale = not healthy and chance.random() < 0.15
    what = DECISIONS[0 if healthy else chance.randrange(len(DECISIONS))]
    return ReviewDecision(
        review=review.seq,
        decision=what,
        by=chance.choice(["ann", "bea", "cleo", "test"]),
        shown_digest="0" * 64 if stale else review.digest,
        roles=frozenset({"lead"} if chance.random() < 0.5 else ()),
        body={"edited": chance.randrange(3)} if what == "edit" else None,
    )


def check_decisions(saga: Scenario) -> None:
    """Promise 13, by the checker's own rules."""
    past = SagaPast(identity=saga.saga.identity, plan=saga.plan, rows=tuple(saga.rows))
    assert check(History(sagas=(past,)), {13}).violations == ()
