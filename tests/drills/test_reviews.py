"""Reviews in drills: the drill's own reviewers reject, are silent, and let everything else pass."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from amends_contracts.definition import Action, Review
from amends_contracts.messages import Json
from amends_contracts.names import StepPath
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import SagaStatus, compile_plan
from amends_orchestrator.drills.invariants import Invariant
from amends_orchestrator.drills.matrix import Cell, Fault, cells
from amends_orchestrator.drills.oracle import Foreseen, foresee
from amends_orchestrator.drills.pace import Pace, hurried
from amends_orchestrator.drills.results import Result, Verdict
from amends_orchestrator.drills.scripts import Script
from drills import refunds
from drills.field import definition, drilling, step
from refund.refund import plan as refund

UNDO = {"command": "bank.refund"}


def ask(name: str, **more: Json) -> dict[str, Json]:
    """A review of a definition."""
    return {"kind": "review", "id": name, "title": "May it?", **more}


ASKED = definition(
    step("hold", "stock.hold", compensation={"command": "stock.free"}),
    ask("ask", quorum=2, expires="P2D"),
    ask("wave", expires="P1D", on_expiry="approve"),
    step("pay", "bank.charge", compensation=UNDO, review={"expires": "PT1H", "valid_for": "PT1H"}),
    step(
        "tell",
        "bank.tell",
        compensation=UNDO,
        review={"expires": "P1D", "on_expiry": "escalate", "escalate_to": ["role:head"]},
    ),
    step("send", "bank.send", compensation=UNDO, review={"not_requester": True}),
    ask("late"),
)
PATHS = [StepPath(name) for name in ("hold", "ask", "wave", "pay", "tell", "send", "late")]
OUTPUTS: dict[StepPath, Json] = {path: {} for path in PATHS}
REVIEWS = {Fault.REVIEW_REJECTED, Fault.REVIEW_EXPIRED}


def test_a_review_is_a_row_where_somebody_was_asked() -> None:
    """It expires only where the plan says so; a guard whose condition did not hold asks nobody."""
    plan = compile_plan(hurried(ASKED, Pace()), CelExpressions())
    asked = [path for path in PATHS if path not in {"hold", "tell"}]
    found = [cell for cell in cells(plan, PATHS, asked) if cell.fault in REVIEWS]
    assert [cell.step for cell in found if cell.fault is Fault.REVIEW_REJECTED] == asked
    assert [cell.step for cell in found if cell.fault is Fault.REVIEW_EXPIRED] == [
        "ask",
        "wave",
        "pay",
    ]
    assert {cell.fault for cell in cells(plan, PATHS, asked) if cell.step == "ask"} == REVIEWS


@pytest.mark.parametrize(
    ("at", "fault", "status", "held"),
    [
        ("", Fault.CALM, SagaStatus.COMPLETED, "hold pay tell send"),
        ("ask", Fault.REVIEW_REJECTED, SagaStatus.COMPENSATED, ""),
        ("ask", Fault.REVIEW_EXPIRED, SagaStatus.COMPENSATED, ""),
        ("wave", Fault.REVIEW_REJECTED, SagaStatus.COMPENSATED, ""),
        ("wave", Fault.REVIEW_EXPIRED, SagaStatus.COMPLETED, "hold pay tell send"),
        ("pay", Fault.REVIEW_REJECTED, SagaStatus.COMPENSATED, ""),
        ("pay", Fault.REVIEW_EXPIRED, SagaStatus.COMPENSATED, ""),
        ("tell", Fault.REVIEW_EXPIRED, SagaStatus.COMPENSATED, ""),
        ("late", Fault.REVIEW_REJECTED, SagaStatus.COMPENSATED, ""),
        ("send", Fault.COMMAND_TWICE, SagaStatus.COMPLETED, "hold pay tell send"),
    ],
)
def test_the_oracle_knows_what_comes_of_a_review(
    at: str, fault: Fault, status: SagaStatus, held: str
) -> None:
    """As many approve as must; a reject turns back; silence is what the plan takes it for."""
    decided = fault is not Fault.REVIEW_EXPIRED
    plan = compile_plan(hurried(ASKED, Pace(), decided=decided), CelExpressions())
    foreseen = foresee(plan, {}, OUTPUTS, Script(Cell(StepPath(at), fault)))
    assert foreseen == Foreseen(status, frozenset(map(StepPath, held.split())))


def test_a_review_is_hurried_only_where_nobody_decides() -> None:
    """Else a slow machine would let one expire that is decided."""
    usual, undecided = hurried(ASKED, Pace()), hurried(ASKED, Pace(), decided=False)
    assert usual.steps[1] == ASKED.steps[1]
    soon = timedelta(seconds=0.5)
    asked, pay, late = undecided.steps[1], undecided.steps[3], undecided.steps[6]
    assert isinstance(asked, Review)
    assert asked.expires == soon
    assert isinstance(pay, Action)
    assert pay.review is not None
    assert (pay.review.expires, pay.review.valid_for) == (soon, timedelta(hours=1))
    assert isinstance(late, Review)
    assert late.expires is None


async def drilled(url: str, faults: Sequence[Fault], *, undoes: bool = True) -> list[Result]:
    """The cells of the example with these faults; the calm one is the first."""
    disputed: set[str] = set()

    def none(saga_id: str) -> bool:
        return not any(key.startswith(f"{saga_id}/") for key in disputed)

    kept = (Invariant(name="nothing is disputed", probe=none),)
    given = drilling(
        url,
        refund.document(),
        apps=refunds.services(disputed, undoes=undoes),
        invariants=kept,
        input={"order": "o-1", "text": "Broken.", "usd": 250},
    )

    async def begin(_: Sequence[Cell]) -> None:
        pass

    async with given as (drill, _):
        await drill.prepare()
        found = [result async for result in drill.run(lambda c: c.fault in faults, begin)]
        assert await drill.left() == ()
    return found


TRIED = (
    Fault.FAILS_BEFORE,
    Fault.CANCELLED,
    Fault.KILLED_BEFORE_DISPATCH,
    Fault.REVIEW_REJECTED,
    Fault.REVIEW_EXPIRED,
)


async def test_right_participants_behind_reviews_pass(migrated_database_url: str) -> None:
    """A step of its own and a guard: rejected, expired after an escalation, approved elsewhere."""
    found = await drilled(migrated_database_url, TRIED)
    assert [(r.cell, r.verdict, r.findings, r.why) for r in found] == [
        (r.cell, Verdict.PASS, (), "") for r in found
    ]
    tried = {(r.cell.step, r.cell.fault) for r in found if r.cell.fault in REVIEWS}
    assert tried == {(step, fault) for step in ("asked", "paid") for fault in REVIEWS}


async def test_an_undo_that_a_reject_shows_to_do_nothing_is_found(
    migrated_database_url: str,
) -> None:
    """The lead says no, and the mark stays."""
    found = await drilled(migrated_database_url, [Fault.REVIEW_REJECTED], undoes=False)
    rejected = [result for result in found if result.cell.fault is Fault.REVIEW_REJECTED]
    assert [(result.cell.step, result.verdict) for result in rejected] == [
        ("asked", Verdict.FAIL),
        ("paid", Verdict.FAIL),
    ]
    for result in rejected:
        whats = [finding.what for finding in result.findings]
        assert "invariant 'nothing is disputed' is broken" in whats[0]
        assert f"{result.cell.step} review ← reject" in [line.text for line in result.story]
