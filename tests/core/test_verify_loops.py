"""The verifier on loops, plans in order of preference and waits: what it refuses, and what not."""

from collections.abc import Mapping
from typing import Any

import pytest

from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_orchestrator.core import verify
from core.dsl import EXPRESSIONS, action, alternatives, definition, each, repeat, wait

FOREVER = {"max_attempts": None}
SEAT = {"type": "object", "properties": {"code": {"type": "string"}, "usd": {"type": "number"}}}
RESERVE = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "nights": {"type": "integer"}},
    "required": ["to"],
}
LEG = {"type": "object", "properties": {"to": {"type": "string"}}}
INPUT = {
    "type": "object",
    "properties": {
        "to": {"type": "string"},
        "n": {"type": "integer"},
        "legs": {"type": "array", "items": LEG},
    },
}
KNOWN: Mapping[str, CommandInfo] = {
    "flights.do": CommandInfo(
        Effect.KEYED, Reversal.COMPENSATABLE, RESERVE, SEAT, compensation="flights.undo"
    ),
    "cards.do": CommandInfo(Effect.KEYED, Reversal.IRREVERSIBLE),
    "looks.do": CommandInfo(Effect.QUERYABLE, Reversal.READ_ONLY, probe=True),
}
TO = {"to": "Rome"}
_PIVOT = "/steps/0/steps/0/pivot"
FLIGHT = action("flight", input=TO)


