"""The test kit: it passes good handlers, and finds those that are not."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from amends_participants import Effect, Participant, Undo
from amends_participants.runtime.upkeep import UPKEEP
from amends_participants.testing import absent, failed, fenced, given, present, succeeded
from participants.bank import Charge, Post, Receipt, Shout, Wire, bank, move
from participants.world import World


async def test_a_readable_case(world: World) -> None:
    """Commands by hand, replies expected in words."""
    async with given(bank(world), world.url) as kit:
        charge = kit.command(Charge(account="a1", usd=30))
        await charge.probe().expect_reply(absent())
        await charge.action(2).expect_reply(succeeded(id=charge.key))
        await charge.probe(2).expect_reply(present(id=charge.key))
        await charge.compensation().expect_reply(succeeded())
        late = kit.command(Charge(account="a1", usd=30))
        await late.compensation().expect_reply(succeeded())
        await late.action().expect_reply(fenced())
        empty = kit.command(Charge(account="a1", usd=30, how="failed"))
        await empty.action().expect_reply(failed("no-cover", retryable=False))


async def test_another_reply_is_said(world: World) -> None:
    """A failed expectation names the command, what was expected and what came."""
    async with given(bank(world), world.url) as kit:
        charge = kit.command(Charge(account="a1", usd=30, how="failed"))
        with pytest.raises(AssertionError) as caught:
            await charge.action().expect_reply(succeeded())
    assert str(caught.value) == (
        "action of bank.charge, attempt 1: expected succeeded,"
        " got failed no-cover: the account is empty"
    )


@pytest.mark.parametrize("command", [Charge, Wire, Post, Shout])
async def test_good_handlers_pass_every_case(
    world: World, command: type[Charge | Wire | Post | Shout]
) -> None:
    """One of each effect class goes through all that may happen."""
    async with given(bank(world), world.url) as kit:
        cases = await kit.check(command(account="a1", usd=30), world=world.total)
    assert len(cases) == 9


async def test_an_undo_that_forgets_something_is_found(world: World) -> None:
    """The world is not restored: the check names the case and both worlds."""
    app = Participant("bank")

    @app.action(Charge)
    async def charge(cmd: Charge, tx: AsyncConnection, effect: Effect) -> Receipt:
        await move(tx, effect.key, "acted", cmd.account, -cmd.usd)
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund(undo: Undo[Charge, Receipt], tx: AsyncConnection) -> None:
        await move(tx, undo.key, "undone", undo.input.account, undo.input.usd - 1)

    async with given(app, world.url) as kit:
        with pytest.raises(AssertionError, match="the world was 2000 before and is 1999"):
            await kit.check(Charge(account="a1", usd=30), world=world.total)


async def test_a_keyed_effect_without_a_key_is_found(world: World) -> None:
    """A handler that does not hand on its key acts twice after a crash."""
    app = Participant("bank")

    @app.action(Wire)
    async def wire(cmd: Wire, effect: Effect) -> Receipt:
        async with world.engine.begin() as conn:
            await conn.execute(text("UPDATE account SET usd = usd - 1 WHERE name = 'a1'"))
        return Receipt(id=effect.key)

    @app.compensation(Wire)
    async def unwire(undo: Undo[Wire, Receipt]) -> None:
        async with world.engine.begin() as conn:
            await conn.execute(text("UPDATE account SET usd = usd + 1 WHERE name = 'a1'"))

    async with given(app, world.url) as kit:
        with pytest.raises(AssertionError, match="dies after the effect"):
            await kit.check(Wire(account="a1", usd=30), world=world.total)


async def test_a_session_shares_the_effects_transaction(world: World) -> None:
    """What is written through a session commits and rolls back with the barrier."""
    app = Participant("bank")

    @app.action(Charge)
    async def charge(cmd: Charge, session: AsyncSession, effect: Effect) -> Receipt:
        await session.execute(text("UPDATE account SET usd = usd - 30 WHERE name = 'a1'"))
        if cmd.how:
            raise RuntimeError(cmd.how)
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund(undo: Undo[Charge, Receipt], session: AsyncSession) -> None:
        await session.execute(text("UPDATE account SET usd = usd + 30 WHERE name = 'a1'"))

    async with given(app, world.url) as kit:
        raising = kit.command(Charge(account="a1", usd=30, how="a bug"))
        await raising.action().expect_reply(failed("amends:crashed", retryable=True))
        assert await world.total() == 2000
        await kit.check(Charge(account="a1", usd=30), world=world.total)


async def test_only_a_commands_own_commits_are_counted(world: World) -> None:
    """The participant looks for leftovers while a case waits for its crash: that is not it."""

    async def nothing(tx: AsyncConnection) -> None:
        await tx.execute(text("SELECT 1"))

    async with given(bank(world), world.url) as kit:
        crashed = kit.database.arm(at=1, after=True)
        await asyncio.create_task(kit.database.transact(nothing), name=UPKEEP)
        assert not crashed.is_set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(kit.database.transact(nothing))
        assert crashed.is_set()
