"""The saga `book-trip`: seat and room side by side, then the payment, then the mail.

The payment is the pivot: until it went through everything is taken back when something fails,
after it the rest is done, however often it must be tried. `amends verify book_trip.py` checks it.
"""

from pydantic import BaseModel, Field

from amends_contracts.plan import Plan, forever
from trip.commands import BookHotel, ChargeCard, ReserveFlight, SendMail


class Trip(BaseModel):
    """What a traveller asks for."""

    traveller: str
    to: str
    nights: int = Field(ge=1, le=30)
    email: str


plan = Plan("book-trip", version=1, input=Trip, deadline="2h")
trip = plan.input
with plan.parallel():
    flight = plan.do(ReserveFlight(traveller=trip.traveller, to=trip.to), timeout="30s", retry=3)
    hotel = plan.do(BookHotel(city=trip.to, nights=trip.nights), timeout="30s", retry=3)
payment = plan.do(
    ChargeCard(
        traveller=trip.traveller,
        usd=flight.usd + hotel.usd,
        memo=f"Seat {flight.code}, room {hotel.number}",
    ),
    pivot=True,
)
mail = plan.do(
    SendMail(to=trip.email, text=f"Seat {flight.code}, receipt {payment.id}"), retry=forever
)
plan.returns(seat=flight.code, room=hotel.number, receipt=payment.id)
