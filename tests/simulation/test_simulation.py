"""The simulator: every promise over many seeds, and the same run for the same seed."""

from dataclasses import replace

import pytest

from amends_contracts.definition import Definition
from amends_orchestrator.core import verify
from amends_orchestrator.core.undo_debt import steps_in
from amends_simulation.campaign import run_seeds
from amends_simulation.run import EXPRESSIONS, run
from amends_simulation.schedule import Fault, Point, Schedule


def test_a_hundred_lives_keep_every_promise() -> None:
    """A first look at every change: random plans, random faults, all rules asked."""
    assert run_seeds(0, 100).failures == []


def test_random_definitions_could_be_registered() -> None:
    """The verifier has nothing against them, and every kind of step that runs is among them."""
    documents = [d for seed in range(150) for d in Schedule.of(seed).documents]
    whole = [Definition.model_validate(document) for document in documents]
    assert [d for d in whole if verify(d, {}, EXPRESSIONS)] == []
    kinds = {step["kind"] for document in documents for step in steps_in(document)}
    blocks = {"parallel", "choice", "each", "repeat", "alternatives"}
    assert kinds == {"action", "wait", "await", "saga", *blocks}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 5100, 500))
def test_many_lives_keep_every_promise(first: int) -> None:
    """As many seeds as a minute of one core allows; `make sim` runs more."""
    assert run_seeds(first, 500).failures == []


def test_a_seed_is_run_again_exactly() -> None:
    """The same seed tells the same story, to the millisecond and the id."""
    for seed in range(20, 26):
        first, again = (run(Schedule.of(seed), tell=True) for _ in range(2))
        assert again.story == first.story
        assert again.history.effects == first.history.effects


def test_every_rule_is_asked() -> None:
    """The simulator knows every fact that the checker can ask for."""
    schedule = replace(Schedule.of(3), echo=True, again=True)
    assert run(schedule).report.not_checked == {}


def test_faults_come_up() -> None:
    """What a schedule plans happens: a crash is followed by another process that goes on."""
    plain = Schedule.of(3)
    crash = Fault(Point.COMMIT, 1, "crash after")
    outcome = run(replace(plain, faults=(crash,)), tell=True)
    assert outcome.happened == (crash,)
    assert any("orchestrator 1 crashes" in line for line in outcome.story)
    assert outcome.violations == ()
