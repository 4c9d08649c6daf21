"""What Python's operators become in a plan: expressions in CEL."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from amends_contracts.expressions import parse_expression
from amends_contracts.plan import Plan
from wire.trip import BookHotel, FindSeats, ReserveFlight, Room, Seat, Trip

PLAN = Plan("p", input=Trip)
TRIP = PLAN.input
SEAT: Seat = PLAN.do(ReserveFlight(traveller="a", to="b"), id="seat")
ROOM: Room = PLAN.do(BookHotel(city="x", nights=1), id="room-2")
PRICES: dict[str, float] = PLAN.do(FindSeats(to="x"), id="prices")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (lambda: (TRIP.nights + 1) * TRIP.nights - 2, "(input.nights + 1) * input.nights - 2"),
        (
            lambda: SEAT.usd * 2 - (SEAT.usd - 1),
            "steps.seat.output.usd * 2.0 - (steps.seat.output.usd - 1.0)",
        ),
        (lambda: 100 - (TRIP.nights + 3), "100 - (input.nights + 3)"),
        (lambda: 2 * TRIP.nights + 1, "2 * input.nights + 1"),
        (lambda: 1 / SEAT.usd, "1.0 / steps.seat.output.usd"),
        (lambda: TRIP.nights / 2, "double(input.nights) / 2.0"),
        (lambda: -(TRIP.nights + 1), "-(input.nights + 1)"),
        (lambda: SEAT.usd > -5, "steps.seat.output.usd > -5.0"),
        (lambda: TRIP.nights > 3, "input.nights > 3"),
        (lambda: TRIP.to + "!", 'input.to + "!"'),
        (lambda: "to " + TRIP.to, '"to " + input.to'),
        (lambda: TRIP.legs + TRIP.legs, "input.legs + input.legs"),
        (lambda: TRIP.legs[0].city, "input.legs[0].city"),
        (lambda: TRIP.legs[TRIP.nights - 1].city, "input.legs[input.nights - 1].city"),
        (lambda: TRIP.rates["high-season"], 'input.rates["high-season"]'),
        (lambda: TRIP.rates["low"], "input.rates.low"),
        (lambda: PRICES["in"], 'steps.prices.output["in"]'),
        (lambda: ROOM.number, 'steps["room-2"].output.roomNumber'),
        (lambda: TRIP.email == None, "input.email == null"),  # noqa: E711 (how one asks it here)
        (lambda: TRIP.to != 'say "hi"', 'input.to != "say \\"hi\\""'),
        (lambda: TRIP.vip & (TRIP.nights > 3), "input.vip && input.nights > 3"),
        (lambda: TRIP.vip | TRIP.vip & TRIP.vip, "input.vip || input.vip && input.vip"),
        (lambda: (TRIP.vip | TRIP.vip) & TRIP.vip, "(input.vip || input.vip) && input.vip"),
        (lambda: True & TRIP.vip, "true && input.vip"),
        (
            lambda: PLAN.all(TRIP.vip, PLAN.any(TRIP.nights >= 3, TRIP.to == "LIS")),
            'input.vip && (input.nights >= 3 || input.to == "LIS")',
        ),
        (lambda: PLAN.negated(TRIP.to == "LIS"), '!(input.to == "LIS")'),
        (lambda: PLAN.negated(TRIP.vip), "!input.vip"),
        (lambda: (TRIP.nights > 1) == TRIP.vip, "(input.nights > 1) == input.vip"),
        (lambda: PLAN.contains(["LIS", "OPO"], TRIP.to), 'input.to in ["LIS", "OPO"]'),
        (lambda: PLAN.contains(TRIP.to, "x"), 'input.to.contains("x")'),
        (lambda: PLAN.size(TRIP.legs) > 2, "size(input.legs) > 2"),
        (
            lambda: TRIP.to == f"{TRIP.traveller}-{TRIP.nights}",
            'input.to == input.traveller + "-" + string(input.nights)',
        ),
        (lambda: PLAN.saga_key + PLAN.saga_id, "saga.key + saga.id"),
        (lambda: PLAN.cel("a ? 1 : 2", int) + 1, "(a ? 1 : 2) + 1"),
        (lambda: PLAN.cel("a ? b : c", Trip).to, "(a ? b : c).to"),
        (lambda: TRIP.on == dt.date(2026, 1, 31).isoformat(), 'input.on == "2026-01-31"'),
    ],
)
def test_expressions(expression: Callable[[], Any], expected: str) -> None:
    """Precedence, aliases, names that CEL reserves, literals beside floats; all of it parses."""
    text = PLAN.written(expression())
    assert text == f"${{ {expected} }}"
    assert parse_expression(text) is not None


def test_plain_paths_need_no_engine() -> None:
    """What most inputs are made of stays a plain path."""
    for value, path in (
        (TRIP.legs[0].city, ("input", "legs", 0, "city")),
        (SEAT.code, ("steps", "seat", "output", "code")),
    ):
        assert parse_expression(PLAN.written(value)).path == path
