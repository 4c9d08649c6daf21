"""The example of the semantics page is a plan that may be registered."""

from pydantic import BaseModel

from amends_contracts.plan import Plan
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core import verify
from docs.blocks import blocks
from trip.commands import BookHotel, ReserveFlight


class Tour(BaseModel):
    """What it is started with."""

    traveller: str
    cities: list[str]


def test_the_example_of_loops_and_alternatives_is_accepted() -> None:
    """As it stands on the page, with the commands of the trip."""
    plan = Plan("tour", input=Tour)
    names = {"plan": plan, "tour": plan.input}
    names |= {"ReserveFlight": ReserveFlight, "BookHotel": BookHotel}
    (block,) = blocks("docs/semantics.md", "python")
    exec(compile("\n" * (block.line - 1) + block.code, block.file, "exec"), names)
    definition = plan.document()
    assert verify(definition, plan.commands, CelExpressions()) == ()
    assert [step.kind for step in definition.steps] == ["each", "wait"]
