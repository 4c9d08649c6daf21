"""What all parts of one runtime share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from amends_contracts.topology import Topology
from amends_participants.app import Participant
from amends_participants.runtime.database import Database
from amends_participants.runtime.drilling import Drilling
from amends_participants.runtime.settings import ParticipantSettings


def clock() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One service in one process."""

    app: Participant
    database: Database
    topology: Topology
    settings: ParticipantSettings
    instance: UUID
    """Of this run of the process: leases, intents and unconfirmed replies carry it."""
    now: Callable[[], datetime] = clock
    drilling: Drilling = field(default_factory=Drilling)

    @property
    def service(self) -> str:
        """The service's name."""
        return self.app.service
