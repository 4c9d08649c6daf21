"""The SDK for services that take part in sagas, and the client that starts them."""

from amends_contracts.command import Command
from amends_participants.app import Participant
from amends_participants.barrier import create_tables
from amends_participants.client import (
    Amends,
    AmendsError,
    Compensated,
    NotEnded,
    Refused,
    Run,
    Stuck,
    Unavailable,
    create_outbox,
)
from amends_participants.effects import Effect, Undo
from amends_participants.outcomes import Failed, Unknown
from amends_participants.signatures import BadHandler

__all__ = [
    "Amends",
    "AmendsError",
    "BadHandler",
    "Command",
    "Compensated",
    "Effect",
    "Failed",
    "NotEnded",
    "Participant",
    "Refused",
    "Run",
    "Stuck",
    "Unavailable",
    "Undo",
    "Unknown",
    "create_outbox",
    "create_tables",
]
