"""A service with SDK that moves money: right, or wrong in one way that its barrier cannot see."""

from enum import StrEnum

from pydantic import BaseModel
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from amends_contracts.command import Command
from amends_participants import Effect, Failed, Participant, Undo

TABLES = (
    "CREATE TABLE account (name text PRIMARY KEY, usd integer NOT NULL)",
    "INSERT INTO account VALUES ('ours', 100), ('another', 100)",
    "CREATE TABLE charge (key text NOT NULL, account text NOT NULL, usd integer NOT NULL)",
    "INSERT INTO charge VALUES ('someone/else/action', 'another', 10)",
)
BALANCE = "SELECT usd FROM account WHERE name = 'ours'"
OTHERS = "SELECT usd FROM account WHERE name = 'another'"
TAKE = text("UPDATE account SET usd = usd - :usd WHERE name = 'ours'")
NOTE = text("INSERT INTO charge VALUES (:key, 'ours', :usd)")
GIVE = text("UPDATE account SET usd = usd + :usd WHERE name = :name")
THERE = text("SELECT count(*) FROM charge WHERE key = :key")
FIRST = text("SELECT account FROM charge ORDER BY account LIMIT 1")


class Wrong(StrEnum):
    """The ways in which it may be wrong."""

    IN_NOTHING = "right"
    UNDO_DOES_NOTHING = "undo that does nothing"
    PARTIAL_UNDO = "partial undo"
    OTHERS_EFFECT = "undo of another saga's effect"
    REFUND_TWICE = "non-idempotent refund"
    KEY_NOT_USED = "key not handed to the outside"
    FAILED_AFTER = "failed after an effect"


class Receipt(BaseModel):
    """A charge."""

    usd: int


class Charge(Command[Receipt], name="bank.charge", effect="transactional"):
    """Within the service's own database."""

    usd: int


class Wire(Command[Receipt], name="bank.wire", effect="keyed"):
    """At another bank, which knows our key."""

    usd: int


async def create(url: str) -> None:
    """The accounts."""
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        for statement in TABLES:
            await connection.execute(text(statement))
    await engine.dispose()


def bank(url: str, wrong: Wrong = Wrong.IN_NOTHING) -> Participant:
    """The service."""
    app = Participant("bank")
    outside = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))

    @app.on_stop
    async def leave() -> None:
        await outside.dispose()

    @app.action(Charge, drill="an account of its own")
    async def charge(cmd: Charge, tx: AsyncConnection, effect: Effect) -> Receipt:
        await tx.execute(TAKE, {"usd": cmd.usd})
        await tx.execute(NOTE, {"key": effect.key, "usd": cmd.usd})
        return Receipt(usd=cmd.usd)

    @app.compensation(Charge)
    async def refund(undo: Undo[Charge, Receipt], tx: AsyncConnection) -> None:
        usd, name = undo.input.usd, "ours"
        if wrong is Wrong.UNDO_DOES_NOTHING:
            return
        if wrong is Wrong.PARTIAL_UNDO:
            usd //= 2
        if wrong is Wrong.OTHERS_EFFECT:
            name = str((await tx.execute(FIRST)).scalar_one())
        await tx.execute(GIVE, {"usd": usd, "name": name})

    @app.action(Wire, drill="an account of its own")
    async def wire(cmd: Wire, effect: Effect) -> Receipt:
        async with outside.begin() as other:
            known = (await other.execute(THERE, {"key": effect.key})).scalar_one()
            if not known or wrong is Wrong.KEY_NOT_USED:
                await other.execute(TAKE, {"usd": cmd.usd})
                await other.execute(NOTE, {"key": effect.key, "usd": cmd.usd})
        if wrong is Wrong.FAILED_AFTER:
            raise Failed("declined", "after the money has gone")
        return Receipt(usd=cmd.usd)

    @app.compensation(Wire)
    async def wire_back(undo: Undo[Wire, Receipt], effect: Effect) -> None:
        async with outside.begin() as other:
            known = (await other.execute(THERE, {"key": effect.key})).scalar_one()
            if not known or wrong is Wrong.REFUND_TWICE:
                sent = (await other.execute(THERE, {"key": undo.key})).scalar_one()
                if sent:
                    await other.execute(GIVE, {"usd": undo.input.usd, "name": "ours"})
                    await other.execute(NOTE, {"key": effect.key, "usd": 0})

    return app
