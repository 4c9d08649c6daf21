"""Deliberate bugs: the engine, the core and the SDK with one rule taken out or turned round.

Each must be found by the simulator; `tests/simulation` holds that. A bug is a patch at run time of
the real code, so that it is always a bug of what ships.
"""

from amends_simulation.mutants import core, engine, participants, sagas
from amends_simulation.mutants.table import MUTANTS, Mutant, found

__all__ = ["MUTANTS", "Mutant", "core", "engine", "found", "participants", "sagas"]
