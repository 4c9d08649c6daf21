"""Deliberate bugs are found: who breaks a rule of the engine or the SDK breaks a promise."""

from dataclasses import replace

import pytest

from amends_simulation.mutants import MUTANTS, found
from amends_simulation.run import run
from amends_simulation.schedule import Fault, Point, Schedule

BEGIN = {
    "all-items-at-once": 70,
    "one-iteration-more": 1340,
    "last-item-for-all": 210,
    "any-attempt-may-fail": 790,
    "losers-messages-published": 130,
    "swallowed-return": 170,
    "token-unchecked": 250,
    "tenant-unchecked": 70,
    "no-tombstone": 290,
    "tombstone-ignored": 290,
    "success-repeated": 80,
    "failure-repeated": 240,
    "running-buried": 220,
    "probe-without-looking": 200,
    "probe-without-closing": 120,
    "doubt-repeated": 300,
    "dead-intent-repeated": 210,
    "newest-signal-first": 160,
    "signal-after-the-turn": 410,
    "childs-tombstone-missing": 720,
    "running-child-left": 1340,
    "child-for-every-attempt": 430,
    "failed-plan-goes-on": 4400,
}
"""Where to begin, for bugs that only few schedules bring to light; from there on is searched."""
SEEDS_MAX = 200
MORE = {"cancel-after-the-pivot": Fault(Point.PERSON, 12, "cancel")}
"""Added to every schedule, for a bug that those of 10,000 seeds alone do not bring to light."""


def test_there_are_bugs_enough() -> None:
    """Each is said in a sentence, and found within 10,000 seeds of the first."""
    assert len(MUTANTS) >= 65
    assert max(BEGIN.values()) + SEEDS_MAX < 10_000
    assert [m.name for m in MUTANTS.values() if not m.says.endswith(".")] == []
    assert set(BEGIN) <= set(MUTANTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_deliberate_bug_is_found(name: str) -> None:
    """The search ends at a seed that breaks a promise, which is kept without the bug."""
    first = BEGIN.get(name, 0)
    seeds = range(first, first + SEEDS_MAX)
    seed = found(MUTANTS[name], seeds, lambda n: run(schedule(n, name)))
    assert seed is not None, f"{name} survives {SEEDS_MAX} schedules from seed {first}"
    assert run(schedule(seed, name)).violations == ()


def schedule(seed: int, name: str) -> Schedule:
    """The schedule of a seed, with what this bug needs beside."""
    plain = Schedule.of(seed)
    return replace(plain, faults=(*plain.faults, MORE[name])) if name in MORE else plain