CASES: dict[str, tuple[list[Any], str, str]] = {
    "pivot in each": ([each("e", [1], action("a", pivot=True))], _PIVOT, "top sequence"),
    "pivot in repeat": (
        [repeat("r", "${ true }", action("a", pivot=True))],
        _PIVOT,
        "top sequence",
    ),
    "pivot in alternatives": (
        [alternatives("o", one=[action("a", pivot=True)])],
        "/steps/0/plans/0/steps/0/pivot",
        "top sequence",
    ),
    "irreversible in a loop": (
        [each("e", [1], action("card", command="cards.do", reversal="irreversible"))],
        "/steps/0/steps/0/reversal",
        "before the pivot",
    ),
    "nothing to do for an item": ([each("e", [1])], "/steps/0/steps", "nothing to do"),
    "nothing to repeat": ([repeat("r", "${ true }")], "/steps/0/steps", "nothing to do"),
    "too many items": ([each("e", [1] * 1001, action("a"))], "/steps/0/items", "1001 items"),
    "items that are no list": (
        [each("e", "${ input.to }", action("a"))],
        "/steps/0/items",
        "input.to is string, and array is wanted",
    ),
    "a repeat longer than a journal": (
        [repeat("r", "${ true }", action("a"), turns=10_001)],
        "/steps/0/max",
        "10000 rows",
    ),
    "repeat after the pivot": (
        [action("p", pivot=True), repeat("r", "${ true }", action("a", retry=FOREVER))],
        "/steps/1/max",
        "fails at its `max`",
    ),
    "alternatives after the pivot": (
        [action("p", pivot=True), alternatives("o", one=[action("a", retry=FOREVER)])],
        "/steps/1/plans",
        "cannot be undone any more",
    ),
    "a step after the pivot in an each": (
        [action("p", pivot=True), each("e", [1], action("a"))],
        "/steps/1/steps/0/retry/max_attempts",
        "may fail for good",
    ),
    "two plans of one name": (
        [
            {
                "kind": "alternatives",
                "id": "o",
                "plans": [
                    {"name": "x", "steps": [action("a")]},
                    {"name": "x", "steps": [action("b")]},
                ],
            }
        ],
        "/steps/0/plans/1/name",
        "another plan 'x'",
    ),
    "a wait for nothing": ([wait("w")], "/steps/0", "one of the two"),
    "a wait for two things": (
        [wait("w", **{"for": "PT1S", "until": "2030-01-01T00:00:00Z"})],
        "/steps/0",
        "one of the two",
    ),
    "a wait until no time": ([wait("w", until="tomorrow")], "/steps/0/until", "a time such as"),
    "a wait until a time without offset": (
        [wait("w", until="2030-01-01T00:00:00")],
        "/steps/0/until",
        "needs an offset",
    ),
    "a wait until a number": (
        [wait("w", until="${ input.n }")],
        "/steps/0/until",
        "input.n is integer, and string is wanted",
    ),
    "item outside an each": (
        [action("a", input={"x": "${ item }"})],
        "/steps/0/input/x",
        "undeclared reference to 'item'",
    ),
    "item in the items": (
        [each("e", "${ item }", action("a"))],
        "/steps/0/items",
        "undeclared reference to 'item'",
    ),
    "turn in an each": (
        [each("e", [1], action("a", input={"x": "${ turn + 1 }"}))],
        "/steps/0/steps/0/input/x",
        "turn",
    ),
    "failure in the first plan": (
        [alternatives("o", one=[action("a", input={"x": "${ failure.type }"})])],
        "/steps/0/plans/0/steps/0/input/x",
        "undeclared reference to 'failure'",
    ),
    "a member that no failure has": (
        [
            alternatives(
                "o", one=[action("a")], two=[action("b", input={"x": "${ failure.step.n }"})]
            )
        ],
        "/steps/0/plans/1/steps/0/input/x",
        "no member 'n'",
    ),
    "a member that no item has": (
        [each("e", "${ input.legs }", action("a", input={"x": "${ item.too }"}))],
        "/steps/0/steps/0/input/x",
        "no member 'too'",
    ),
    "a step of another plan": (
        [
            alternatives(
                "o", one=[action("a")], two=[action("b", input={"x": "${ steps.a.output }"})]
            )
        ],
        "/steps/0/plans/1/steps/0/input/x",
        "has not run for sure",
    ),
    "a later step of the same iteration": (
        [repeat("r", "${ true }", action("a", input={"x": "${ steps.b.output }"}), action("b"))],
        "/steps/0/steps/0/input/x",
        "has not run for sure",
    ),
    "a member of what one plan may have given": (
        [
            alternatives("o", one=[action("a")], two=[action("b")]),
            action("c", input={"x": "${ steps.a.output.n }"}),
        ],
        "/steps/1/input/x",
        "may not have run",
    ),
    "a member of a list": (
        [
            each("e", [1], FLIGHT | {"id": "leg"}),
            action("c", input={"x": "${ steps.leg.output.code }"}),
        ],
        "/steps/1/input/x",
        "no member 'code'",
    ),
    "a member of an item that may have been skipped": (
        [
            each("e", [1], action("a", when="${ item == 1 }")),
            action("c", input={"x": "${ steps.a.output[0].code }"}),
        ],
        "/steps/1/input/x",
        "may not have run",
    ),
    "a member of an item of an each that may have been skipped": (
        [
            each("e", [1], action("a"), when="${ input.n == 1 }"),
            action("c", input={"x": "${ steps.a.output[0] }"}),
        ],
        "/steps/1/input/x",
        "may not have run",
    ),
    "the output of a loop": (
        [each("e", [1], action("a")), action("c", input={"x": "${ steps.e.output }"})],
        "/steps/1/input/x",
        "is of kind 'each' and has no output of its own",
    ),
    "an until that is no condition": (
        [repeat("r", "${ turn }", action("a"))],
        "/steps/0/until",
        "turn is integer",
    ),
    "too long a path in loops": (
        [each("e" * 70, [1], each("f" * 70, [1], action("a" * 20)))],
        "/steps/0/steps/0/steps/0/id",
        "may become 172 bytes long",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_work_is_refused(name: str) -> None:
    """With the place and the reason; and what to do, but where the types alone say it."""
    steps, path, reason = CASES[name]
    found = verify(definition(*steps, input=INPUT), KNOWN, EXPRESSIONS)
    assert [error for error in found if error.path == path and reason in error.reason], found
    for error in found:
        assert error.remedy or "is wanted" in error.reason or "no member" in error.reason


def test_what_loops_and_plans_may_name_is_accepted() -> None:
    """Items with their members, lists of outputs, the last iteration, and the failure."""
    leg = FLIGHT | {"id": "leg", "input": {"to": "${ item.to }"}}
    look = action("look", command="looks.do", reversal="read_only", input={"n": "${ turn }"})
    what = definition(
        each("legs", "${ input.legs }", leg, action("a", input={"n": "${ index }"}), concurrency=5),
        repeat("poll", "${ steps.look.output.ok && turn > 1 }", look),
        alternatives(
            "way",
            one=[action("b", input={"ok": "${ steps.look.output.ok }"})],
            two=[action("c", input={"why": "${ failure.type }", "step": "${ failure.step }"})],
        ),
        wait("w", until="${ steps.b.output == null ? input.to : input.to }"),
        action("pay", pivot=True),
        each(
            "mails",
            "${ steps.leg.output }",
            action("d", input={"to": "${ item.code }"}, retry=FOREVER),
        ),
        wait("v", **{"for": "PT5M"}),
        input=INPUT,
        output={"first": "${ steps.leg.output[0].code }", "b": "${ steps.b.output }"},
    )
    assert verify(what, KNOWN, EXPRESSIONS) == ()
