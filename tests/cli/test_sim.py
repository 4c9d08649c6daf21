"""`amends sim`: one seed told, many counted, and what to do where it is not installed."""

import pytest

from amends_orchestrator.cli import sim
from cli.running import Amends


def test_a_seed_is_told(amends: Amends) -> None:
    """The plan, the faults, what happened when, and whether every promise was kept."""
    ran = amends("sim", "--seed", "3")
    assert ran.code == 0
    assert ran.out.startswith("seed 3: ")
    assert "row 1: saga.started" in ran.out
    assert ran.out.rstrip().endswith("every promise was kept")


def test_many_seeds_are_counted(amends: Amends) -> None:
    """How many schedules, what was found, how fast."""
    ran = amends("sim", "--count", "4", "--from", "10", "--json")
    assert ran.code == 0
    assert (ran.json["first"], ran.json["schedules"], ran.json["failures"]) == (10, 4, [])
    assert ran.json["schedules_per_s_and_core"] > 0


def test_without_the_simulation_it_says_what_to_install(
    amends: Amends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with `amends`, not with the orchestrator alone."""
    monkeypatch.setattr(sim, "PACKAGE", "amends_nowhere")
    ran = amends("sim", "--seed", "3")
    assert ran.code != 0
    assert "pip install amends" in ran.err
