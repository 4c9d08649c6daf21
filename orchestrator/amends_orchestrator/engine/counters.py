"""What the engine counts: how much, and why not."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Since the start of this process."""

    batches: int = 0
    messages: int = 0
    """Messages, starts and wake-ups that were decided."""
    commands: int = 0
    """Messages written to the outbox."""
    envelopes: int = 0
    """Publications that carried several of these."""
    conflicts: int = 0
    doubts: int = 0
    """Commits whose outcome was not known at once."""
    stuck: int = 0
    """Sagas parked because deciding or writing them failed."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """Refusals, by reason."""
    dead_lettered: Counter[str] = field(default_factory=Counter[str])
    """Messages sent to the dead letters, by reason."""
    undeliverable: Counter[str] = field(default_factory=Counter[str])
    """Returned commands, by service."""
    republished: int = 0
