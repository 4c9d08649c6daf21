"""Commands and models that the tests of plans use."""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from amends_contracts.command import Command


class Leg(BaseModel):
    """A part of a journey."""

    city: str
    nights: int


class Trip(BaseModel):
    """What a traveller asks for."""

    traveller: str
    to: str
    nights: int = 2
    vip: bool = False
    email: str | None = None
    legs: list[Leg] = []
    rates: dict[str, float] = {}
    budget: Decimal = Decimal(100)
    on: date | None = None


class Seat(BaseModel):
    """A reserved seat."""

    code: str
    usd: float


class Room(BaseModel):
    """A booked room."""

    number: str = Field(alias="roomNumber")
    usd: int


class Receipt(BaseModel):
    """A charge that went through."""

    id: str


class Colour(StrEnum):
    """A closed vocabulary."""

    RED = "red"


class ReserveFlight(Command[Seat], name="flights.reserve", effect="transactional", probe=True):
    """Hold a seat."""

    traveller: str
    to: str


class ReleaseFlight(Command[None], name="flights.release"):
    """Free a seat by its code."""

    code: str | None


class BookHotel(Command[Room], name="hotels.book", effect="transactional"):
    """Hold a room."""

    city: str
    nights: int = Field(ge=1)
    view: Literal["sea", "yard"] = "yard"


class ChargeCard(Command[Receipt], name="payments.charge"):
    """Take the money."""

    usd: float
    memo: str
    tags: list[str] = Field(default=[])


class SendMail(Command[None], name="mail.send", reversal="irreversible"):
    """Send a mail."""

    to: str
    text: str
    colour: Colour = Colour.RED


class FindSeats(Command[dict[str, float]], name="flights.find", reversal="read_only"):
    """Prices by seat."""

    to: str
