"""The client of Amends: `from amends_participants import Amends`."""

from amends_participants.client.amends import Amends
from amends_participants.client.errors import (
    AmendsError,
    BadAddress,
    Compensated,
    NoAddress,
    NotEnded,
    Refused,
    Stuck,
    Unavailable,
    WrongVerb,
)
from amends_participants.client.outbox import create_outbox
from amends_participants.client.run import Run

__all__ = [
    "Amends",
    "AmendsError",
    "BadAddress",
    "Compensated",
    "NoAddress",
    "NotEnded",
    "Refused",
    "Run",
    "Stuck",
    "Unavailable",
    "WrongVerb",
    "create_outbox",
]
