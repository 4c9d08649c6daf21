"""docs/reviews.md and examples/refund: they register, and live as they say."""

from typing import Any

from amends_contracts.definition import Definition
from amends_contracts.documents import load_definition
from amends_orchestrator.core import resolve, verify
from core.dsl import EXPRESSIONS, Scenario, given, succeeded
from docs.blocks import ROOT, blocks
from refund.refund import plan

PAGE = "docs/reviews.md"


def started(what: Definition) -> Scenario:
    """A saga of it; the order was noted."""
    saga = given(what, order="o-1", text="Broken.", usd=250)
    saga.expect("orders.note").reply(succeeded())
    return saga


def example() -> Definition:
    """The example as it is registered."""
    definition = plan.document()
    assert verify(definition, plan.commands, EXPRESSIONS) == ()
    return resolve(definition, plan.commands)


def test_the_example_pays_what_two_people_have_let_pass() -> None:
    """Support changes the sum, a lead approves what would be sent."""
    saga = started(example())
    body: dict[str, Any] = {"order": "o-1", "usd": 100}
    saga.decides("asked", "edit", "sue", roles=frozenset({"support"}), body=body)
    saga.decides("paid", "approve", "lee", roles=frozenset({"lead"}))
    saga.expect("payments.refund", **body).reply(succeeded(id="r-1"))
    saga.ends("completed")
    assert saga.rows[-1].data == {"output": {"receipt": "r-1"}}


def test_the_example_undoes_the_note_when_a_lead_says_no() -> None:
    """Nothing is paid."""
    saga = started(example())
    shown = {"order": "o-1", "usd": 250}
    saga.decides("asked", "edit", "sue", roles=frozenset({"support"}), body=shown)
    saga.decides("paid", "reject", "lee", roles=frozenset({"lead"}))
    saga.expect("orders.note").reply(succeeded())
    saga.ends("compensated")


def test_the_definition_on_the_page_lives_as_the_page_says() -> None:
    """The YAML block is registered and run."""
    (block,) = blocks(PAGE, "yaml")
    definition = load_definition(block.code)
    assert verify(definition, {}, EXPRESSIONS) == ()
    saga = given(resolve(definition, {}), order="o-1", usd=250)
    saga.expect_nothing()
    saga.decides("refund", "approve", "ann")
    saga.expect_nothing()
    saga.decides("refund", "approve", "bea", roles=frozenset({"lead"}))
    saga.expect("payments.refund", order="o-1", usd=250).reply(succeeded())
    saga.ends("completed")


def test_the_plan_on_the_page_is_the_example() -> None:
    """Word for word."""
    (block,) = blocks(PAGE, "python")
    assert block.code in (ROOT / "examples" / "refund" / "refund.py").read_text()
