"""What keeps a drill from telling anything is said, and nothing is done in the drilled system."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from amends_contracts.names import StepPath
from amends_orchestrator.drills.invariants import Invariant
from amends_orchestrator.drills.matrix import CALM_CELL, Cell, Fault
from amends_orchestrator.drills.results import Verdict
from amends_orchestrator.drills.runner import CannotDrill
from amends_participants import Participant
from drills import bank
from drills.field import BANK, SEATS, definition, drilling, step
from drills.plain import Wrong


async def test_a_service_that_nobody_runs_is_named(migrated_database_url: str) -> None:
    """Before anything is started."""
    async with drilling(migrated_database_url, BANK) as (drill, _):
        with pytest.raises(CannotDrill, match="Nobody has heard of bank") as refused:
            await drill.prepare()
    assert "--sandbox bank=" in refused.value.remedy


async def test_one_that_is_vouched_for_must_answer(migrated_database_url: str) -> None:
    """Its word is the operator's; that it runs is looked at nevertheless."""
    given = drilling(migrated_database_url, SEATS, sandbox={"seats": "an empty theatre"})
    async with given as (drill, _):
        with pytest.raises(CannotDrill, match="seats cannot be reached"):
            await drill.prepare()


async def test_without_undos_there_is_nothing_to_prove(migrated_database_url: str) -> None:
    """A definition whose steps cannot be taken back."""
    what = definition(step("hold", "seats.hold", reversal="irreversible", pivot=True))
    given = drilling(
        migrated_database_url, what, wrong=Wrong.IN_NOTHING, sandbox={"seats": "a theatre"}
    )
    async with given as (drill, _):
        with pytest.raises(CannotDrill, match="drilled has no step that can be undone"):
            await drill.prepare()


async def test_where_drills_are_not_enabled_no_command_runs(migrated_database_url: str) -> None:
    """Its cells are inconclusive and say what to set; the balance was never touched."""
    url = migrated_database_url
    await bank.create(url)
    kept = (Invariant(name="balance", sql=bank.BALANCE, database=url, expect=100),)
    given = drilling(url, BANK, apps=[bank.bank(url)], invariants=kept, secret=None)
    async with given as (drill, _):
        prepared = await drill.prepare()
        why = "drills are not enabled at bank: set AMENDS_DRILL_SECRET there"
        assert prepared.barred == {"charge": why, "wire": why}
        assert (await drill.cell(CALM_CELL)).verdict is Verdict.PASS  # refused, and nothing done
        result = await drill.cell(Cell(StepPath("charge"), Fault.CANCELLED))
        assert (result.verdict, result.why) == (Verdict.INCONCLUSIVE, why)


async def test_another_secret_is_refused_by_the_participant(migrated_database_url: str) -> None:
    """It does not take a stranger's word that this is a drill."""
    url = migrated_database_url
    await bank.create(url)
    other = "quite another secret"
    async with drilling(url, BANK, apps=[bank.bank(url)], secret=other) as (drill, _):
        await drill.prepare()
        result = await drill.cell(CALM_CELL)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "its AMENDS_DRILL_SECRET is not that of the drill" in result.why


async def test_a_command_without_sandbox_is_never_drilled(migrated_database_url: str) -> None:
    """What comes before it is: the saga is turned back there, by the drill itself."""
    url = migrated_database_url
    await bank.create(url)
    app = bank.bank(url)
    undeclared(app, "bank.wire")
    kept = (Invariant(name="balance", sql=bank.BALANCE, database=url, expect=100),)
    async with drilling(url, BANK, apps=[app], invariants=kept) as (drill, _):
        prepared = await drill.prepare()
        assert list(prepared.barred) == ["wire"]
        assert "does not say what it acts on in drills" in prepared.barred["wire"]
        calm = await drill.cell(CALM_CELL)
        assert (calm.verdict, calm.undos.verified) == (Verdict.PASS, {"charge"})
        result = await drill.cell(Cell(StepPath("charge"), Fault.CANCELLED))
        assert result.verdict is Verdict.PASS
        result = await drill.cell(Cell(StepPath("wire"), Fault.CANCELLED))
        assert result.verdict is Verdict.INCONCLUSIVE


def undeclared(app: Participant, name: str) -> None:
    """The same service, without a word about drills at this command."""
    known: Any = vars(app)["_commands"]
    known[name] = replace(known[name], drill=None)


async def test_an_invariant_that_raises_or_never_ends_is_named(migrated_database_url: str) -> None:
    """Neither ends the drill; a cell that could not be judged says by whose fault."""

    def raises() -> None:
        raise RuntimeError("no such table")

    def never_ends() -> None:
        time.sleep(60)

    url = migrated_database_url
    await bank.create(url)
    for probe, said in (
        (raises, "invariant 'probe' could not be asked: RuntimeError: no such table"),
        (never_ends, "invariant 'probe' could not be asked: it did not end within 0.1 s"),
    ):
        kept = [Invariant(name="probe", probe=probe, timeout_s=0.1)]
        async with drilling(url, BANK, apps=[bank.bank(url)], invariants=kept) as (drill, _):
            await drill.prepare()
            result = await drill.cell(CALM_CELL)
        assert (result.verdict, result.why) == (Verdict.INCONCLUSIVE, said)


async def test_what_an_interrupted_drill_has_left_is_undone_by_the_next(
    migrated_database_url: str,
) -> None:
    """A saga that was under way, with an action that nobody knows the outcome of."""
    url = migrated_database_url
    await bank.create(url)
    kept = (Invariant(name="balance", sql=bank.BALANCE, database=url, expect=100),)
    async with drilling(url, BANK, apps=[bank.bank(url)], invariants=kept) as (drill, _):
        await drill.prepare()
        await drill.cell(CALM_CELL)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await drill.cell(Cell(StepPath("wire"), Fault.UNDO_FIRST))
        assert len(await drill.left()) == 1
    async with drilling(url, BANK, apps=[bank.bank(url)], invariants=kept) as (drill, _):
        await drill.prepare()
        await drill.clean_up()
        assert await drill.left() == ()
        assert (await drill.cell(CALM_CELL)).verdict is Verdict.PASS
