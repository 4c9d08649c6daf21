"""What a participant of a random life remembers, and what really happened to the world."""

from dataclasses import dataclass

from amends_contracts.messages import Json, Outcome


@dataclass
class Row:
    """What a participant remembers of one action key."""

    state: str = "none"
    closed: int = 0
    reply: tuple[Outcome, Json, bool] | None = None
    undo: bool = False


@dataclass
class Truth:
    """What really happened to the outside world by one step."""

    applied: int = 0
    undone: int = 0
