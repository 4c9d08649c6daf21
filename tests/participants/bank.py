"""The participant under test: a transactional command, and one of each class outside.

What is "outside" is written to the same database through another connection, so that it stays
when the handler's transaction, if it had one, rolls back.
"""

import os
import signal

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_participants import Command, Effect, Failed, Participant, Undo, Unknown
from participants.world import World


class Receipt(BaseModel):
    """A charge."""

    id: str


class Charge(Command[Receipt], name="bank.charge", effect="transactional"):
    """Take money; `how` makes it fail in the named way."""

    account: str
    usd: int
    how: str = ""


class Wire(Command[Receipt], name="bank.wire", effect="keyed"):
    """Money sent by another bank that honours keys."""

    account: str
    usd: int
    how: str = ""


class Post(Command[Receipt], name="bank.post", effect="queryable", probe=True):
    """A letter at a post office that can be asked."""

    account: str
    usd: int
    how: str = ""


class Shout(Command[Receipt], name="bank.shout", effect="none", reversal="compensatable"):
    """Something nobody can check."""

    account: str
    usd: int
    how: str = ""


def die() -> None:
    """What a machine without power does."""
    os.kill(os.getpid(), signal.SIGKILL)


def bank(world: World) -> Participant:
    """A bank over a world."""
    app = Participant("bank")

    async def outside(effect_key: str, what: str, account: str, usd: int) -> None:
        """An effect outside of any transaction of ours; once per key and kind."""
        async with world.engine.begin() as conn:
            seen = await conn.execute(
                text("SELECT 1 FROM done WHERE key = :k AND what = :w"),
                {"k": effect_key, "w": what},
            )
            if seen.first() is None:
                await move(conn, effect_key, what, account, usd)

    async def act(cmd: Wire | Post | Shout, effect: Effect) -> Receipt:
        await _misbehave(cmd.how, "before", effect)
        await outside(effect.key, "acted", cmd.account, -cmd.usd)
        await _misbehave(cmd.how, "after", effect)
        return Receipt(id=effect.key)

    async def take_back(undo: Undo[Wire, Receipt] | Undo[Post, Receipt]) -> None:
        await outside(undo.key, "undone", undo.input.account, undo.input.usd)

    @app.action(Charge)
    async def charge(cmd: Charge, tx: AsyncConnection, effect: Effect) -> Receipt:
        await move(tx, effect.key, "acted", cmd.account, -cmd.usd)
        await _misbehave(cmd.how, "after", effect)
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund(undo: Undo[Charge, Receipt], tx: AsyncConnection) -> None:
        await move(tx, undo.key, "undone", undo.input.account, undo.input.usd)
        if undo.input.how == "failing undo" and undo.effect.attempt == 1:
            raise Failed("not-now", retryable=True)

    @app.action(Wire)
    async def wire(cmd: Wire, effect: Effect) -> Receipt:
        return await act(cmd, effect)

    @app.compensation(Wire)
    async def unwire(undo: Undo[Wire, Receipt]) -> None:
        await take_back(undo)

    @app.action(Post)
    async def post(cmd: Post, effect: Effect) -> Receipt:
        return await act(cmd, effect)

    @app.compensation(Post)
    async def unpost(undo: Undo[Post, Receipt]) -> None:
        await take_back(undo)

    @app.probe(Post)
    async def posted(cmd: Post, effect: Effect) -> Receipt | None:
        done = await world.done(effect.key)
        return Receipt(id=effect.key) if done == ["acted"] else None

    @app.action(Shout)
    async def shout(cmd: Shout, effect: Effect) -> Receipt:
        return await act(cmd, effect)

    @app.compensation(Shout)
    async def apologise(undo: Undo[Shout, Receipt]) -> None:
        await outside(undo.key, "undone", undo.input.account, undo.input.usd)

    return app


async def move(conn: AsyncConnection, key: str, what: str, account: str, usd: int) -> None:
    """Change a balance and note why."""
    await conn.execute(
        text("UPDATE account SET usd = usd + :usd WHERE name = :n"), {"usd": usd, "n": account}
    )
    await conn.execute(text("INSERT INTO done (key, what) VALUES (:k, :w)"), {"k": key, "w": what})


async def _misbehave(how: str, when: str, effect: Effect) -> None:
    first = effect.attempt == 1
    match how, when:
        case ("failed", "after") | ("failed before", "before"):
            raise Failed("no-cover", "the account is empty")
        case ("failed once", "after") if first:
            raise Failed("no-cover", retryable=True, retry_after=2)
        case "unknown", "after":
            raise Unknown("no-answer", "the other bank did not answer")
        case ("raises", "after") | ("raises before", "before"):
            raise RuntimeError("a bug\nsecret parameters")
        case "raises once", "after" if first:
            raise RuntimeError("a bug")
        case _:
            return
