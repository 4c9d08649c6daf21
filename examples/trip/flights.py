"""The flights service: holds a seat in its own table, and frees it when the trip is off."""

import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_participants import Effect, Failed, Participant, Undo
from trip.commands import ReserveFlight, Seat
from trip.tables import prepare, work

HOLD_SEAT = text("""
WITH free AS (
    SELECT code FROM flights.seat WHERE destination = :to AND held_by IS NULL
    ORDER BY code LIMIT 1 FOR UPDATE SKIP LOCKED
), held AS (
    UPDATE flights.seat SET held_by = :key, traveller = :traveller
    FROM free WHERE seat.code = free.code
    RETURNING seat.code, seat.usd
), noted AS (
    INSERT INTO flights.movement (key, kind, seat) SELECT :key, 'reserve', code FROM held
)
SELECT code, usd FROM held
""")
FREE_SEAT = text("""
WITH freed AS (
    UPDATE flights.seat SET held_by = NULL, traveller = NULL WHERE held_by = :key RETURNING code
)
INSERT INTO flights.movement (key, kind, seat) SELECT :key, 'release', code FROM freed
""")

app = Participant("flights")


@app.on_start
async def tables() -> None:
    """Create this service's own tables where they are missing."""
    await prepare("flights", os.environ["AMENDS_DATABASE_URL"])


@app.action(ReserveFlight, drill="its own seats, held for a moment")
async def reserve(cmd: ReserveFlight, tx: AsyncConnection, effect: Effect) -> Seat:
    """Hold the first free seat; the barrier commits with it."""
    await work()
    held = {"key": effect.key, "to": cmd.to, "traveller": cmd.traveller}
    row = (await tx.execute(HOLD_SEAT, held)).first()
    if row is None:
        raise Failed("sold-out", f"no seat to {cmd.to}")  # rolls back: nothing changed
    return Seat(code=row.code, usd=row.usd)


@app.compensation(ReserveFlight)
async def release(undo: Undo[ReserveFlight, Seat], tx: AsyncConnection) -> None:
    """Free the seat. Called only where it is held."""
    await work()
    await tx.execute(FREE_SEAT, {"key": undo.key})
