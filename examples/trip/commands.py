"""What the four services publish: their commands with input, output, effect and reversal.

In a company each service would ship its own package of these; here they share a file.
"""

from pydantic import BaseModel, Field

from amends_contracts.command import Command


class Seat(BaseModel):
    """A reserved seat and its price."""

    code: str
    usd: int


class Room(BaseModel):
    """A booked room and the price of the whole stay."""

    number: str
    usd: int


class Receipt(BaseModel):
    """A charge that went through."""

    id: str


class Sent(BaseModel):
    """A mail that the mail server took."""

    message_id: str


class ReserveFlight(Command[Seat], name="flights.reserve", effect="transactional"):
    """Hold a seat to `to` for a traveller; undone by freeing it."""

    traveller: str
    to: str


class BookHotel(Command[Room], name="hotels.book", effect="transactional"):
    """Hold a room in `city`; undone by cancelling it."""

    city: str
    nights: int = Field(ge=1, le=30)


class ChargeCard(Command[Receipt], name="payments.charge", effect="transactional"):
    """Take `usd` from the traveller's account; undone by a refund."""

    traveller: str
    usd: int = Field(gt=0)
    memo: str


class SendMail(Command[Sent], name="mail.send", effect="keyed", reversal="irreversible"):
    """Send a mail. It cannot be called back; the mail server knows our key, so it goes out once."""

    to: str
    text: str
