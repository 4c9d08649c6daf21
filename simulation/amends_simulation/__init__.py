"""Whole lives of sagas, simulated: the real core, engine and SDK in an invented world, by a seed.

    outcome = run(Schedule.of(seed))
    assert outcome.report.violations == ()

What is real and what is modelled is told in docs/simulation.md. Nothing here is needed to run the
service; it is above the orchestrator and the participants, and neither knows it.
"""
