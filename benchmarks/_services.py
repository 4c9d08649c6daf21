"""The participants of the saga benchmark: four services with one transactional effect each."""

import os

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_contracts.command import Command
from amends_participants import Effect, Failed, Participant, Undo

TABLE = "CREATE TABLE IF NOT EXISTS bench_effect (key text PRIMARY KEY, undone boolean NOT NULL)"
DO = text("INSERT INTO bench_effect VALUES (:key, false)")
UNDO = text("UPDATE bench_effect SET undone = true WHERE key = :key")


class Done(BaseModel):
    """An output."""

    code: str


class One(Command[Done], name="one.do", effect="transactional"):
    """The first step."""

    n: int


class Two(Command[Done], name="two.do", effect="transactional"):
    """The second step."""

    n: int


class Three(Command[Done], name="three.do", effect="transactional"):
    """The third step."""

    n: int


class Four(Command[Done], name="four.do", effect="transactional"):
    """The last step; it fails for negative numbers."""

    n: int


one, two, three, four = (Participant(name) for name in ("one", "two", "three", "four"))


ROWS = os.environ.get("BENCH_ROWS") != "0"
"""Whether a handler writes a row; without, what is measured is the saga and its barrier."""


async def _act(tx: AsyncConnection, effect: Effect) -> Done:
    if ROWS:
        await tx.execute(DO, {"key": effect.key})
    return Done(code="7C")


async def _undo(tx: AsyncConnection, key: str) -> None:
    if ROWS:
        await tx.execute(UNDO, {"key": key})


@one.action(One)
async def do_one(tx: AsyncConnection, effect: Effect) -> Done:
    """An insert."""
    return await _act(tx, effect)


@one.compensation(One)
async def undo_one(undo: Undo[One, Done], tx: AsyncConnection) -> None:
    """An update."""
    await _undo(tx, undo.key)


@two.action(Two)
async def do_two(tx: AsyncConnection, effect: Effect) -> Done:
    """An insert."""
    return await _act(tx, effect)


@two.compensation(Two)
async def undo_two(undo: Undo[Two, Done], tx: AsyncConnection) -> None:
    """An update."""
    await _undo(tx, undo.key)


@three.action(Three)
async def do_three(tx: AsyncConnection, effect: Effect) -> Done:
    """An insert."""
    return await _act(tx, effect)


@three.compensation(Three)
async def undo_three(undo: Undo[Three, Done], tx: AsyncConnection) -> None:
    """An update."""
    await _undo(tx, undo.key)


@four.action(Four)
async def do_four(cmd: Four, tx: AsyncConnection, effect: Effect) -> Done:
    """An insert, or a failure that makes the saga undo the other three."""
    if cmd.n < 0:
        raise Failed("negative", "the last step was asked to fail")
    return await _act(tx, effect)


@four.compensation(Four)
async def undo_four(undo: Undo[Four, Done], tx: AsyncConnection) -> None:
    """An update."""
    await _undo(tx, undo.key)
