"""What the trip's services really hold, read from their own tables: the proof of demo and tests."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from amends_orchestrator.cli import schema

HELD: Mapping[str, tuple[str, str]] = {
    "seat": ("flights", "SELECT count(*) FROM flights.seat WHERE held_by LIKE $1"),
    "room": ("hotels", "SELECT count(*) FROM hotels.room WHERE held_by LIKE $1"),
    "charge": (
        "payments",
        "SELECT count(*) FROM payments.charge WHERE key LIKE $1 AND refunds = 0",
    ),
    "mail": ("mail", "SELECT count(*) FROM mail.sent WHERE message_id LIKE $1"),
}
SELL_OUT = "UPDATE hotels.room SET held_by = 'sold-out', nights = 1 WHERE held_by IS NULL"
GIVE_BACK = "UPDATE hotels.room SET held_by = NULL, nights = NULL WHERE held_by = 'sold-out'"
DatabaseOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A query whose every row is a broken promise."""

    service: str
    promise: str
    query: str


async def held_by(saga_id: str, database_of: DatabaseOf) -> dict[str, int]:
    """How many seats, rooms, charges and mails the services hold for this saga."""
    found: dict[str, int] = {}
    for thing, (service, query) in HELD.items():
        connection = await schema.connect(database_of(service))
        try:
            found[thing] = int(await connection.fetchval(query, f"{saga_id}/%"))
        finally:
            await connection.close()
    return found


async def broken(examples: Path, database_of: DatabaseOf) -> list[str]:
    """The promises that do not hold, with the first offending row of each."""
    found: list[str] = []
    for invariant in invariants((examples / "trip" / "sql" / "invariants.sql").read_text()):
        connection = await schema.connect(database_of(invariant.service))
        try:
            row = await connection.fetchrow(invariant.query)
        finally:
            await connection.close()
        if row is not None:
            found.append(f"{invariant.service}: {invariant.promise}: {dict(row)}")
    return found


async def sell_out(sold: bool, database_of: DatabaseOf) -> None:
    """Take all free rooms off the market, or put them back."""
    connection = await schema.connect(database_of("hotels"))
    try:
        await connection.execute(SELL_OUT if sold else GIVE_BACK)
    finally:
        await connection.close()


def invariants(source: str) -> Iterator[Invariant]:
    """The queries of invariants.sql: each begins with `-- <service>: <promise>`."""
    for block in re.split(r"^(?=-- \w+: )", source, flags=re.MULTILINE)[1:]:
        head, _, query = block.partition("\n")
        service, _, promise = head.removeprefix("-- ").partition(": ")
        yield Invariant(service, promise, query.strip().removesuffix(";"))
