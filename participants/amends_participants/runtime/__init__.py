"""The runtime: what runs a `Participant` against a transport and a database."""

from amends_participants.runtime.runtime import Runtime
from amends_participants.runtime.settings import ParticipantSettings

__all__ = ["ParticipantSettings", "Runtime"]
