"""The verifier accepts what can work. What it refuses is in `refusals.yaml`."""

from collections.abc import Mapping
from typing import Any

from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_orchestrator.core import compile_plan, resolve, verify
from core.dsl import EXPRESSIONS, action, definition

SEAT = {"type": "object", "properties": {"code": {"type": "string"}, "usd": {"type": "number"}}}
RESERVE = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "nights": {"type": "integer"}},
    "required": ["to"],
}
INPUT = {"type": "object", "properties": {"to": {"type": "string"}, "n": {"type": "integer"}}}
KNOWN: Mapping[str, CommandInfo] = {
    "flights.do": CommandInfo(
        Effect.KEYED, Reversal.COMPENSATABLE, RESERVE, SEAT, compensation="flights.undo"
    ),
    "cards.do": CommandInfo(Effect.KEYED, Reversal.IRREVERSIBLE),
    "looks.do": CommandInfo(Effect.QUERYABLE, Reversal.READ_ONLY, probe=True),
}
TO = {"to": "Rome"}
FLIGHT = action("flight", input=TO)


def mapped(**mapping: Any) -> dict[str, Any]:
    """A flight with a mapped undo."""
    undo = {"command": "flights.undo", "input": mapping}
    return action("flight", input=TO, compensation=undo)


def test_what_can_work_is_accepted_resolved_and_compiled() -> None:
    """What `hello` says is made explicit, so that the plan depends on the document alone."""
    flight = {"kind": "action", "id": "flight", "command": "flights.do", "input": TO}
    look = {"kind": "action", "id": "look", "command": "looks.do"}
    card = {"kind": "action", "id": "card", "command": "cards.do", "pivot": True}
    usd = "${ steps.flight.output.usd * 2.0 }"
    what = definition(flight, look, card | {"input": {"usd": usd}}, input=INPUT, labels=["to"])
    assert verify(what, KNOWN, EXPRESSIONS) == ()
    plan = compile_plan(resolve(what, KNOWN), EXPRESSIONS)
    nodes = {node.id: plan.action_of(node.id) for node in plan.root}
    first, second, third = nodes["flight"], nodes["look"], nodes["card"]
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.undo is not None
    assert first.undo.command == "flights.undo"
    assert (second.effect, second.probe, second.undo) == (Effect.QUERYABLE, True, None)
    assert third.reversal is Reversal.IRREVERSIBLE


def test_a_mapping_that_bears_a_null_output_is_accepted() -> None:
    """Alone in a field, or after a look."""
    guarded = "${ action.output == null ? 0.0 : action.output.usd }"
    what = definition(mapped(code="${ action.output.code }", usd=guarded), input=INPUT)
    assert verify(what, KNOWN, EXPRESSIONS) == ()


def test_labels_must_be_input_fields() -> None:
    """They become the saga's labels."""
    found = verify(definition(FLIGHT, input=INPUT, labels=["nope"]), KNOWN, EXPRESSIONS)
    assert [error.path for error in found] == ["/labels/0"]
