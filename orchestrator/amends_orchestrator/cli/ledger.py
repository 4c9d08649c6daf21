"""What the trip's services really hold, read from their own tables: the proof of demo and tests."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amends_orchestrator.cli import schema

HELD: Mapping[str, tuple[str, str]] = {
    "seat": ("flights", "SELECT held_by AS key FROM flights.seat WHERE held_by IS NOT NULL"),
    "room": ("hotels", "SELECT held_by AS key FROM hotels.room WHERE held_by IS NOT NULL"),
    "charge": ("payments", "SELECT key FROM payments.charge WHERE refunds = 0"),
    "mail": ("mail", "SELECT message_id AS key FROM mail.sent"),
}
"""What there is to hold: its service, and the keys that hold one."""
SELL_OUT = "UPDATE hotels.room SET held_by = 'sold-out', nights = 1 WHERE held_by IS NULL"
GIVE_BACK = "UPDATE hotels.room SET held_by = NULL, nights = NULL WHERE held_by = 'sold-out'"
DatabaseOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A query whose every row is a broken promise."""

    service: str
    promise: str
    query: str


async def held_by(saga_ids: Sequence[str], database_of: DatabaseOf) -> dict[str, dict[str, int]]:
    """How many seats, rooms, charges and mails the services hold for each of these sagas."""
    found = {saga_id: dict.fromkeys(HELD, 0) for saga_id in saga_ids}
    for thing, (service, query) in HELD.items():
        connection = await schema.connect(database_of(service))
        try:
            rows = await connection.fetch(query)
        finally:
            await connection.close()
        for row in rows:
            saga_id = row["key"].partition("/")[0]
            if saga_id in found:
                found[saga_id][thing] += 1
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
