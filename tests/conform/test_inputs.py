"""What is known of commands before anything is sent: schemas, and the file of examples."""

from typing import Any

import pytest
from pydantic import BaseModel, Field

from amends_contracts.messages import CommandInfo, Effect, Hello, Reversal
from amends_orchestrator.conform.examples import BadExamples, read_examples, subjects
from amends_orchestrator.conform.inputs import make_input, make_refused
from amends_orchestrator.conform.subject import Subject


class Room(BaseModel):
    """Something within something."""

    beds: int = Field(ge=2)


class Stay(BaseModel):
    """What a service might ask for."""

    city: str = Field(examples=["Lisbon"])
    nights: int = Field(gt=0, le=30)
    rooms: list[Room] = Field(min_length=1)
    memo: str | None
    tag: str = Field(min_length=9, max_length=12)


def test_an_input_is_made_from_a_schema() -> None:
    """Examples come first, then the least that the bounds allow; references are followed."""
    made = make_input(Stay.model_json_schema())
    assert made == {
        "city": "Lisbon",
        "nights": 1,
        "rooms": [{"beds": 2}],
        "memo": "example",
        "tag": "examplexx",
    }
    assert Stay.model_validate(made)


@pytest.mark.parametrize(
    "schema",
    [None, True, {"type": "string"}, {"required": ["n"], "properties": {"n": {"pattern": "^z$"}}}],
)
def test_where_none_can_be_made_there_is_none(schema: Any) -> None:
    """No guess is sent that the schema itself refuses."""
    assert make_input(schema) is None


def test_an_input_to_be_refused_lacks_a_member() -> None:
    """Where the schema requires one."""
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert make_refused(schema, {"a": 1}) == {}
    assert make_refused({"type": "object"}, {"a": 1}) is None


HELLO = Hello(
    service="till",
    instance="till-1",
    commands={
        "till.charge": CommandInfo(
            Effect.TRANSACTIONAL,
            Reversal.COMPENSATABLE,
            input={"type": "object"},
            compensation="till.refund",
        ),
        "till.print": CommandInfo(Effect.NONE, Reversal.IRREVERSIBLE, input={"type": "object"}),
        "till.count": CommandInfo(Effect.KEYED, Reversal.READ_ONLY),
    },
)


def test_hello_and_file_are_joined() -> None:
    """The file wins; what cannot be undone or has no input is left out, with the remedy."""
    examples = read_examples("commands: {till.charge: {input: {usd: 1}, effect: keyed}}", "till")
    played, left = subjects(examples, [HELLO])
    charge = Subject(
        name="till.charge", input={"usd": 1}, given=True, effect=Effect.KEYED, undo="till.refund"
    )
    assert played == [charge]
    assert {one.name: one.why for one in left} == {
        "till.count": "no schema in hello: give an `input` for till.count in --commands",
        "till.print": "its effect cannot be undone; where that does no harm, say `run: true` in"
        " --commands",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("commands: [", "line 1: not YAML"),
        ("commands: {}\nmore: 1", "line 2: /more: Extra inputs are not permitted"),
        ("commands:\n  till.charge:\n    inputs: {}", "line 3: /commands/till.charge/inputs"),
        ("commands: {hotels.book: {}}", "hotels.book is no command of till"),
        ("commands: {charge: {}}", "should match pattern"),
    ],
)
def test_a_file_that_is_not_right_is_refused(text: str, said: str) -> None:
    """With the line."""
    with pytest.raises(BadExamples) as refused:
        read_examples(text, "till")
    assert said in str(refused.value)
