"""Templates: what is an expression, what it refers to, and what its evaluation gives."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends_contracts.expressions import (
    ExpressionSyntaxError,
    Literal,
    Reference,
    parse_template,
    references_of,
)
from amends_contracts.messages import Json
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core.expressions import ExpressionError, compile_template

NAMES = frozenset({"input", "steps"})
ENGINE = CelExpressions()
INPUT = {
    "a": 1,
    "b": 2.5,
    "s": "x",
    "list": [1, 2, 3],
    "none": None,
    "big": 2**60,
    "huge": 2**70,
    "deep": {"er": [{"x": 7}]},
}
STEPS = {"flight": {"code": "A1", "usd": 5}, "my-step": {"y": True}}


class Values:
    """A scope of fixed values."""

    def root(self, reference: Reference) -> tuple[Json | ExpressionError, int]:
        match reference:
            case ("steps", str(name), "output", *_):
                return STEPS.get(name), 3
            case _:
                return INPUT, 1

    def lenient(self, reference: Reference) -> bool:
        return False


def value_of(template: Any) -> Any:
    """What a template evaluates to."""
    return compile_template(parse_template(template), NAMES, ENGINE).evaluate(Values())


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("$${ input.a }", "${ input.a }"),
        ("${ input.a }", 1),
        ("${input.a}", 1),
        ("n=${ input.a }, ${ input.list }, ${ input.none }", "n=1, [1, 2, 3], null"),
        ("${ input.deep.er[0].x }", 7),
        ('${ input["s"] }', "x"),
        ("${ steps.flight.output.usd + input.a }", 6),
        ("${ steps.flight.output.usd + input.b }", 7.5),
        ("${ steps.my-step.output.y }", True),
        ("${ !steps.my-step.output.y }", False),
        ("${ {'k': input.a}.k }", 1),
        ("${ '}' + input.s }", "}x"),
        ('${ "a\\"}" }', 'a"}'),
        ("${ input.list.map(i, i * 2) }", [2, 4, 6]),
        ("${ input.big }", 2**60),
        ("${ input.huge }", 2**70),
        ("${ input.a > 0 ? 'yes' : 'no' }", "yes"),
        ("${ has(input.nope) }", False),
        ({"x": ["${ input.a }", {"y": 1}]}, {"x": [1, {"y": 1}]}),
        ("${ timestamp('2026-01-01T00:00:00Z') }", "2026-01-01T00:00:00Z"),
    ],
    ids=str,
)
def test_a_template_gives_its_value(template: Json, value: Json) -> None:
    """Wholly an expression keeps its type; inside longer strings it is interpolated."""
    found = value_of(template)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("${ input.nope }", "input.nope: input has no member 'nope'"),
        ("${ input.list[9] }", "input.list[9]: input.list has no item 9"),
        ("${ input.none.x }", "input.none.x: input.none has no member 'x'"),
        ("${ input.nope + 1 }", "input.nope + 1: there is no member 'nope'"),
        ("${ input.a / 0 }", "input.a / 0: divide by zero"),
        ("${ input.huge + 1 }", f"input.huge + 1: {2**70} does not fit into 64 bits"),
        ("${ 1.0 / 0.0 }", "1.0 / 0.0: the result is not a finite number"),
    ],
    ids=str,
)
def test_what_is_not_there_is_an_error_with_a_clear_text(template: str, said: str) -> None:
    """Never null by surprise, and never an exception."""
    assert value_of(template) == ExpressionError(said)


def test_an_endless_computation_stops() -> None:
    """The iteration budget."""
    nested = "true"
    for n in range(7):
        nested = f"[0,1,2,3,4,5,6,7,8,9].all(a{n}, {nested})"
    found = value_of(f"${{ {nested} }}")
    assert isinstance(found, ExpressionError)
    assert "too many iterations" in found.text


@pytest.mark.parametrize(
    ("template", "position"),
    [("${ input.a", 0), ("x ${}", 2), ("${ 'abc }", 3), ("${ " + "1+" * 1500 + "1 }", 0)],
    ids=["open", "empty", "string", "long"],
)
def test_what_cannot_be_read_is_refused_with_its_position(template: str, position: int) -> None:
    """Characters from the beginning of the string."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse_template({"a": [template]})
    assert caught.value.position == position
    assert caught.value.path == "/a/0"


def test_an_undeclared_name_does_not_compile() -> None:
    """Plain path or not."""
    for template in ("${ output.x }", "${ output.x + 1 }"):
        with pytest.raises(ExpressionSyntaxError, match="undeclared"):
            value_of(template)


def test_references_are_found_outside_strings_and_functions() -> None:
    """For the verifier and for the values that a decision needs."""
    text = "${ size(steps.a-b.output.list.filter(x, x > input.n)) > 0 || 'input.q' == saga.key }"
    assert references_of(parse_template(text)) == (
        ("steps", "a-b", "output", "list"),
        ("input", "n"),
        ("saga", "key"),
    )


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_without_expressions_is_literal(value: Json) -> None:
    """Whatever it holds, if no string of it has `${`."""
    if "${" not in repr(value):
        assert parse_template(value) == Literal(value)


@given(st.text(alphabet="${}'\"ab. \\", max_size=30))
def test_no_text_breaks_the_parser(text: str) -> None:
    """It is read, or refused with a position inside the text."""
    try:
        parse_template(text)
        position = 0
    except ExpressionSyntaxError as error:
        position = error.position
    assert 0 <= position <= len(text)
