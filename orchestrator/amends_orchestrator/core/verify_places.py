"""Where the steps of a definition stand in its document."""

from collections.abc import Iterator
from typing import NamedTuple

from amends_contracts import definition as document


class StepAt(NamedTuple):
    """Its JSON pointer, and what it is."""

    at: str
    kind: str


def places_in(steps: document.Steps, at: str) -> Iterator[tuple[str, StepAt]]:
    """Every step by its id, in the order of the document."""
    for n, step in enumerate(steps):
        here = f"{at}/{n}"
        yield step.id, StepAt(here, step.kind)
        for where, body in _bodies(step):
            yield from places_in(body, f"{here}/{where}")


def _bodies(step: document.Step) -> Iterator[tuple[str, document.Steps]]:
    """The sequences under a step, by where they stand in it."""
    match step:
        case document.Parallel():
            yield from ((f"branches/{name}", body) for name, body in step.branches.items())
        case document.Choice():
            yield from ((f"cases/{n}/steps", case.steps) for n, case in enumerate(step.cases))
            yield "otherwise", step.otherwise
        case document.Each() | document.Repeat():
            yield "steps", step.steps
        case document.Alternatives():
            yield from ((f"plans/{n}/steps", plan.steps) for n, plan in enumerate(step.plans))
        case _:
            pass
