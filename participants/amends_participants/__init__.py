"""The SDK for services that take part in sagas, and the client that starts them."""

from amends_contracts.command import Command
from amends_participants.app import Participant
from amends_participants.barrier import create_tables
from amends_participants.effects import Effect, Undo
from amends_participants.outcomes import Failed, Unknown
from amends_participants.signatures import BadHandler

__all__ = [
    "BadHandler",
    "Command",
    "Effect",
    "Failed",
    "Participant",
    "Undo",
    "Unknown",
    "create_tables",
]
