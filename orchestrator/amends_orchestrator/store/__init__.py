"""Durable state: `PostgresStore` and its twin `MemoryStore` for the engine, and what pages read.

Statements live in `sql/`, the data model in amends-migrations. `database` alone talks to Postgres.
"""

from amends_orchestrator.store.memory import MemoryStore
from amends_orchestrator.store.postgres import PostgresStore

__all__ = ["MemoryStore", "PostgresStore"]
