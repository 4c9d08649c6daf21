"""Command classes: what they declare, and what travels."""

from types import new_class
from typing import Any

import pytest
from pydantic import ConfigDict, ValidationError

from amends_contracts.command import Command, CommandError, infos, output_type, spec_of
from amends_contracts.messages import CommandInfo, Effect, Reversal
from wire.trip import BookHotel, FindSeats, ReserveFlight, Room, Seat, SendMail


def test_a_command_declares_what_hello_says() -> None:
    """Name, effect, reversal, probe and both schemas come from the class."""
    assert spec_of(ReserveFlight).info() == CommandInfo(
        effect=Effect.TRANSACTIONAL,
        reversal=Reversal.COMPENSATABLE,
        probe=True,
        input={
            "description": "Hold a seat.",
            "properties": {
                "traveller": {"title": "Traveller", "type": "string"},
                "to": {"title": "To", "type": "string"},
            },
            "required": ["traveller", "to"],
            "title": "ReserveFlight",
            "type": "object",
        },
        output={
            "description": "A reserved seat.",
            "properties": {
                "code": {"title": "Code", "type": "string"},
                "usd": {"title": "Usd", "type": "number"},
            },
            "required": ["code", "usd"],
            "title": "Seat",
            "type": "object",
        },
    )


def test_infos_are_by_name() -> None:
    """What `hello` says of a service's commands."""
    assert {name: info.reversal for name, info in infos(FindSeats, SendMail).items()} == {
        "flights.find": Reversal.READ_ONLY,
        "mail.send": Reversal.IRREVERSIBLE,
    }


def test_outputs_travel_as_objects() -> None:
    """Aliases and types are those of JSON; no output is `{}`."""
    room, seat = Room(roomNumber="7", usd=80), Seat(code="1A", usd=1)
    assert (
        spec_of(BookHotel).write_output(room),
        spec_of(BookHotel).read_output({"roomNumber": "7", "usd": 80}),
        spec_of(ReserveFlight).write_output(seat),
        spec_of(SendMail).write_output(None),
        spec_of(SendMail).read_output({}),
        spec_of(FindSeats).read_output({}),
    ) == ({"roomNumber": "7", "usd": 80}, room, {"code": "1A", "usd": 1.0}, {}, None, {})
    assert spec_of(SendMail).output_schema() == {"type": "object"}


def test_an_output_of_another_type_is_refused() -> None:
    """A handler that returns the wrong thing is told so; so is a reader of a wrong output."""
    wrong: Any = {"code": 5}
    with pytest.raises(ValueError, match="Seat"):
        spec_of(ReserveFlight).write_output(wrong)
    with pytest.raises(ValidationError, match="usd"):
        spec_of(ReserveFlight).read_output({"code": "1A"})


def test_instances_are_ordinary_models() -> None:
    """Read leniently from the wire, written as usual; a misspelt keyword in code is refused."""
    body = {"traveller": "Ada", "to": "LIS", "newer": 1}
    assert ReserveFlight.model_validate(body) == ReserveFlight(traveller="Ada", to="LIS")
    with pytest.raises(Exception, match=r"ReserveFlight has no field 'travelle'"):
        ReserveFlight(travelle="Ada", to="LIS")  # type: ignore[call-arg]


def test_fields_may_be_called_anything() -> None:
    """What the base class needs takes no name away."""

    class Name(Command[None], name="a.b", compensation="a.c"):
        name: str
        info: str
        effect: str

    named = Name(name="n", info="i", effect="e")
    assert (named.model_dump(), spec_of(named).compensation) == (
        {"name": "n", "info": "i", "effect": "e"},
        "a.c",
    )


def test_a_model_may_allow_or_forbid_further_fields() -> None:
    """Pydantic's own rule holds where it is set."""

    class Open(Command[None], name="a.open"):
        model_config = ConfigDict(extra="allow")

    class Closed(Command[None], name="a.closed"):
        model_config = ConfigDict(extra="forbid")

    assert Open(x=1).model_dump() == {"x": 1}  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="x"):
        Closed(x=1)  # type: ignore[call-arg]


def test_the_output_type_is_found_through_bases() -> None:
    """A base class without a name may be shared."""

    class Base(Command[Seat]):
        to: str

    class Named(Base, name="flights.named"):
        pass

    assert output_type(Named) is Seat
    with pytest.raises(CommandError, match=r"Base has no name: write class Base\(Command"):
        spec_of(Base)


class _Other(Command[None], name="other.undo"):
    pass


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        (
            {"name": "Reserve"},
            "Bad: name='Reserve' is not <service>.<verb> in lower case, such as 'flights.reserve'",
        ),
        (
            {"name": "a.b", "effect": "magic"},
            "Bad: effect='magic' is none of 'transactional', 'keyed', 'queryable', 'none'",
        ),
        (
            {"name": "a.b", "reversal": "maybe"},
            "Bad: reversal='maybe' is none of 'read_only', 'compensatable', 'irreversible'",
        ),
        (
            {"name": "a.b", "compensation": _Other},
            (
                "Bad: 'other.undo' belongs to another service; a compensation belongs to the"
                " service of its action, 'a'"
            ),
        ),
        (
            {"name": "a.b", "reversal": "irreversible", "compensation": "a.c"},
            "Bad: a command that is irreversible has no compensation; leave one of the two out",
        ),
    ],
)
def test_a_class_that_contradicts_itself_is_refused(
    keywords: dict[str, Any], expected: str
) -> None:
    """When it is defined, not when it is used."""
    with pytest.raises(CommandError) as refused:
        new_class("Bad", (Command[None],), keywords)
    assert str(refused.value) == expected


def test_a_misspelt_class_keyword_is_refused() -> None:
    """Nothing is passed over in silence."""
    with pytest.raises(TypeError, match="keyword"):
        new_class("Bad", (Command[None],), {"name": "a.b", "efect": "keyed"})


def test_a_command_without_an_answer_type_is_refused() -> None:
    """`Command` alone does not say what comes back."""
    with pytest.raises(CommandError, match="say what it answers"):

        class Bad(Command, name="a.b"):  # type: ignore[type-arg]  # the mistake
            pass
