"""Durable state: `PostgresStore` and its twin `MemoryStore` for the engine, and what pages read.

Statements live in `sql/`, the data model in amends-migrations. `database` alone talks to Postgres.
"""

from amends_orchestrator.store.audit import Audit
from amends_orchestrator.store.definitions import Definitions
from amends_orchestrator.store.keys import ApiKeys
from amends_orchestrator.store.memory import MemoryStore
from amends_orchestrator.store.postgres import PostgresStore
from amends_orchestrator.store.reads import Reads

__all__ = ["ApiKeys", "Audit", "Definitions", "MemoryStore", "PostgresStore", "Reads"]
