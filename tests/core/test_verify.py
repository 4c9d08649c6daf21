"""The verifier: every rule refuses its example with path, reason and remedy."""

from collections.abc import Mapping
from typing import Any

import pytest

from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_orchestrator.core import compile_plan, resolve, verify
from core.dsl import EXPRESSIONS, action, choice, definition, parallel

FOREVER = {"max_attempts": None}
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


CASES: dict[str, tuple[list[Any], str, str]] = {
    "unknown input field": (
        [action("flight", input={"to": "${ input.too }"})],
        "/steps/0/input/to",
        "there is no member 'too'",
    ),
    "unknown step": (
        [action("flight", input={"to": "${ steps.hotel.output.x }"})],
        "/steps/0/input/to",
        "there is no step 'hotel'",
    ),
    "unknown output field": (
        [FLIGHT, action("hotel", input={"x": "${ steps.flight.output.kode }"})],
        "/steps/1/input/x",
        "there is no member 'kode'",
    ),
    "wrong type": (
        [action("flight", input={"to": "${ input.n }"})],
        "/steps/0/input/to",
        "input.n is integer, and string is wanted",
    ),
    "wrong literal": (
        [action("flight", input={"to": 3})],
        "/steps/0/input/to",
        "3 is integer, and string is wanted",
    ),
    "missing member": (
        [action("flight", input={})],
        "/steps/0/input",
        "required member 'to' is not given",
    ),
    "misspelt member": (
        [action("flight", input={"to": "Rome", "night": 1})],
        "/steps/0/input/night",
        "there is no member 'night'",
    ),
    "later step": (
        [action("a", input={"x": "${ steps.b.output }"}), action("b")],
        "/steps/0/input/x",
        "has not run for sure",
    ),
    "other branch": (
        [parallel("p", a=[action("a")], b=[action("b", input={"x": "${ steps.a.output }"})])],
        "/steps/0/branches/b/0/input/x",
        "has not run for sure",
    ),
    "other case": (
        [
            choice(
                "c",
                ("${ true }", [action("a")]),
                otherwise=[action("b", input={"x": "${ steps.a.output }"})],
            )
        ],
        "/steps/0/otherwise/0/input/x",
        "has not run for sure",
    ),
    "may have been skipped": (
        [
            action("a", when="${ input.n > 1 }"),
            action("b", input={"x": "${ steps.a.output.y }"}),
        ],
        "/steps/1/input/x",
        "may not have run",
    ),
    "syntax": (
        [action("a", input={"x": "${ input. }"})],
        "/steps/0/input/x",
        "Syntax error",
    ),
    "a limit that limits nothing": (
        [action("a", limit={"key": "${ input.to }"})],
        "/steps/0/limit",
        "it limits nothing",
    ),
    "a rate over no time": (
        [action("a", limit={"rate": {"count": 5, "per": "PT0S"}})],
        "/steps/0/limit/rate/per",
        "a stretch of PT0S cannot be counted",
    ),
    "a rate over a week": (
        [action("a", limit={"rate": {"count": 5, "per": "P7D"}})],
        "/steps/0/limit/rate/per",
        "a stretch of P7D cannot be counted",
    ),
    "more of one key than in all": (
        [action("a", limit={"key": "${ input.to }", "concurrency": 5, "total": 3})],
        "/steps/0/limit/concurrency",
        "5 of one key cannot be at work where 3 may in all",
    ),
    "a limit's key that names nothing": (
        [action("a", limit={"key": "${ input.too }", "concurrency": 5})],
        "/steps/0/limit/key",
        "there is no member 'too'",
    ),
    "a limit's key that is an object": (
        [FLIGHT, action("a", limit={"key": "${ steps.flight.output }", "concurrency": 5})],
        "/steps/1/limit/key",
        "steps.flight.output is object",
    ),
    "foreign compensation": (
        [action("flight", input=TO, compensation={"command": "hotels.undo"})],
        "/steps/0/compensation/command",
        "belongs to another service",
    ),
    "undo needs the output": (
        [mapped(n="${ action.output.usd + 1.0 }")],
        "/steps/0/compensation/input/n",
        "null when the action's outcome is unknown",
    ),
    "undo interpolates the output": (
        [mapped(n="seat ${ action.output.code }")],
        "/steps/0/compensation/input/n",
        "null when the action's outcome is unknown",
    ),
    "pivot in a parallel": (
        [parallel("p", a=[action("a", pivot=True)], b=[action("b")])],
        "/steps/0/branches/a/0/pivot",
        "top sequence or in a choice",
    ),
    "second pivot": (
        [action("a", pivot=True), action("b", pivot=True)],
        "/steps/1/pivot",
        "one point of no return",
    ),
    "ignored pivot": (
        [action("a", pivot=True, on_failure="ignore")],
        "/steps/0/on_failure",
        "no point of no return",
    ),
    "irreversible before the pivot": (
        [{"kind": "action", "id": "card", "command": "cards.do"}, action("a")],
        "/steps/0/reversal",
        "cannot be taken back",
    ),
    "may fail after the pivot": (
        [action("a", pivot=True), action("b")],
        "/steps/1/retry/max_attempts",
        "may fail for good",
    ),
    "may fail after a pivot in a case": (
        [choice("c", ("${ true }", [action("a", pivot=True)])), action("b")],
        "/steps/1/retry/max_attempts",
        "may fail for good",
    ),
    "stuck after the pivot": (
        [action("a", pivot=True), action("b", effect="none", retry=FOREVER)],
        "/steps/1/effect",
        "stuck",
    ),
    "duplicate id": (
        [action("a"), parallel("p", x=[action("a")])],
        "/steps/1/branches/x/0/id",
        "there is another step 'a' at /steps/0",
    ),
    "nothing known": (
        [{"kind": "action", "id": "a", "command": "as.do"}],
        "/steps/0/reversal",
        "can be taken back is not known",
    ),
    "promises more": (
        [action("flight", input=TO, effect="transactional")],
        "/steps/0/effect",
        "promises more",
    ),
    "takes back more": (
        [action("card", pivot=True)],
        "/steps/0/compensation",
        "its participant says irreversible",
    ),
    "probe not offered": (
        [action("flight", input=TO, probe=True)],
        "/steps/0/probe",
        "offers no probe",
    ),
    "verify without a probe": (
        [action("flight", input=TO, compensation={"verify": True})],
        "/steps/0/compensation/verify",
        "needs a probe",
    ),
    "unknown command": (
        [action("flight", command="flights.book", compensation={})],
        "/steps/0/command",
        "does not serve 'flights.book'",
    ),
    "nothing to compensate": (
        [action("a", reversal="read_only", compensation={})],
        "/steps/0/compensation",
        "nothing to compensate",
    ),
    "kind of a later version": (
        [{"kind": "wait", "id": "w", "for": "PT1S"}],
        "/steps/0/kind",
        "cannot be run by this version",
    ),
    "review": ([action("a", review={})], "/steps/0/review", "cannot be asked for"),
    "no pause": (
        [action("a", retry={"max_attempts": None, "initial": "PT0S"})],
        "/steps/0/retry",
        "without a pause",
    ),
    "no timeout": ([action("a", timeout="PT0S")], "/steps/0/timeout", "expire at once"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_work_is_refused(name: str) -> None:
    """With the place and the reason; and nearly always what to do."""
    steps, path, reason = CASES[name]
    found = verify(definition(*steps, input=INPUT), KNOWN, EXPRESSIONS)
    here = [error for error in found if error.path == path and reason in error.reason]
    assert here, found


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
