"""Participants that are wrong on purpose are found, with the right message; right ones never."""

import pytest

from amends_contracts.names import StepPath
from amends_orchestrator.drills.invariants import Invariant
from amends_orchestrator.drills.matrix import CALM_CELL, Cell, Fault, cells
from amends_orchestrator.drills.results import Result, Verdict
from drills import bank, plain
from drills.field import BANK, SEATS, drilling


async def seats(url: str, wrong: plain.Wrong, fault: Fault, at: str = "hold") -> Result:
    """One cell at the service without SDK; it keeps a ledger, and needs no invariant."""
    sandbox = {"seats": "an empty theatre"}
    async with drilling(url, SEATS, wrong=wrong, sandbox=sandbox) as (drill, _):
        await drill.prepare()
        calm = await drill.cell(CALM_CELL)
        return calm if fault is Fault.CALM else await drill.cell(Cell(StepPath(at), fault))


async def charged(url: str, wrong: bank.Wrong, fault: Fault, at: str = "charge") -> Result:
    """One cell at the service with SDK, with the user's own invariants."""
    await bank.create(url)
    kept = (
        Invariant(name="the balance is as before", sql=bank.BALANCE, database=url),
        Invariant(name="others are left alone", sql=bank.OTHERS, database=url, expect=100),
    )
    async with drilling(url, BANK, apps=[bank.bank(url, wrong)], invariants=kept) as (drill, _):
        await drill.prepare()
        calm = await drill.cell(CALM_CELL)
        return calm if fault is Fault.CALM else await drill.cell(Cell(StepPath(at), fault))


W, P = bank.Wrong, plain.Wrong


@pytest.mark.parametrize(
    ("wrong", "fault", "at", "what"),
    [
        (
            W.UNDO_DOES_NOTHING,
            Fault.CANCELLED,
            "charge",
            "invariant 'the balance is as before' is broken: it was 90 before, and is 80 now",
        ),
        (
            W.PARTIAL_UNDO,
            Fault.UNDO_FAILS,
            "charge",
            "invariant 'the balance is as before' is broken: it was 95 before, and is 90 now",
        ),
        (
            W.OTHERS_EFFECT,
            Fault.CALM,
            "",
            "invariant 'others are left alone' is broken: it must give 100, and gives 110",
        ),
        (
            W.REFUND_TWICE,
            Fault.PARTICIPANT_KILLED,
            "wire",
            "invariant 'the balance is as before' is broken: it was 100 before, and is 120 now",
        ),
        (
            W.KEY_NOT_USED,
            Fault.PARTICIPANT_KILLED,
            "wire",
            "invariant 'the balance is as before' is broken: it was 100 before, and is 80 now",
        ),
        (
            W.FAILED_AFTER,
            Fault.CALM,
            "",
            "invariant 'the balance is as before' is broken: it was 100 before, and is 80 now",
        ),
    ],
)
async def test_what_a_barrier_cannot_see_an_invariant_does(
    migrated_database_url: str, wrong: bank.Wrong, fault: Fault, at: str, what: str
) -> None:
    """The SDK keeps keys and tombstones; what a handler does with them is its own."""
    result = await charged(migrated_database_url, wrong, fault, at)
    assert result.verdict is Verdict.FAIL
    assert what in [finding.what for finding in result.findings]


@pytest.mark.parametrize(
    ("wrong", "fault", "at", "what"),
    [
        (
            P.NO_TOMBSTONE,
            Fault.UNDO_FIRST,
            "hold",
            "seats did hold after it had acknowledged its undo",
        ),
        (
            P.TOMBSTONES_IN_MEMORY,
            Fault.UNDO_FIRST,
            "hold",
            "seats did hold after it had acknowledged its undo",
        ),
        (
            P.KEY_IGNORED,
            Fault.COMMAND_TWICE,
            "hold",
            "seats answered hold twice with different outputs: it was done twice",
        ),
        (
            P.REPLY_FIRST,
            Fault.CALM,
            "",
            "promise 1: hold is recorded as done, and nothing took effect",
        ),
        (
            P.ORDER_ASSUMED,
            Fault.CALM,
            "",
            "the saga is stuck and does not end: hold is compensation_failed (no-ticket)",
        ),
    ],
)
async def test_what_a_participant_answers_gives_it_away(
    migrated_database_url: str, wrong: plain.Wrong, fault: Fault, at: str, what: str
) -> None:
    """Without SDK, drilled from outside: by its replies and its own ledger."""
    result = await seats(migrated_database_url, wrong, fault, at)
    assert result.verdict is Verdict.FAIL
    assert what in [finding.what for finding in result.findings]
    assert all(finding.fix for finding in result.findings)
    assert result.story


INSIDE = {Fault.PARTICIPANT_KILLED}
QUICK = {Fault.CALM, Fault.FAILS_BEFORE, Fault.UNDO_FAILS, Fault.CANCELLED}


async def test_right_participants_are_never_blamed(migrated_database_url: str) -> None:
    """Every cell of a matrix, most of them again, with and without SDK."""
    url = migrated_database_url
    await bank.create(url)
    kept = (
        Invariant(name="the balance is as before", sql=bank.BALANCE, database=url, expect=100),
        Invariant(name="others are left alone", sql=bank.OTHERS, database=url, expect=100),
    )
    both = BANK.model_copy(update={"steps": (*BANK.steps, SEATS.steps[0])})
    given = drilling(
        url,
        both,
        apps=[bank.bank(url)],
        wrong=P.IN_NOTHING,
        sandbox={"seats": "an empty theatre"},
        invariants=kept,
    )
    async with given as (drill, theatre):
        prepared = await drill.prepare()
        paths = [StepPath(name) for name in ("charge", "wire", "hold")]
        every = cells(prepared.plan, paths)
        for again in (False, True):
            for cell in every if not again else [c for c in every if c.fault in QUICK]:
                result = await drill.cell(cell)
                from_within = cell.step == "hold" and cell.fault in INSIDE
                wanted = Verdict.INCONCLUSIVE if from_within else Verdict.PASS
                assert (result.verdict, result.findings) == (wanted, ()), (cell, result.why)
        assert await drill.left() == ()
        assert theatre.total() is None
