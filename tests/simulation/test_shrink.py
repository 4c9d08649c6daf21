"""A failing schedule is made short, and still fails for the same reason."""

from amends_simulation.mutants import MUTANTS, found
from amends_simulation.run import run
from amends_simulation.schedule import Schedule
from amends_simulation.shrink import shrink


def test_what_does_not_matter_is_left_out() -> None:
    """Of a schedule that publishes before it commits one saga with one step is left."""
    bug = MUTANTS["publish-before-commit"]
    seed = found(bug, range(50), lambda n: run(Schedule.of(n)))
    assert seed is not None
    with bug.applied():
        outcome = shrink(run(Schedule.of(seed)))
    schedule = outcome.schedule
    assert {violation.promise for violation in outcome.violations} >= {10}
    assert (len(schedule.sagas), len(schedule.faults), schedule.orchestrators) == (1, 0, 1)
    assert len(schedule.documents[0]["steps"]) == 1
