"""The hotels service: holds a room in its own table, and cancels it when the trip is off."""

import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_participants import Effect, Failed, Participant, Undo
from trip.commands import BookHotel, Room
from trip.tables import prepare, work

HOLD_ROOM = text("""
WITH free AS (
    SELECT number FROM hotels.room WHERE city = :city AND held_by IS NULL
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
), held AS (
    UPDATE hotels.room SET held_by = :key, nights = :nights
    FROM free WHERE room.number = free.number
    RETURNING room.number, room.usd_night * :nights AS usd
), noted AS (
    INSERT INTO hotels.movement (key, kind, room) SELECT :key, 'book', number FROM held
)
SELECT number, usd FROM held
""")
FREE_ROOM = text("""
WITH freed AS (
    UPDATE hotels.room SET held_by = NULL, nights = NULL WHERE held_by = :key RETURNING number
)
INSERT INTO hotels.movement (key, kind, room) SELECT :key, 'cancel', number FROM freed
""")

app = Participant("hotels")


@app.on_start
async def tables() -> None:
    """Create this service's own tables where they are missing."""
    await prepare("hotels", os.environ["AMENDS_DATABASE_URL"])


@app.action(BookHotel, drill="its own rooms, held for a moment")
async def book(cmd: BookHotel, tx: AsyncConnection, effect: Effect) -> Room:
    """Hold the first free room for the whole stay."""
    await work()
    stay = {"key": effect.key, "city": cmd.city, "nights": cmd.nights}
    row = (await tx.execute(HOLD_ROOM, stay)).first()
    if row is None:
        raise Failed("sold-out", f"no room in {cmd.city}")
    return Room(number=row.number, usd=row.usd)


@app.compensation(BookHotel)
async def cancel(undo: Undo[BookHotel, Room], tx: AsyncConnection) -> None:
    """Give the room back."""
    await work()
    await tx.execute(FREE_ROOM, {"key": undo.key})
