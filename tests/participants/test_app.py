"""Registering handlers: what fits is taken in any order, what does not is refused with the line."""

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from amends_participants import BadHandler, Command, Effect, Participant, Undo
from amends_participants.signatures import Part
from participants.bank import Charge, Receipt, Wire


class Look(Command[Receipt], name="bank.look", effect="transactional", reversal="read_only"):
    """Changes nothing."""


class Release(Command[None], name="bank.release"):
    """A compensation with a body of its own."""

    reason: str


class Hold(Command[Receipt], name="bank.hold", effect="transactional", compensation=Release):
    """Undone by a command of its own name."""


def test_parameters_come_in_any_order() -> None:
    """What a parameter takes is told by its annotation alone."""
    app = Participant("bank")

    @app.action(Charge)
    async def charge(e: Effect, s: AsyncSession, c: Charge, t: AsyncConnection) -> Receipt:
        return Receipt(id=e.key)

    found = app.find_action("bank.charge")
    assert found is not None
    assert found.action is not None
    assert found.action.parameters == {
        "e": Part.EFFECT,
        "s": Part.SESSION,
        "c": Part.COMMAND,
        "t": Part.TX,
    }


def test_a_compensation_by_its_own_name_takes_its_own_body() -> None:
    """A plan may map what `bank.release` is given; it is found by that name."""
    app = Participant("bank")

    @app.compensation(Hold)
    async def release(body: Release, effect: Effect) -> None:
        return None

    found = app.find_undo("bank.release")
    assert found is not None
    assert found.compensation is not None
    assert found.compensation.body_model is Release
    assert app.find_undo("bank.hold") is None


def test_what_cannot_work_is_refused_at_registration() -> None:
    """Each refusal says what, and the remedy."""
    app = Participant("bank")

    async def with_tx(cmd: Wire, tx: AsyncConnection) -> Receipt:
        return Receipt(id="")

    def not_async(cmd: Charge) -> Receipt:
        return Receipt(id="")

    async def other(undo: Undo[Wire, Receipt]) -> None:
        return None

    async def fine(undo: Undo[Look, Receipt]) -> None:
        return None

    with pytest.raises(BadHandler, match="only a command with effect='transactional' has a trans"):
        app.action(Wire)(with_tx)
    with pytest.raises(BadHandler, match=r"test_app.py:\d+: .*not_async\(\) must be `async def`"):
        app.action(Charge)(not_async)  # type: ignore[arg-type]
    with pytest.raises(BadHandler, match=r"takes any of undo: Undo\[Charge, …\]"):
        app.compensation(Charge)(other)
    with pytest.raises(BadHandler, match="Look is read_only: it has no compensation"):
        app.compensation(Look)(fine)
    with pytest.raises(BadHandler, match="belongs to the service 'bank', not to Participant"):
        Participant("flights").action(Wire)
    with pytest.raises(ValueError, match="lower case"):
        Participant("Bank")


def test_an_app_that_lacks_something_says_what() -> None:
    """Checked before anything is connected."""
    app = Participant("bank")
    with pytest.raises(BadHandler, match="has no handler"):
        app.check()

    @app.action(Charge)
    async def charge(cmd: Charge) -> Receipt:
        return Receipt(id="")

    with pytest.raises(BadHandler, match=r"add @app.compensation\(Charge\), or declare reversal"):
        app.check()
    with pytest.raises(BadHandler, match=r"'bank\.charge' has a handler for its action already"):
        app.action(Charge)(charge)


def test_hello_says_what_is_served() -> None:
    """Commands with schema, effect, reversal, and the undo only where there is one."""
    app = Participant("bank")

    @app.action(Charge)
    async def charge(cmd: Charge) -> Receipt:
        return Receipt(id="")

    @app.compensation(Charge)
    async def refund(undo: Undo[Charge, Receipt]) -> None:
        return None

    @app.action(Look)
    async def look(cmd: Look) -> Receipt:
        return Receipt(id="")

    hello = app.hello("i-1")
    said = {name: (i.compensation, i.probe, i.effect.value) for name, i in hello.commands.items()}
    assert said == {
        "bank.charge": ("bank.charge", True, "transactional"),
        "bank.look": (None, True, "transactional"),
    }
