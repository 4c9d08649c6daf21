"""Plans and commands that pyright accepts, with the types that it sees."""

from typing import assert_type

from amends_contracts.command import spec_of
from amends_contracts.plan import Plan, forever
from wire.trip import (
    BookHotel,
    ChargeCard,
    FindSeats,
    Leg,
    Receipt,
    ReleaseFlight,
    ReserveFlight,
    Room,
    Seat,
    SendMail,
    Trip,
)

plan = Plan("p", input=Trip, deadline="2h")
assert_type(plan, Plan[Trip])
trip = plan.input
assert_type(trip, Trip)
with plan.parallel():
    flight = plan.do(ReserveFlight(traveller=trip.traveller, to=trip.to), timeout="30s", retry=3)
    hotel = plan.do(BookHotel(city=trip.to, nights=trip.nights, view="sea"))
assert_type(flight, Seat)
assert_type(hotel, Room)
card = plan.do(ChargeCard(usd=flight.usd + hotel.usd, memo=f"Trip {flight.code}"), pivot=True)
assert_type(card, Receipt)
assert_type(plan.do(FindSeats(to=trip.to)), dict[str, float])
plan.do(SendMail(to=trip.to, text=card.id), retry=forever, when=trip.vip)
undone = plan.do(
    ReserveFlight(traveller="a", to="b"),
    compensation=lambda done: ReleaseFlight(code=done.output.code),
)
plan.do(FindSeats(to=trip.to), limit=plan.limit(key=trip.to, rate=(10, "1m"), total=2))
with plan.choice() as c:
    with c.when(plan.all(trip.vip, trip.nights > 3)):
        plan.wait("1h")
    with c.otherwise():
        plan.wait(until=trip.to)
with plan.each(trip.legs) as leg:
    assert_type(leg, Leg)
    room = plan.do(BookHotel(city=leg.city, nights=leg.nights))
assert_type(plan.collect(room), list[Room])
with plan.repeat(max=3) as loop:
    assert_type(loop.turn, int)
    loop.until(flight.usd < 100)
    plan.wait("1s")
assert_type(plan.await_("paid", Receipt), Receipt)
assert_type(plan.saga("child", {"to": trip.to}, output=Seat), Seat)
assert_type(plan.tool("refund", {"usd": flight.usd}, output=Receipt), Receipt)
assert_type(plan.cel("1 + 2", int), int)
assert_type(spec_of(ReserveFlight).read_output({"code": "1A", "usd": 1}), Seat)
