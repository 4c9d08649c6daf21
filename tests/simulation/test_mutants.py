"""Deliberate bugs are found: who breaks a rule of the engine or the SDK breaks a promise."""

import pytest

from amends_simulation.mutants import MUTANTS, found
from amends_simulation.run import run
from amends_simulation.schedule import Schedule

BEGIN = {
    "losers-messages-published": 330,
    "token-unchecked": 140,
    "cancel-after-the-pivot": 1395,
    "any-attempt-may-fail": 600,
    "failed-plan-goes-on": 2590,
    "tenant-unchecked": 340,
    "probe-without-looking": 450,
    "success-repeated": 460,
    "running-buried": 90,
    "doubt-repeated": 110,
}
"""Where to begin, for bugs that only few schedules bring to light; from there on is searched."""
SEEDS_MAX = 300


def test_there_are_bugs_enough() -> None:
    """At least twenty-five, each said in a sentence."""
    assert len(MUTANTS) >= 25
    assert [m.name for m in MUTANTS.values() if not m.says.endswith(".")] == []
    assert set(BEGIN) <= set(MUTANTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_deliberate_bug_is_found(name: str) -> None:
    """The search ends at a seed that breaks a promise, which is kept without the bug."""
    first = BEGIN.get(name, 0)
    seed = found(MUTANTS[name], range(first, first + SEEDS_MAX), lambda n: run(Schedule.of(n)))
    assert seed is not None, f"{name} survives {SEEDS_MAX} schedules from seed {first}"
    assert run(Schedule.of(seed)).violations == ()
