"""The barrier: what a participant promises (rules), and how its database keeps it (store)."""

from amends_participants.barrier.store import create_tables

__all__ = ["create_tables"]
