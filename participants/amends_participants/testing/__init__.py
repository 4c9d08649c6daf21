"""Testing participants without a broker, against a real Postgres.

    async with given(app, database_url) as kit:
        flight = kit.command(ReserveFlight(traveller="Ada", to="Lisbon"))
        await flight.action().expect_reply(succeeded(code="12A", usd=180))
        await flight.compensation().expect_reply(succeeded())

`kit.check(command, world=snapshot)` runs a command through everything that may happen to it:
duplicates, retries, concurrency, undo first, undo twice, a crash between effect and reply.
"""

from amends_participants.testing.expected import (
    absent,
    failed,
    fenced,
    present,
    succeeded,
    undone,
    unknown,
)
from amends_participants.testing.kit import Kit, Sent, SentStep, given

__all__ = [
    "Kit",
    "Sent",
    "SentStep",
    "absent",
    "failed",
    "fenced",
    "given",
    "present",
    "succeeded",
    "undone",
    "unknown",
]
