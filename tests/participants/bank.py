"""The participant under test: a transactional command, and one of each class outside.

What is "outside" is written to the same database through another connection, so that it stays
when the handler's transaction, if it had one, rolls back.
"""

import asyncio
import os
import signal
from pathlib import Path

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


LOCK = text("SELECT pg_advisory_xact_lock(hashtext(:k))")


def die_once() -> None:
    """What a machine without power does, once per marker file."""
    mark = Path(os.environ["BANK_MARK"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def bank(world: World) -> Participant:
    """A bank over a world."""
    app = Participant("bank")
    inside(app)
    beyond(app, world)
    return app


def inside(app: Participant) -> None:
    """What is done in the transaction."""

    @app.action(Charge)
    async def charge(cmd: Charge, tx: AsyncConnection, effect: Effect) -> Receipt:
        await _misbehave(cmd.how, "before", effect)
        await move(tx, effect.key, "acted", cmd.account, -cmd.usd)
        await _misbehave(cmd.how, "after", effect)
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund(undo: Undo[Charge, Receipt], tx: AsyncConnection) -> None:
        await _misbehave(f"undo {undo.input.how}", "before", undo.effect)
        await move(tx, undo.key, "undone", undo.input.account, undo.input.usd)
        await _misbehave(f"undo {undo.input.how}", "after", undo.effect)
        if undo.input.how in {"failing undo", "refusing undo"} and undo.effect.attempt == 1:
            raise Failed("not-now", retryable=undo.input.how == "failing undo")


def beyond(app: Participant, world: World) -> None:
    """What is done outside of any transaction of ours."""

    async def outside(effect_key: str, what: str, account: str, usd: int) -> None:
        """An effect outside of any transaction of ours; undone only if it is there."""
        async with world.engine.begin() as conn:
            await conn.execute(
                text("SELECT pg_advisory_xact_lock(hashtext(:k))"), {"k": effect_key}
            )
            seen = await conn.execute(
                text("SELECT what FROM done WHERE key = :k"), {"k": effect_key}
            )
            already = set(seen.scalars())
            if what not in already and (what == "acted" or "acted" in already):
                await move(conn, effect_key, what, account, usd)

    async def act(cmd: Wire | Post | Shout, effect: Effect) -> Receipt:
        await _misbehave(cmd.how, "before", effect)
        await outside(effect.key, "acted", cmd.account, -cmd.usd)
        await _misbehave(cmd.how, "after", effect)
        return Receipt(id=effect.key)

    async def take_back(
        undo: Undo[Wire, Receipt] | Undo[Post, Receipt] | Undo[Shout, Receipt],
    ) -> None:
        await _misbehave(f"undo {undo.input.how}", "before", undo.effect)
        await outside(undo.key, "undone", undo.input.account, undo.input.usd)
        await _misbehave(f"undo {undo.input.how}", "after", undo.effect)

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
        await take_back(undo)


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
        case ("dies before", "before") | ("dies after", "after"):
            die_once()
        case ("undo undo dies before", "before") | ("undo undo dies after", "after"):
            die_once()
        case "says so", "before":
            await effect.progress()
            effect.used(model="m-1", input_tokens=3, output_tokens=4, usd=None)
        case "slow", "before":
            await asyncio.sleep(1)
        case "raises once", "after" if first:
            raise RuntimeError("a bug")
        case _:
            return
