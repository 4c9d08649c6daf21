"""A tour over real processes: per city a plan and its alternative, a pause, then the payment."""

import uuid
from typing import Any

import pytest
from pydantic import BaseModel

from acceptance.world import NOTHING, World
from amends_contracts.plan import Plan
from trip.commands import BookHotel, ChargeCard, ReserveFlight

pytestmark = [pytest.mark.servers, pytest.mark.slow]


class Tour(BaseModel):
    """What a traveller asks for."""

    traveller: str
    cities: list[str]


plan = Plan("tour", version=1, input=Tour, deadline="1h")
tour = plan.input
with plan.each(tour.cities, concurrency=2) as city, plan.alternatives() as options:
    with options.plan("stay"):
        flight = plan.do(ReserveFlight(traveller=tour.traveller, to=city), id="flight")
        plan.do(BookHotel(city=city, nights=2), id="hotel")
    with options.plan("day-trip"):
        there = plan.do(ReserveFlight(traveller=tour.traveller, to=city), id="there")
plan.wait("1s")
plan.do(ChargeCard(traveller=tour.traveller, usd=100, memo="Tour"), id="card")
plan.returns(stays=plan.collect(flight), trips=plan.collect(there))
CITIES = ["Lisbon", "Venice", "Oslo"]


def run(world: World, traveller: str) -> dict[str, Any]:
    """A tour, when it has ended; there is no room in Venice."""
    body = {
        "definition": "tour",
        "key": f"tour-{uuid.uuid4()}",
        "input": {"traveller": traveller, "cities": CITIES},
    }
    world.steadily(lambda rest: rest.post("/v1/definitions", plan.to_json()))
    saga_id = world.steadily(lambda rest: rest.post("/v1/sagas", body))["saga_id"]
    return world.end_of(str(saga_id))


def test_a_city_without_rooms_becomes_a_day_trip(world: World) -> None:
    """Its seat is freed at the savepoint and another is held; the others stay as they are."""
    view = run(world, f"t-{uuid.uuid4().hex[:8]}")

    assert view["status"] == "completed"
    assert [bool(seat) for seat in view["output"]["stays"]] == [True, False, True]
    assert [bool(seat) for seat in view["output"]["trips"]] == [False, True, False]
    assert world.held(view["saga_id"]) == {"seat": 3, "room": 2, "charge": 1, "mail": 0}
    status = {step["path"]: step["status"] for step in view["steps"]}
    assert status["each[1].flight"] == "compensated"
    assert status["each[1].hotel"] == "failed"
    assert status["each[1].there"] == "succeeded"
    assert status["wait"] == "succeeded"


def test_a_declined_payment_undoes_every_city(world: World) -> None:
    """The plan that held in each of them, and nothing twice."""
    view = run(world, "broke")

    assert view["status"] == "compensated"
    assert view["failure"]["step"] == "card"
    assert world.held(view["saga_id"]) == NOTHING
    status = {step["path"]: step["status"] for step in view["steps"]}
    for path in ("each[0].flight", "each[0].hotel", "each[1].there", "each[2].hotel"):
        assert status[path] == "compensated", path
