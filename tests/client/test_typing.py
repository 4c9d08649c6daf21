"""pyright sees through the client and the handlers: wrong inputs and answers are refused."""

from pathlib import Path

import pytest

from wire.test_typing import REFUSED, errors

HEAD = '''"""A service and its client."""

from typing import Any, assert_type

from amends_contracts.messages import Lifecycle
from amends_contracts.plan import Plan
from amends_participants import Amends, Effect, Participant, Refused, Run, Undo
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from wire.trip import BookHotel, Receipt, ReserveFlight, Seat, Trip

__all__ = ["Any", "AsyncSession", "BookHotel", "Lifecycle", "Receipt", "Refused", "assert_type"]
plan = Plan("p", input=Trip)
amends = Amends()
app = Participant("flights")
ada = Trip(traveller="Ada", to="Lisbon")
seat = Seat(code="1A", usd=1)
'''
RIGHT = """
async def client(session: AsyncSession) -> None:
    run = await amends.start(plan, ada, key="order-17")
    assert_type(run, Run)
    assert_type(await run.result(timeout=30), Any)
    assert_type(await run.result(timeout=30, model=Receipt), Receipt)
    await run.signal("paid", id="p-1")
    assert_type(await run.undo("customer called"), Run)
    assert_type(await amends.start_many(plan, {"a": ada}), dict[str, Run | Refused])
    await amends.start_in(session, plan, ada, key="order-18")
    await amends.start("by-name", {"to": "Lisbon"}, key="order-19")
    async for event in amends.events("book-trip"):
        assert_type(event, Lifecycle)


@app.action(ReserveFlight)
async def reserve(cmd: ReserveFlight, tx: AsyncConnection, effect: Effect) -> Seat:
    return seat


@app.compensation(ReserveFlight)
async def release(undo: Undo[ReserveFlight, Seat], tx: AsyncConnection) -> None:
    assert_type(undo.input, ReserveFlight)
    assert_type(undo.output, Seat | None)
"""
WRONG = """
async def client(run: Run) -> None:
    await amends.start(plan, seat, key="k")  # refused: reportCallIssue
    await amends.start(plan, ada)  # refused: reportCallIssue
    await amends.start_many(plan, {"k": seat})  # refused: reportCallIssue
    await amends.start_in(amends, plan, ada, key="k")  # refused: reportCallIssue
    await run.signal("paid")  # refused: reportCallIssue
    await run.undo()  # refused: reportCallIssue


@app.action(ReserveFlight)  # refused: reportArgumentType
async def reserve(cmd: ReserveFlight, tx: AsyncConnection, effect: Effect) -> Receipt:
    return Receipt(id="1")


@app.compensation(ReserveFlight)
async def release(undo: Undo[ReserveFlight, Seat]) -> None:
    print(undo.input.too)  # refused: reportAttributeAccessIssue


@app.action(Trip)  # refused: reportArgumentType
async def travel(cmd: Trip) -> None: ...
"""

pytestmark = pytest.mark.slow


def said(folder: Path, code: str) -> set[tuple[int, str]]:
    """What pyright says of the code."""
    source = folder / "source.txt"
    source.write_text(HEAD + code)
    return errors(folder, source)


def test_what_the_documentation_shows_passes(tmp_path: Path) -> None:
    """Runs, results, events and handlers have the types that they seem to have."""
    assert said(tmp_path, RIGHT) == set()


def test_each_mistake_is_refused_where_it_stands(tmp_path: Path) -> None:
    """Another plan's input, a missing key, another command's answer, a misspelt field."""
    expected = {
        (number, found[1])
        for number, line in enumerate((HEAD + WRONG).splitlines(), 1)
        if (found := REFUSED.search(line))
    }
    found = said(tmp_path, WRONG)
    assert expected <= found
    lines = {line for line, _ in expected}
    assert {line for line, _ in found} == lines
